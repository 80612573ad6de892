"""Starts executions on a running stack and waits for how they end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .processes import StackError


@dataclass(frozen=True)
class Ended:
    """An execution that is over."""

    arn: str
    status: str
    output: Any
    error: str
    cause: str
    seconds: float

    def good(self) -> bool:
        """Whether it ended well."""
        return self.status == "SUCCEEDED"

    def why(self) -> str:
        """Status, and the error's name and cause if there is one."""
        return f"{self.status} {self.error}: {self.cause}" if self.error else self.status


def run(
    states: Any,
    machine: str,
    given: Any,
    name: str | None = None,
    look: Callable[[], None] = lambda: None,
    patience_seconds: float = 300,
) -> Ended:
    """Start `machine` with the input `given` and wait for its end, calling `look` between two looks at it."""
    named = {"name": name} if name else {}
    began = time.monotonic()
    arn = states.start_execution(stateMachineArn=machine, input=json.dumps(given), **named)["executionArn"]
    while True:
        told = states.describe_execution(executionArn=arn)
        look()
        if told["status"] != "RUNNING":
            break
        if time.monotonic() - began > patience_seconds:
            raise StackError(f"{arn} still runs after {patience_seconds:.0f} s")
        time.sleep(0.25)
    return Ended(
        arn=arn,
        status=told["status"],
        # MiniStack gives a failed execution an output, Step Functions does not.
        output=json.loads(told["output"]) if told["status"] == "SUCCEEDED" else None,
        error=told.get("error", ""),
        cause=told.get("cause", ""),
        seconds=time.monotonic() - began,
    )
