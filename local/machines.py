"""Runs every machine's events through `start-execution` on a stack of their own.

``events/<machine>.<case>.json`` is the input; ``….expected.json`` beside it
says how the execution ends: its `status`, its `error`, its `output` in part,
the cases that must have run `after` which this one makes sense, and the
`approval` that a person gives when it asks.

A clean-up leaves less than it found. So these cases come last, and each finds
EC2's account as its file describes it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from . import executions
from .comparison import difference
from .notices import Mailbox, Person
from .processes import StackError, end_on_signals
from .stack import ROOT, Stack

EVENTS = ROOT / "events"
# The machine that removes what the cases of others need.
REMOVES = "cleanup"
# A case that is not to ask ends badly if it does, instead of never.
NOBODY = {"approved": False, "by": "nobody, for this case is not to ask"}


def cases() -> dict[str, Path]:
    """Every case by its name, `<machine>.<case>`, in the order in which they run."""
    machines = [path.name.removesuffix(".asl.json") for path in (ROOT / "state-machines").glob("*.asl.json")]
    machines.sort(key=lambda machine: (machine == REMOVES, machine))
    found = {}
    for machine in machines:
        for path in sorted(EVENTS.glob(f"{machine}.*.json")):
            if not path.name.endswith(".expected.json"):
                found[path.stem] = path
    return found


def load(path: Path) -> Any:
    """The JSON in a file."""
    return json.loads(path.read_text(encoding="utf-8"))


def unasked(approval: dict[str, Any] | None, answered: int) -> str | None:
    """What is wrong with how often a case asked for the approval that it expects, or nothing."""
    if (approval is not None) == (answered > 0):
        return None
    return f"asked {answered} times" if approval is None else "never asked for an approval"


class Runner:
    """Runs cases on one stack, each once, those that it is to come after first."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._states = stack.client("stepfunctions")
        self._mailbox = Mailbox(stack)
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
        name = case.split(".")[0]
        if name == REMOVES:
            self._stack.administration().reset()
        approval = expected.pop("approval", None)
        person = Person(self._states, self._mailbox, approval or NOBODY)
        machine = self._stack.outputs[f"{name.capitalize()}MachineArn"]
        ended = executions.run(self._states, machine, load(path), look=person.look)
        found = {"status": ended.status, "error": ended.error, "cause": ended.cause, "output": ended.output}
        self.results[case] = difference(expected, found, case) or unasked(approval, person.answered)
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
