"""Child processes of the stack: a clean environment, free ports, and nothing left behind.

A child leads a process group of its own, so that what it starts ends with it.
It either dies with its parent (the demo, the tests) or is left running on
purpose (``make local``).
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOOPBACK = "127.0.0.1"

# Credentials that mean nothing outside this machine. An access key of 12 digits is the account's number, to
# MiniStack and to the simulator alike.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "000000000000",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
}

# The signals that end a program, and those of them that wait until a child has been started.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_postponed: list[int] | None = None

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class StackError(RuntimeError):
    """Something of the stack did not start, did not answer or did not stop; the text says what and where to look."""


def free_port() -> int:
    """A TCP port on the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def clean_environment(**more: str) -> dict[str, str]:
    """What a child gets to see: no AWS setting, proxy or profile of the host may reach a function."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
    # Without these two the SDKs and the CLI would read the user's own profiles.
    nowhere = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return {**kept, **nowhere, **CREDENTIALS, "AWS_EC2_METADATA_DISABLED": "true", **more}


def _die_with_parent() -> None:
    """Ask the kernel (Linux) for SIGTERM when the parent goes, however it goes."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def start(
    command: list[str], log: Path, environment: dict[str, str], cwd: Path, outlive: bool = False
) -> subprocess.Popen[bytes]:
    """Start `command` as the leader of its own group, its output in `log`."""
    child = None
    try:
        with log.open("wb") as output, _signals_postponed():
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=cwd,
                start_new_session=True,
                preexec_fn=None if outlive else _die_with_parent,
            )
    except BaseException:
        if child:
            stop_child(child)
        raise
    return child


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def stop_group(group: int, patience_seconds: float = 5.0) -> None:
    """End every process of a group: a request first, then by force."""
    for request in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(group, request)
        except (ProcessLookupError, PermissionError):
            return
        until = time.monotonic() + patience_seconds
        while time.monotonic() < until:
            try:  # collect it if it is our own child: a zombie still counts as a member of its group
                os.waitpid(-group, os.WNOHANG)
            except ChildProcessError:
                pass
            if not _group_lives(group):
                return
            time.sleep(0.02)


def stop_child(child: subprocess.Popen[bytes]) -> None:
    """End a child and everything in its group."""
    stop_group(child.pid)
    child.wait()


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def wait_until(what: str, ready: Callable[[], bool], child: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Wait for `ready`; fails with the end of the log if the child ends first or time is up.

    A child that is not waited for to the end is ended: nobody else knows of it yet.
    """
    until = time.monotonic() + seconds
    try:
        while not ready():
            if child.poll() is not None:
                raise StackError(
                    f"{what} ended with status {child.returncode} before it was ready; {log} ends:\n{tail(log)}"
                )
            if time.monotonic() > until:
                raise StackError(f"{what} was not ready after {seconds:.0f} s; {log} ends:\n{tail(log)}")
            time.sleep(0.05)
    except BaseException:
        stop_child(child)
        raise


def answers(url: str) -> bool:
    """Whether a GET of `url` is answered with success."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return 200 <= reply.status < 300
    except (OSError, urllib.error.URLError):
        return False


def command_of(process: int) -> str:
    """The command line of a process; empty if there is none."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        pass
    try:  # where there is no /proc
        listed = subprocess.run(
            ["ps", "-o", "command=", "-p", str(process)], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return listed.stdout.strip()


def listens(port: int) -> bool:
    """Whether something accepts connections on `port` of the loopback interface."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def end_on_signals() -> None:
    """Turn the signals that end a program into an exception, so that ``with Stack(…)`` cleans up."""

    def end(number: int, _frame: object) -> None:
        # A second signal must not cut the cleaning up short.
        for ending in _ENDING:
            signal.signal(ending, signal.SIG_IGN)
        if _postponed is not None:
            _postponed.append(number)
            return
        raise SystemExit(128 + number)

    for ending in _ENDING:
        signal.signal(ending, end)


@contextmanager
def _signals_postponed() -> Iterator[None]:
    """Let a signal end the program only after what is in here.

    Python runs hooks of its modules at a fork, and drops an exception that comes out of one: a signal that arrives
    meanwhile would do nothing, and the next ones would be ignored.
    """
    global _postponed
    numbers: list[int] = []
    _postponed = numbers
    try:
        yield
    finally:
        _postponed = None
        if numbers:
            raise SystemExit(128 + numbers[0])
