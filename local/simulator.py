"""Starts the simulated AWS as a program, and talks to its administration paths."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from .processes import LOOPBACK, clean_environment, start, wait_until

ROOT = Path(__file__).resolve().parent.parent
BINARIES = ROOT / "target" / "debug"
DEMO_ACCOUNT = ROOT / "tests" / "simulator" / "accounts" / "demo.json"


def launch(
    directory: Path, account: Path, s3_endpoint: str | None = None, outlive: bool = False
) -> tuple[subprocess.Popen[bytes], str]:
    """Start the simulator on a free port with the world of `account`; returns the process and its address.

    With `s3_endpoint` the objects live in that S3; without, in the simulator's own.
    """
    directory.mkdir(parents=True, exist_ok=True)
    ready, log = directory / "simulator.ready.json", directory / "simulator.log"
    ready.unlink(missing_ok=True)
    command = [str(BINARIES / "simulated-aws"), "--account", str(account), "--listen", f"{LOOPBACK}:0"]
    command += ["--ready-file", str(ready)]
    if s3_endpoint:
        command += ["--s3-endpoint", s3_endpoint]
    child = start(command, log, clean_environment(), ROOT, outlive)
    wait_until("the simulator", lambda: _address(ready) is not None, child, log, 30)
    return child, str(_address(ready))


def _address(ready: Path) -> str | None:
    """The address in the ready file; none as long as it is not complete."""
    try:
        return str(json.loads(ready.read_text(encoding="utf-8"))["listening"])
    except (OSError, ValueError, KeyError):
        return None


class Administration:
    """The paths below ``/_simulator/`` of a running simulator."""

    def __init__(self, url: str) -> None:
        self._url = url

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self._url}/_simulator/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            text = reply.read().decode()
        return json.loads(text) if text.strip() else None

    def calls(self) -> list[dict[str, Any]]:
        """Every call so far, implied ones included."""
        return list(self._ask("GET", "calls"))

    def state(self) -> Any:
        """Counts and ids of everything, per account and Region."""
        return self._ask("GET", "state")

    def set_faults(self, rules: list[dict[str, Any]]) -> None:
        """Replace the fault rules."""
        self._ask("POST", "faults", rules)

    def clear_faults(self) -> None:
        """Remove every fault rule."""
        self._ask("DELETE", "faults")
