"""Counts what the steps of `.ci/run` reported: tests of cargo and unittest, cases, and the steps themselves."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed", re.MULTILINE)
_UNITTEST_RAN = re.compile(r"^Ran (\d+) tests? in", re.MULTILINE)
_UNITTEST_END = re.compile(r"^(?:OK|FAILED)(?: \(([^)]*)\))?$", re.MULTILINE)


def counted(text: str) -> tuple[int, int]:
    """Passed and failed tests in the output of cargo and unittest; skipped ones are neither."""
    passed = failed = 0
    for found in _CARGO.finditer(text):
        passed += int(found.group(1))
        failed += int(found.group(2))
    ends = [found.group(1) or "" for found in _UNITTEST_END.finditer(text)]
    for ran, end in zip(_UNITTEST_RAN.findall(text), ends, strict=False):
        parts = dict(part.split("=") for part in end.split(", ") if "=" in part)
        bad = sum(int(parts.get(name, 0)) for name in ("failures", "errors", "unexpected successes"))
        passed += int(ran) - bad - int(parts.get("skipped", 0))
        failed += bad
    return passed, failed


def total(logs: Path) -> tuple[int, int]:
    """Passed and failed over all steps; a step counts as one check itself, unless its failed tests already do."""
    passed = failed = 0
    for line in (logs / "steps.txt").read_text(encoding="utf-8").splitlines():
        name, verdict = line.split()
        good, bad = counted((logs / f"{name}.log").read_text(encoding="utf-8", errors="replace"))
        passed += good
        failed += bad
        if verdict == "ok":
            passed += 1
        elif not bad:
            failed += 1
    return passed, failed


def main() -> None:
    """Print the count as the last line; the exit status says whether anything failed."""
    passed, failed = total(Path(sys.argv[1]))
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
