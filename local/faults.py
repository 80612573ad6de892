"""Loses the reply of each call that changes something, once, and compares how it ends with a run without faults.

The simulator, or for S3 a relay, applies the call and holds the reply until the
function's timeout ends the process; Step Functions calls the function again. Which calls those are
is not listed here: a run without faults says it, so that none is forgotten.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from . import executions, inventory
from .processes import StackError, clean_environment, end_on_signals, start, stop_group, tail
from .s3_relay import Relay
from .stack import ROOT, STATE, Stack

IMAGE = "ami-0a1b2c3d4e5f60001"
STORED = {"run": "before", "imageIds": [IMAGE]}
CLEANUP = {"run": "faults", "retention": {"newest": 2}, "apply": True}
SIDE_BY_SIDE = 3
# What a call that only looks begins with.
_LOOKS = ("Describe", "Get", "Head", "List")


@dataclass(frozen=True)
class Step:
    """One execution: which machine, with what."""

    machine: str
    given: dict[str, Any]


# The last step of each is the one whose replies are lost.
SCENARIOS = {
    "backup": [
        Step(
            "Backup",
            {
                "run": "faults",
                "instanceIds": ["i-0a1b2c3d4e5f60001"],
                "imageIds": [IMAGE],
                "copyTo": ["eu-west-1"],
                "export": {"format": "VMDK"},
                "carryOver": ["launchPermissions", "deprecation", "deregistrationProtection"],
            },
        )
    ],
    "restore": [Step("Backup", STORED), Step("Restore", {"imageId": IMAGE, "run": "faults"})],
    "register": [Step("Backup", STORED), Step("Restore", {"imageId": IMAGE, "fromSnapshots": True, "run": "faults"})],
    "cleanup": [Step("Cleanup", CLEANUP)],
    "undo": [Step("Cleanup", {**CLEANUP, "usageReports": False}), Step("Undo", {"run": CLEANUP["run"]})],
}


@dataclass(frozen=True)
class Fault:
    """A call whose reply is lost: by which function, to which service, which action, and which of them."""

    scenario: str
    function: str
    service: str
    action: str
    nth: int

    def rule(self) -> dict[str, Any]:
        """The simulator's rule for it."""
        return {
            "service": self.service,
            "action": self.action,
            "function": self.function,
            "nth": self.nth,
            "effect": "holdReply",
        }

    def name(self) -> str:
        """For people, and for a folder."""
        action = re.sub(r"[^\w.]+", "-", self.action)
        return f"{self.scenario}-{self.function}-{action}-{self.nth}"


def end_state(stack: Stack) -> dict[str, Any]:
    """What there is, without what differs between any two runs: ids, tokens and times."""
    state: dict[str, Any] = dict(inventory.count(stack))
    for region in inventory.REGIONS:
        ec2 = stack.client("ec2", region)
        described = []
        for image in inventory.images(stack, region):
            granted = ec2.describe_image_attribute(ImageId=image["ImageId"], Attribute="launchPermission")
            disks = len(image["BlockDeviceMappings"])
            facts = [image["State"], image["Name"], disks, _tags(image), granted["LaunchPermissions"]]
            facts.append([image.get("DeprecationTime", ""), image.get("DeregistrationProtection", "")])
            described.append(_without_identity(facts))
        state[f"images described in {region}"] = sorted(described)
        found = [[snapshot["State"], _tags(snapshot)] for snapshot in inventory.snapshots(stack, region)]
        state[f"snapshots described in {region}"] = sorted(map(_without_identity, found))
    for bucket in ("BackupBucketName", "ExportBucketName"):
        # Attempts of a run leave papers and leases of their own, which nobody would miss.
        beside = ("runs/", "leases/")
        keys = [key for key in inventory.objects(stack, stack.outputs[bucket]) if not key.startswith(beside)]
        state[f"objects in {bucket}"] = _objects(keys)
    return state


def _objects(keys: list[str]) -> list[str]:
    """Objects by their keys. A plan of which nobody heard is made again, in a folder that is called after the moment:
    of what a clean-up writes, each thing is there once or more often."""
    plans = {re.sub(r"/\d{13}/", "/…/", key) for key in keys if key.startswith("cleanups/")}
    return sorted(plans) + sorted(_without_identity(key) for key in keys if not key.startswith("cleanups/"))


def _tags(resource: dict[str, Any]) -> dict[str, str]:
    tags = inventory.tags_of(resource)
    return {name: "…" if name.endswith((":token", ":expires")) else value for name, value in sorted(tags.items())}


def _without_identity(facts: Any) -> str:
    text = re.sub(r"\b(ami|snap|export-ami|i)-[0-9a-f]{8,17}\b", r"\1-…", json.dumps(facts, sort_keys=True))
    return re.sub(r"-[0-9a-f]{12}\b|\d{4}-\d\d-\d\dT[0-9:.]+Z", "…", text)


