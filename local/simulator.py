"""Starts the simulated AWS as a program, and talks to its administration paths.

``python -m local.simulator`` runs it alone, in the foreground, with the demo account and its own S3.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from .processes import CREDENTIALS, LOOPBACK, clean_environment, end_on_signals, start, stop_child, wait_until

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


# What template.yaml would set where it is not deployed; the names are those of the demo account.
DEMO_SETTINGS = {
    "BACKUP_BUCKET": "ami-backup-demo-backups",
    "EXPORT_BUCKET": "ami-backup-demo-exports",
    "EXPORT_ROLE_NAME": "ami-backup-demo-export",
    "KMS_KEYS": "{}",
    "MINIMUM_WAIT_SECONDS": "1",
    "NOTIFICATION_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:ami-backup-demo",
}


def main() -> None:
    """Run the simulator until a signal ends it; writes what `sam local invoke` and a shell need to reach it."""
    directory = ROOT / ".local" / "simulator"
    end_on_signals()
    child, url = launch(directory, DEMO_ACCOUNT)
    try:
        endpoints = {"AWS_ENDPOINT_URL": url, "AWS_ENDPOINT_URL_EC2": url, "AWS_ENDPOINT_URL_S3": url}
        sam = {"Parameters": {**DEMO_SETTINGS, **endpoints}}
        (directory.parent / "env.json").write_text(json.dumps(sam, indent=2) + "\n", encoding="utf-8")
        exports = [f"export {name}={value}" for name, value in {"AWS_ENDPOINT_URL": url, **CREDENTIALS}.items()]
        (directory / "env").write_text("\n".join(exports) + "\nunset AWS_PROFILE AWS_SESSION_TOKEN\n", encoding="utf-8")
        print(f"simulated AWS at {url}; Ctrl-C ends it\n")
        print("  . .local/simulator/env && .venv/bin/aws ec2 describe-images --owners self")
        print("  sam local invoke --config-env local StartStoreFunction -e events/start-store.json", flush=True)
        child.wait()
    finally:
        stop_child(child)


if __name__ == "__main__":
    main()
