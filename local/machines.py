"""Runs every machine's events through `start-execution` on a stack of their own.

``events/<machine>.<case>.json`` is the input; ``….expected.json`` beside it
says how the execution ends: its `status`, its `error`, its `output` in part,
and the cases that must have run `after` which this one makes sense.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from . import executions
from .comparison import difference
from .processes import StackError, end_on_signals
from .stack import ROOT, Stack

EVENTS = ROOT / "events"


def cases() -> dict[str, Path]:
    """Every case by its name, `<machine>.<case>`."""
    machines = sorted(path.name.removesuffix(".asl.json") for path in (ROOT / "state-machines").glob("*.asl.json"))
    found = {}
    for machine in machines:
        for path in sorted(EVENTS.glob(f"{machine}.*.json")):
            if not path.name.endswith(".expected.json"):
                found[path.stem] = path
    return found


def load(path: Path) -> Any:
    """The JSON in a file."""
    return json.loads(path.read_text(encoding="utf-8"))


class Runner:
    """Runs cases on one stack, each once, those that it is to come after first."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._states = stack.client("stepfunctions")
        self.results: dict[str, str | None] = {}

    def run(self, case: str) -> None:
        """Run a case unless it has run; its result is what is wrong, or nothing."""
        if case in self.results:
            return
        path = cases().get(case)
        if path is None:
            self.results[case] = f"there is no events/{case}.json"
            return
        expected = load(path.with_name(f"{path.stem}.expected.json"))
        for earlier in expected.pop("after", []):
            self.run(earlier)
        machine = self._stack.outputs[f"{case.split('.')[0].capitalize()}MachineArn"]
        ended = executions.run(self._states, machine, load(path))
        found = {"status": ended.status, "error": ended.error, "cause": ended.cause, "output": ended.output}
        self.results[case] = difference(expected, found, case)
        verdict = self.results[case] or "as expected"
        print(f"{case}: {verdict} ({ended.seconds:.1f} s)", flush=True)
        if self.results[case]:
            print(f"  {ended.why()}", flush=True)


def main() -> None:
    """Run every case; the exit status says whether all ended as expected."""
    end_on_signals()
    try:
        with Stack.temporary("machines") as stack:
            runner = Runner(stack)
            for case in cases():
                runner.run(case)
    except StackError as error:
        sys.exit(str(error))
    wrong = sum(result is not None for result in runner.results.values())
    print(f"{len(runner.results) - wrong} machine cases as expected, {wrong} not")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
