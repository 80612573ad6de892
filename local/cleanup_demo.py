"""The plan of a clean-up over a large account, against a simulated AWS: `make demo-cleanup`.

A dry run: `select-regions` and `plan-cleanup` are invoked as the machine invokes them, and the table is printed that
they leave in the bucket for people. Nothing of the account is changed, and that is looked up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3

from . import invoke, simulator
from .processes import CREDENTIALS, StackError, end_on_signals, stop_child, tail

HOME_REGION = CREDENTIALS["AWS_REGION"]
BUCKET = simulator.DEMO_SETTINGS["BACKUP_BUCKET"]
KNOWN = f"cleanups/known/{HOME_REGION}.json"
RUN = "demo"
# What a person would start the machine with.
POLICY = {
    "run": RUN,
    "families": ["source", {"tag": "Name"}],
    "retention": {"newest": 3, "daily": 7, "weekly": 4, "monthly": 12},
    "orphans": {"graceDays": 14},
}
# An orphan goes only after plans have seen it for the days of grace.
SEEN_DAYS = 30
# Lines of one kind that are printed of what goes.
SHOWN = 12


class Account:
    """A generated account on a running simulator."""

    def __init__(self, endpoint: str, directory: Path) -> None:
        self._endpoint = endpoint
        self._directory = directory
        session: Any = boto3.Session(
            CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"], region_name=HOME_REGION
        )
        self._s3 = session.client("s3", endpoint_url=endpoint)
        self._administration = simulator.Administration(endpoint)

    def invoke(self, function: str, event: Any) -> Any:
        """The answer of a function, which must not be an error."""
        answer = invoke.call_at(self._endpoint, function, json.dumps(event).encode(), self._directory)
        if not isinstance(answer, dict) or "errorType" in answer:
            log = tail(self._directory / "function.log")
            raise StackError(f"{function} failed: {json.dumps(answer)}; its log ends:\n{log}")
        return answer

    def plan(self, policy: dict[str, Any], run: str) -> dict[str, Any]:
        """The plan of a dry run, as the machine comes to it."""
        given = {**policy, "run": run}
        turn = self.invoke("select-regions", {"input": given, "executionName": run})["regions"][0]
        while (turn := self.invoke("plan-cleanup", turn))["status"] != "DONE":
            time.sleep(turn["waitSeconds"])
        return dict(turn["subject"]["plan"])

    def read(self, key: str) -> str:
        """The text of an object."""
        return str(self._s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode())

    def age_orphans(self) -> int:
        """Let the orphans that a plan has seen have been seen days ago; returns how many there are."""
        known = json.loads(self.read(KNOWN))
        known["orphansSince"] = aged(known["orphansSince"], datetime.now(timezone.utc))
        self._s3.put_object(Bucket=BUCKET, Key=KNOWN, Body=json.dumps(known).encode())
        return len(known["orphansSince"])

    def changes(self) -> list[str]:
        """The calls that have changed something of EC2's."""
        calls = (call for call in self._administration.calls() if call["service"] == "ec2")
        return sorted({call["action"] for call in calls if changes(call["action"])})


def changes(action: str) -> bool:
    """Whether an action of EC2 changes what a clean-up is about. A report on usage is EC2's answer to a question."""
    return not action.startswith(("Describe", "Get", "List")) and action != "CreateImageUsageReport"


def aged(orphans: dict[str, str], now: datetime) -> dict[str, str]:
    """The orphans, seen for long."""
    since = (now - timedelta(days=SEEN_DAYS)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {snapshot: since for snapshot in orphans}


def shortened(table: str, shown: int) -> str:
    """The table with so many lines of each action at most, and how many more there are."""
    lines: list[str] = []
    counts: dict[str, int] = {}
    last = None

    def close() -> None:
        more = counts.get(last or "", 0) - shown
        if more > 0:
            lines.append(f"  {last:<15} … and {more} more")

    for line in table.splitlines():
        word = line.split(maxsplit=1)[0] if line.startswith("  ") else ""
        action = word if word.isupper() else None
        if action != last:
            close()
            last = action
        if action:
            counts[action] = counts.get(action, 0) + 1
        if not action or counts[action] <= shown:
            lines.append(line)
    close()
    return "\n".join(lines)


def generate(directory: Path, asked: argparse.Namespace) -> Path:
    """The account file."""
    generated = directory / "generated.json"
    command = [sys.executable, str(simulator.ROOT / "tests" / "bench" / "account.py"), str(generated)]
    command += ["--images", str(asked.images), "--snapshots", str(asked.snapshots)]
    command += ["--instances", str(asked.instances), "--templates", "40", "--groups", "8"]
    subprocess.run(command, check=True)
    return simulator.with_quick_reports(generated, directory / "account.json")


def demonstrate(account: Account, asked: argparse.Namespace) -> bool:
    """Print the plan and what to know of it; returns whether nothing was changed."""
    sizes = f"{asked.images} images, {asked.snapshots} snapshots and {asked.instances} instances"
    print(
        f"""Years of nightly backups have left this simulated account with {sizes}.
The clean-up machine would be started with

  {json.dumps(POLICY)}

which is a dry run, as everything is that does not say `"apply": true`.
""",
        flush=True,
    )
    account.plan({**POLICY, "usageReports": False}, "month-ago")
    orphans = account.age_orphans()
    print(f"Of {orphans} snapshots the image is gone. Let plans have seen that for {SEEN_DAYS} days.\n", flush=True)
    began = time.monotonic()
    plan = account.plan(POLICY, RUN)
    seconds = time.monotonic() - began
    table = account.read(f"{plan['prefix']}plan.txt")
    print(f"The plan, made in {seconds:.1f} s, most of which EC2 takes to report who else uses these images:\n")
    print("\n".join(f"  {line}".rstrip() for line in shortened(table, asked.lines).splitlines()))
    changed = account.changes()
    print(f"\nCalls that change anything: {', '.join(changed) or 'none'}.")
    given = json.dumps({**POLICY, "apply": True})
    print(
        f"""
This table is s3://{BUCKET}/{plan["prefix"]}plan.txt.
Beside it are every image and snapshot with all reasons (plan-*.jsonl), and what goes (going.jsonl).

To apply just this plan, as long as it is fresh, start the machine with the same run and `apply`:

  aws stepfunctions start-execution --state-machine-arn CLEANUP_MACHINE_ARN \\
      --input '{given}'

Before each image goes, it is looked at once more. `make local` brings up a stack on which to try it."""
    )
    return not changed


def main() -> None:
    """Generate, plan, print; the exit status says whether a plan was made and nothing changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--snapshots", type=int, default=2_000)
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--lines", type=int, default=SHOWN, help="how many lines of each action are printed at most")
    asked = parser.parse_args()
    end_on_signals()
    try:
        with tempfile.TemporaryDirectory(prefix="ami-backup-cleanup-") as name:
            directory = Path(name)
            aws, endpoint = simulator.launch(directory, generate(directory, asked))
            try:
                good = demonstrate(Account(endpoint, directory), asked)
            finally:
                stop_child(aws)
    except StackError as error:
        sys.exit(f"The demo failed: {error}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
