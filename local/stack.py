"""The whole stack on one machine: MiniStack, the simulated AWS, and the deployed template.

``python -m local.stack start|stop`` keeps one up for whoever wants to look at
it; :class:`Stack` is the same for the length of a program. What runs is written
down in ``stack.json`` of its directory, so that it can be stopped after a crash
as well. Everything listens on the loopback interface, on free ports.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3

from . import ministack, simulator
from .deploy import Deployment
from .furnish import furnish
from .processes import CREDENTIALS, LOOPBACK, StackError, command_of, end_on_signals, free_port, stop_group

ROOT = ministack.ROOT
STATE = ROOT / ".local"
HOME_REGION = CREDENTIALS["AWS_REGION"]
# Long enough for any call of a function to processes on the same machine, and short enough to wait for when a
# reply never comes.
FUNCTION_TIMEOUT_SECONDS = 8
# A process of ours has one of these in its command line; another that has taken over an old process id has not.
_OURS = ("local.launch_ministack", "simulated-aws")


class Stack:
    """A stack whose files are in `directory`; ends with this process unless `outlive`.

    `s3_for_functions` may put something between the functions and MiniStack's S3: it is given MiniStack's address
    and says what the functions call.
    """

    def __init__(
        self, directory: Path, outlive: bool = False, s3_for_functions: Callable[[str], str] | None = None
    ) -> None:
        self.directory = directory
        self.outlive = outlive
        self._s3_for_functions = s3_for_functions
        self.ministack = ""
        self.simulator = ""
        self.outputs: dict[str, str] = {}
        self._groups: dict[str, int] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        self._clients: dict[tuple[str, str], Any] = {}
        self._session: Any = boto3.Session(
            CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"], region_name=HOME_REGION
        )

    def __enter__(self) -> Stack:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if kind is None:  # else the logs may say why
            shutil.rmtree(self.directory, ignore_errors=True)

    @classmethod
    def temporary(cls, name: str) -> Stack:
        """A stack for the length of this process, beside any other that runs; its folder goes with it."""
        for left in STATE.glob(f"{name}-*"):
            if not command_of(int(left.name.rpartition("-")[2])):
                cls(left).stop()
                shutil.rmtree(left, ignore_errors=True)
        return cls(STATE / f"{name}-{os.getpid()}")

    def start(self) -> None:
        """Start both programs and deploy the template."""
        self.stop()
        self.directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.ministack = f"http://{LOOPBACK}:{port}"
        account = simulator.with_quick_reports(simulator.DEMO_ACCOUNT, self.directory / "account.json")
        process, self.simulator = simulator.launch(self.directory, account, self.ministack, self.outlive)
        self._started("simulator", process)
        process = ministack.launch(self.directory, port, self.simulator, self.outlive)
        self._started("ministack", process)
        furnish(self._session, self.ministack, self.directory, simulator.DEMO_ACCOUNT)
        endpoints = {"EndpointUrl": self.ministack, "Ec2EndpointUrl": self.simulator}
        if self._s3_for_functions:
            endpoints["S3EndpointUrl"] = self._s3_for_functions(self.ministack)
        time_outs = dict.fromkeys(("FunctionTimeoutSeconds", "PlanTimeoutSeconds"), str(FUNCTION_TIMEOUT_SECONDS))
        parameters = {"MinimumWaitSeconds": "1", **time_outs, **endpoints}
        self.outputs = Deployment(self._session, self.ministack, ROOT, simulator.FUNCTIONS).run(parameters)
        self._write()

    def _started(self, name: str, child: subprocess.Popen[bytes]) -> None:
        self._groups[name] = child.pid  # first: `stop` ends groups, and waits for children
        self._children.append(child)
        self._write()

    @property
    def _file(self) -> Path:
        return self.directory / "stack.json"

    def _write(self) -> None:
        facts = {
            "ministack": self.ministack,
            "simulator": self.simulator,
            "outputs": self.outputs,
            "groups": self._groups,
        }
        self._file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def stop(self) -> bool:
        """End what is running, by this object or by one before it; tells whether there was anything."""
        try:
            groups = dict(json.loads(self._file.read_text(encoding="utf-8"))["groups"])
        except (OSError, ValueError, KeyError):
            groups = {}
        groups.update(self._groups)
        running = [group for group in groups.values() if any(ours in command_of(group) for ours in _OURS)]
        for group in reversed(running):
            stop_group(group)
        for child in self._children:
            child.wait()
        self._children.clear()
        self._clients.clear()
        self._groups.clear()
        self._file.unlink(missing_ok=True)
        return bool(running)

    def client(self, service: str, region: str = HOME_REGION) -> Any:
        """A boto3 client: EC2 and what belongs to it is the simulator, everything else MiniStack. Making one takes a
        while, so it is kept."""
        if (service, region) not in self._clients:
            endpoint = self.simulator if service in simulator.SERVICES else self.ministack
            client = self._session.client(service, endpoint_url=endpoint, region_name=region)
            self._clients[service, region] = client
        return self._clients[service, region]

    def administration(self) -> simulator.Administration:
        """The simulator's administration paths."""
        return simulator.Administration(self.simulator)


def _how_to(stack: Stack) -> str:
    """What to type to use a running stack."""
    environment = stack.directory / "env"
    given = json.dumps({"imageIds": ["ami-0a1b2c3d4e5f60001"], "copyTo": ["eu-west-1"]})
    machine = stack.outputs.get("BackupMachineArn", "(no output BackupMachineArn)")
    aws = ".venv/bin/aws"
    return f"""The stack is up; `make local-down` stops it.

  . {environment.relative_to(ROOT)}        # endpoints and credentials of this stack, for the aws CLI and the SDKs

start a backup, and look at it:
  {aws} stepfunctions start-execution --state-machine-arn {machine} \\
      --input '{given}'
  {aws} stepfunctions list-executions --state-machine-arn {machine}
  {aws} stepfunctions describe-execution --execution-arn EXECUTION_ARN

what there is:
  {aws} ec2 describe-images --owners self --query 'Images[].[ImageId,State,Name]' --output table
  {aws} ec2 describe-images --owners self --region eu-west-1
  {aws} s3 ls --recursive s3://{stack.outputs.get("BackupBucketName", "BUCKET")}

MiniStack {stack.ministack} · simulated EC2 {stack.simulator} · logs in {stack.directory.relative_to(ROOT)}/"""


def _write_environment(stack: Stack) -> None:
    values = {"AWS_ENDPOINT_URL": stack.ministack, **simulator.environment(stack.simulator), **CREDENTIALS}
    lines = [f"export {name}={value}" for name, value in values.items()]
    (stack.directory / "env").write_text("\n".join(lines) + "\nunset AWS_PROFILE AWS_SESSION_TOKEN\n", encoding="utf-8")


def main() -> None:
    """`start` leaves a stack up and says how to use it; `stop` ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("start", "stop"))
    command = parser.parse_args().command
    stack = Stack(STATE / "stack", outlive=True)
    if command == "stop":
        print("stopped" if stack.stop() else "nothing was running")
        return
    end_on_signals()
    try:
        stack.start()
        _write_environment(stack)
    except BaseException as error:
        stack.stop()
        if isinstance(error, StackError):
            sys.exit(str(error))
        raise
    print(_how_to(stack))


if __name__ == "__main__":
    main()
