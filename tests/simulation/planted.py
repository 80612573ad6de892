"""Plants each fault of `planted/` in the product, one at a time, and sees whether the simulation finds it, or else a test.

Each patch begins with a line that says what it breaks. The tree is put back after each, also after an interrupt. The
table goes to standard output, as Markdown.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLANTED = ROOT / "tests/simulation/planted"
# Enough to say in how many trials a fault shows, and few enough to be quick.
FAILURES = 5
# What is tried, one after the other, until something fails: some seeds, every fault by itself, many seeds.
TRIALS = (("--random-only", "--seeds", "150"), ("--seeds", "0"), ("--random-only", "--from", "150", "--seeds", "3000"))

# The cases of whole runs and those of single functions, for what the simulation does not find.
TESTS = ("harness", "functions")


# As `make simulate` builds it.
BUILD = ("cargo", "build", "--workspace", "--locked", "--bin", "simulate")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def found(output: str) -> str:
    """How the simulation noticed, in words; empty if it did not."""
    one_by_one = re.findall(r"^(\S+) with (.*):$", output, re.MULTILINE)
    seeds = re.findall(r"^seed (\d+):$", output, re.MULTILINE)
    rights = re.findall(r"^rights: (.*)$", output, re.MULTILINE)
    tried = re.findall(r"^(\d+) seeds at random", output, re.MULTILINE)
    says = re.search(r"^  (\S.*)$", output, re.MULTILINE)
    how = []
    if one_by_one:
        scenario, faults = one_by_one[0]
        how.append(f"`{scenario}` {'with ' + faults if faults else 'without any fault'}")
    if seeds:
        how.append(f"{len(seeds)} of {tried[0] if tried else '?'} seeds, the first is {seeds[0]}")
    if rights:
        how.append(rights[0])
    if not how:
        return ""
    reason = re.sub(r"(ami|snap|i|vol|export-ami)-[0-9a-f]{8,}", r"\1-…", says.group(1))[:90] if says else ""
    return "; ".join(how) + (f": {reason}" if reason and not rights else "")


def failing() -> str:
    """The tests that notice, in words; empty if none does."""
    for suite in TESTS:
        output = run("cargo", "test", "--workspace", "--locked", "--test", suite).stdout
        names = re.findall(r"^test (\S+) \.\.\. FAILED$", output, re.MULTILINE)
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            return f"the test `{names[0]}`{more}"
    return ""


def main() -> None:
    """Try all patches, or those whose names contain one of the arguments."""
    if run("git", "diff", "--quiet", "HEAD").returncode != 0:
        sys.exit("the tree has changes: commit them first, since each patch is applied to it and taken back")
    patches = sorted(PLANTED.glob("*.patch"))
    patches = [path for path in patches if not sys.argv[1:] or any(part in path.stem for part in sys.argv[1:])]
    stale = [path.name for path in patches if run("git", "apply", "--check", str(path)).returncode != 0]
    if stale:
        sys.exit(f"these do not apply any more: {', '.join(stale)}")
    missed = 0
    print("| planted | what it breaks | found by |\n| --- | --- | --- |", flush=True)
    for path in patches:
        why = path.read_text(encoding="utf-8").splitlines()[0]
        applied = run("git", "apply", str(path))
        if applied.returncode != 0:
            sys.exit(f"{path.name} does not apply any more: {applied.stderr}")
        try:
            built = run(*BUILD)
            if built.returncode != 0:
                sys.exit(f"{path.name} does not compile: {built.stderr[-2000:]}")
            tries = (run("target/debug/simulate", "--failures", str(FAILURES), *trial).stdout for trial in TRIALS)
            how = next(filter(None, map(found, tries)), "") or failing()
        finally:
            run("git", "apply", "--reverse", str(path))
        missed += not how
        print(f"| {path.stem} | {why} | {how.replace('|', '/') or '**nothing**'} |", flush=True)
    print(f"\n{len(patches) - missed} of {len(patches)} planted faults found", flush=True)
    run(*BUILD)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