def run(scenario: str, fault: Fault | None, directory: Path) -> dict[str, Any]:
    """Run a scenario on a stack of its own; tells how it ended and which calls changed something."""
    with ExitStack() as cleanup:
        relays: list[Relay] = []

        def between(ministack: str) -> str:
            relays.append(cleanup.enter_context(Relay(ministack)))
            return relays[0].url

        stack = cleanup.enter_context(Stack(directory, s3_for_functions=between))
        states = stack.client("stepfunctions")
        administration = stack.administration()
        _set_attributes(stack.client("ec2"))
        *before, last = SCENARIOS[scenario]
        for step in before:
            executions.run(states, stack.outputs[f"{step.machine}MachineArn"], step.given)
        known = len(administration.calls())
        relays[0].changes.clear()
        if fault and fault.service == "s3":
            relays[0].lose_reply(fault.function, fault.action, fault.nth)
        elif fault:
            administration.set_faults([fault.rule()])
        ended = executions.run(states, stack.outputs[f"{last.machine}MachineArn"], last.given)
        changes = {(function, "s3", action, n) for (function, action), n in relays[0].changes.items()}
        for call in administration.calls()[known:]:
            if call.get("function") and not call.get("impliedBy") and not call["action"].startswith(_LOOKS):
                changes.add((call["function"], call["service"], call["action"], 1))
        log = (directory / "ministack.log").read_text(encoding="utf-8", errors="replace")
        return {
            "status": ended.status,
            "why": ended.why(),
            "seconds": ended.seconds,
            "timeouts": log.count("Task timed out"),
            "changes": sorted(changes),
            "state": end_state(stack),
        }


def _set_attributes(ec2: Any) -> None:
    """Give the source what a copy and a restored image have to be given again."""
    ec2.enable_image_deprecation(ImageId=IMAGE, DeprecateAt=datetime.now(timezone.utc) + timedelta(days=365))
    ec2.enable_image_deregistration_protection(ImageId=IMAGE)


def _judge(fault: Fault, without: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What is wrong with the end of a run with a fault."""
    wrong = []
    if found["timeouts"] < 1:
        wrong.append("no function was ended by its timeout: the fault did not strike")
    if found["status"] != without["status"]:
        wrong.append(f"it ended {found['why']}, without the fault {without['why']}")
    for what, value in without["state"].items():
        if found["state"][what] != value:
            wrong.append(f"{what}: {found['state'][what]}\n      without the fault: {value}")
    return wrong


class Worker:
    """One scenario in a process of its own, so that several can wait side by side."""

    def __init__(self, scenario: str, fault: Fault | None) -> None:
        self.scenario = scenario
        self.fault = fault
        self.directory = STATE / "faults" / (fault.name() if fault else f"{scenario}-without")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.result = self.directory / "result.json"
        self.result.unlink(missing_ok=True)
        self.log = self.directory / "worker.log"
        command = [sys.executable, "-m", "local.faults", "--scenario", scenario]
        if fault:
            command += ["--fault", json.dumps([fault.function, fault.service, fault.action, fault.nth])]
        self.process: subprocess.Popen[bytes] = start(command, self.log, clean_environment(), ROOT)

    def answer(self) -> dict[str, Any]:
        """What it found, once it has ended."""
        try:
            return dict(json.loads(self.result.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise StackError(f"{self.directory.name} has no result; its log ends:\n{tail(self.log)}") from error


def side_by_side(wanted: list[tuple[str, Fault | None]]) -> dict[tuple[str, Fault | None], dict[str, Any]]:
    """Run the wanted scenarios, a few at a time, and collect what they found."""
    waiting = list(wanted)
    running: list[Worker] = []
    found = {}
    try:
        while waiting or running:
            while waiting and len(running) < SIDE_BY_SIDE:
                running.append(Worker(*waiting.pop(0)))
            for worker in [worker for worker in running if worker.process.poll() is not None]:
                running.remove(worker)
                found[worker.scenario, worker.fault] = worker.answer()
                print(f"  {worker.directory.name} ran", flush=True)
            time.sleep(0.2)
    finally:
        for worker in running:
            stop_group(worker.process.pid, patience_seconds=15)
    return found


def _compare_all(only: str | None) -> int:
    """Run everything; returns how many faults ended otherwise than without them."""
    without = {scenario: facts for (scenario, _), facts in side_by_side([(name, None) for name in SCENARIOS]).items()}
    for scenario, facts in without.items():
        if facts["status"] != "SUCCEEDED":
            raise StackError(f"{scenario} does not succeed without a fault: {facts['why']}")
    # The first of its kind, and the last: the record is written when it is opened and when it is completed.
    faults = [
        Fault(scenario, function, service, action, nth)
        for scenario, facts in without.items()
        for function, service, action, count in facts["changes"]
        for nth in sorted({1, count})
    ]
    faults = [fault for fault in faults if only is None or only in fault.name()]
    print(f"{len(faults)} calls change something")
    found = side_by_side([(fault.scenario, fault) for fault in faults])
    failed = 0
    for fault in faults:
        result = found[fault.scenario, fault]
        wrong = _judge(fault, without[fault.scenario], result)
        failed += bool(wrong)
        print(f"{fault.name()}: {'as without' if not wrong else 'NOT as without'} ({result['seconds']:.1f} s)")
        for line in wrong:
            print(f"    {line}")
    print(f"{len(faults) - failed} lost replies ended as if they had come, {failed} did not")
    return failed if faults else 1


def main() -> None:
    """Without arguments, run everything; with `--scenario`, be a worker of that."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="only faults with this in their name, e.g. start-store")
    parser.add_argument("--scenario", choices=SCENARIOS, help=argparse.SUPPRESS)
    parser.add_argument("--fault", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    end_on_signals()
    try:
        if arguments.scenario is None:
            sys.exit(1 if _compare_all(arguments.only) else 0)
        fault = Fault(arguments.scenario, *arguments.fault) if arguments.fault else None
        directory = STATE / "faults" / (fault.name() if fault else f"{arguments.scenario}-without")
        facts = run(arguments.scenario, fault, directory / "stack")
        (directory / "result.json").write_text(json.dumps(facts), encoding="utf-8")
    except StackError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
