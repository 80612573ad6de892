"""Times what a change costs: a line changed in ``core``, in a function, in the simulator, and none.

Each case is run several times; the line is another one each time, and is taken
back at the end. The median counts: ``python -m local.bench_loop``.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .processes import end_on_signals

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Case:
    """A change and the command that follows it."""

    name: str
    # The file in which a line is added, at the beginning of the function that `signature` finds; none: no change.
    file: str
    signature: str
    command: str
    # What it may take, by the project's own promise.
    limit_seconds: int


CASES = [
    Case("core", "crates/core/src/store.rs", r"^pub fn ", "make check", 20),
    Case(
        "function",
        "functions/start-store/src/lib.rs",
        r"^pub async fn handle",
        "cargo test --workspace --locked --test functions store::",
        30,
    ),
    Case(
        "simulator",
        "tests/simulator/src/ec2/store.rs",
        r"^(?:pub(?:\([a-z]+\))? )?fn ",
        "cargo test --workspace --locked --package ami-backup-simulator",
        45,
    ),
    Case("nothing", "", "", "make test", 60),
]


def changed(source: str, signature: str, number: int) -> str:
    """The source with one line more, at the beginning of the first function whose signature matches."""
    found = re.search(signature, source, re.MULTILINE)
    if found is None:
        raise ValueError(f"no function matches {signature}")
    # The body begins at the first line that ends with a brace: there is none in a signature here.
    at = source.index("{\n", found.start()) + 2
    return f"{source[:at]}    let _ = std::hint::black_box({number}_u32);\n{source[at:]}"


@contextmanager
def change(case: Case, number: int) -> Iterator[None]:
    """The project with the case's change number `number`."""
    if not case.file:
        yield
        return
    path = ROOT / case.file
    original = path.read_text(encoding="utf-8")
    path.write_text(changed(original, case.signature, number), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(original, encoding="utf-8")


def seconds(case: Case, number: int) -> float:
    """How long the command takes after the change."""
    with change(case, number):
        begun = time.monotonic()
        ended = subprocess.run(case.command.split(), cwd=ROOT, capture_output=True, text=True, check=False)
        took = time.monotonic() - begun
    if ended.returncode != 0:
        raise SystemExit(f"{case.command} failed after a change of {case.file}:\n{ended.stdout}\n{ended.stderr}")
    return took


def main() -> None:
    """Print a table; fails if a median is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="how often each case is run")
    parser.add_argument("--only", help="only the case of this name")
    arguments = parser.parse_args()
    end_on_signals()
    over = False
    print("| a line changed in | command | seconds, each time | median | limit |\n| --- | --- | --- | --- | --- |")
    for case in CASES:
        if arguments.only not in (None, case.name):
            continue
        # What the state of the tree before, or the end of the case before, leaves to compile is not the change's.
        seconds(case, 1)
        took = [seconds(case, number) for number in range(2, 2 + arguments.times)]
        median = statistics.median(took)
        over |= median > case.limit_seconds
        each = ", ".join(f"{one:.1f}" for one in took)
        print(f"| {case.name} | `{case.command}` | {each} | {median:.1f} | {case.limit_seconds} |", flush=True)
    sys.exit(1 if over else 0)


if __name__ == "__main__":
    main()
