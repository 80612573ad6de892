"""Runs one function on its event, without a container engine and without the stack.

The function runs under the Lambda runtime interface emulator, out of the program
that holds them all; EC2, S3 and SNS are a simulator that holds the demo account and starts afresh for each call.
The answer is printed and compared with ``events/<function>.expected.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from . import rie, simulator
from .comparison import difference
from .processes import (
    LOOPBACK,
    StackError,
    clean_environment,
    end_on_signals,
    free_port,
    listens,
    start,
    stop_child,
    tail,
    wait_until,
)

ROOT = simulator.ROOT
EVENTS = ROOT / "events"
STATE = ROOT / ".local"
TIMEOUT_SECONDS = 60


def every() -> list[str]:
    """The names of the functions."""
    return sorted(path.parent.name for path in (ROOT / "functions").glob("*/Cargo.toml"))


def call(function: str, event: bytes, directory: Path) -> Any:
    """The answer of `function` to `event` on a simulator of its own; the logs are left in `directory`."""
    aws, endpoint = simulator.launch(directory, simulator.DEMO_ACCOUNT)
    try:
        return call_at(endpoint, function, event, directory)
    finally:
        stop_child(aws)


def call_at(endpoint: str, function: str, event: bytes, directory: Path) -> Any:
    """The answer of `function` to `event`, for which AWS is at `endpoint`; its log is left in `directory`."""
    if not simulator.FUNCTIONS.is_file():
        raise StackError(f"{simulator.FUNCTIONS} is not there: run `make build`")
    if function not in every():
        raise StackError(f"there is no function {function}: there are {', '.join(every())}")
    program = rie.emulator(STATE / "rie")
    port, runtime_port = free_port(), free_port()
    environment = clean_environment(
        AWS_ENDPOINT_URL=endpoint,
        AWS_LAMBDA_FUNCTION_NAME=function,
        AWS_LAMBDA_FUNCTION_TIMEOUT=str(TIMEOUT_SECONDS),
        **simulator.DEMO_SETTINGS,
    )
    command = [str(program), "--runtime-interface-emulator-address", f"{LOOPBACK}:{port}"]
    command += ["--runtime-api-address", f"{LOOPBACK}:{runtime_port}", str(simulator.FUNCTIONS), function]
    log = directory / "function.log"
    emulator = start(command, log, environment, ROOT)
    try:
        wait_until("the runtime interface emulator", lambda: listens(port), emulator, log, 20)
        url = f"http://{LOOPBACK}:{port}/2015-03-31/functions/function/invocations"
        request = urllib.request.Request(url, method="POST", data=event)
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS + 10) as reply:
            return json.loads(reply.read() or b"null")
    finally:
        stop_child(emulator)


def check(function: str, event: Path | None, quiet: bool) -> str | None:
    """Invoke, print, compare; returns what is wrong, if anything."""
    own_event = EVENTS / f"{function}.json"
    given = event or own_event
    if not given.is_file():
        return f"{given} is not there"
    with tempfile.TemporaryDirectory(prefix="ami-backup-invoke-") as temporary:
        answer = call(function, given.read_bytes(), Path(temporary))
        if not quiet:
            print(json.dumps(answer, indent=2, ensure_ascii=False))
        expected = given.with_name(f"{given.stem}.expected.json")
        if not expected.is_file():
            return None if event else f"{expected} is not there"
        found = difference(json.loads(expected.read_text(encoding="utf-8")), answer)
        if found:
            found += f"\nThe function's log ends:\n{tail(Path(temporary) / 'function.log')}"
        return found


def main() -> None:
    """Invoke one function, or every one that has an event; the exit status tells whether all was as expected."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("function", nargs="?", help="name of the function, e.g. start-store; absent: every function")
    parser.add_argument("--event", type=Path, help="another event than events/<function>.json")
    arguments = parser.parse_args()
    end_on_signals()
    wrong = 0
    for function in [arguments.function] if arguments.function else every():
        try:
            found = check(function, arguments.event, quiet=not arguments.function)
        except StackError as error:
            found = str(error)
        print(f"{function}: {found or 'as expected'}", file=sys.stderr if found else sys.stdout)
        wrong += bool(found)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
