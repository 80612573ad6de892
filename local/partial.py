"""Shows that one bad Region, one bad image and one failed store task cost only themselves.

A backup of three images meets all three. The rest must be done, the report must say PARTIAL and why,
the execution must end in Fail; and the same run again, once the faults are gone, must do only what is
missing.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from . import executions
from .processes import StackError, end_on_signals
from .stack import Stack

GOOD = "ami-0a1b2c3d4e5f60001"
ENCRYPTED = "ami-0a1b2c3d4e5f60014"
BAD = "ami-0a1b2c3d4e5f60013"
BAD_REGION = "eu-central-1"
REASON = "the disk was on fire"
INPUT = {"run": "partial", "imageIds": [GOOD, ENCRYPTED, BAD], "copyTo": ["eu-west-1", BAD_REGION]}
FAULTS = [
    {
        "action": "CopyImage",
        "region": BAD_REGION,
        "effect": {"refuse": {"code": "UnauthorizedOperation", "message": "not in this Region"}},
    },
    {"action": "CreateStoreImageTask", "nth": 1, "effect": {"failTask": {"reason": REASON}}},
]
CREATING = ("CopyImage", "CreateImage", "CreateStoreImageTask", "ExportImage", "RegisterImage")


def report(stack: Stack, cause: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of the report that the cause of a failed execution names."""
    bucket, key = cause["report"].removeprefix("s3://").split("/", 1)
    text = stack.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    return [json.loads(line) for line in text.splitlines()]


def created(stack: Stack, known: int) -> list[tuple[str, str]]:
    """The creating calls since the first `known` ones, each with its Region."""
    calls = stack.administration().calls()[known:]
    return sorted(
        (call["action"], call["region"]) for call in calls if call["action"] in CREATING and not call.get("impliedBy")
    )


class Checks:
    """Says what holds and counts what does not."""

    def __init__(self) -> None:
        self.wrong = 0

    def that(self, holds: bool, sentence: str, otherwise: object = "") -> None:
        """One sentence, true or not."""
        print(f"  {'✓' if holds else '✗'} {sentence}{'' if holds else f': {otherwise}'}", flush=True)
        self.wrong += not holds


def check_first(lines: list[dict[str, Any]], cause: dict[str, Any], checks: Checks) -> None:
    """The run that met the faults."""
    good = sorted((line["leg"], line["region"]) for line in lines if line["result"] == "OK")
    expected = [("copy", "eu-west-1"), ("copy", "eu-west-1"), ("store", "us-east-1")]
    checks.that(good == expected, "two copies and one object are there", good)
    failed = [line for line in lines if line["result"] == "FAILED"]
    checks.that(len(failed) == 4, "four lines say what is not", failed)
    regional = [line["error"]["name"] for line in failed if line.get("region") == BAD_REGION]
    checks.that(regional == ["AccessDenied"] * 2, f"both copies to {BAD_REGION} were denied", regional)
    stored = [line["error"]["message"] for line in failed if line["leg"] == "store"]
    checks.that(len(stored) == 1 and REASON in stored[0], "the failed store says why", stored)
    bad = [line["error"] for line in failed if line["source"] == BAD]
    checks.that([error["name"] for error in bad] == ["InvalidInput"], "the bad image was refused", bad)
    checks.that(cause["verdict"] == "PARTIAL", "the verdict is PARTIAL", cause)
    checks.that('"run": "partial"' in cause["goOn"], "the cause names the run to go on with", cause["goOn"])


def main() -> None:
    """Run it; the exit status says whether everything holds."""
    end_on_signals()
    checks = Checks()
    try:
        with Stack.temporary("partial") as stack:
            states, machine = stack.client("stepfunctions"), stack.outputs["BackupMachineArn"]
            stack.administration().set_faults(FAULTS)
            ended = executions.run(states, machine, INPUT)
            print("A backup that meets a bad Region, a bad image and a store task that fails")
            ending = (ended.status, ended.error)
            checks.that(ending == ("FAILED", "BackupPartial"), "the execution ended in Fail", ended.why())
            cause = json.loads(ended.cause or "{}")
            check_first(report(stack, cause), cause, checks)

            stack.administration().set_faults([])
            known = len(stack.administration().calls())
            ended = executions.run(states, machine, INPUT)
            print("The same run again, without the faults")
            made = created(stack, known)
            missing = [("CopyImage", BAD_REGION)] * 2 + [("CreateStoreImageTask", "us-east-1")]
            checks.that(made == missing, "it asked for what was missing, and for nothing else", made)
            failed = [line["source"] for line in json.loads(ended.cause or "{}").get("failed", [])]
            checks.that(failed == [BAD], "only the bad image is still reported", ended.why())
    except StackError as error:
        sys.exit(str(error))
    sys.exit(1 if checks.wrong else 0)


if __name__ == "__main__":
    main()
