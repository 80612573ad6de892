"""Starts the simulated AWS as a program, and talks to its administration paths.

``python -m local.simulator`` runs it alone, in the foreground, with the demo account and its own S3.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from .processes import (
    CREDENTIALS,
    LOOPBACK,
    StackError,
    clean_environment,
    end_on_signals,
    free_port,
    start,
    stop_child,
    wait_until,
)

ROOT = Path(__file__).resolve().parent.parent
BINARIES = ROOT / "target" / "debug"
# All functions in one program, which is told by its first argument which of them it is.
FUNCTIONS = BINARIES / "functions"
DEMO_ACCOUNT = ROOT / "tests" / "simulator" / "accounts" / "demo.json"
# What it stands in for beside another engine, by the ends of the names of the SDKs' AWS_ENDPOINT_URL_….
SERVICES = {"ec2": "EC2", "autoscaling": "AUTO_SCALING", "rbin": "RBIN"}
# Long enough for a plan to have to wait for a report.
USAGE_REPORT_MS = 1_500


def with_quick_reports(account: Path, file: Path) -> Path:
    """Write `account` to `file` with reports on the usage of images that are ready in seconds, not in a minute."""
    described = json.loads(account.read_text(encoding="utf-8"))
    described["settings"]["usageReportMs"] = USAGE_REPORT_MS
    file.write_text(json.dumps(described), encoding="utf-8")
    return file


def launch(
    directory: Path,
    account: Path,
    s3_endpoint: str | None = None,
    outlive: bool = False,
    containers: str | None = None,
    seconds: float = 30,
) -> tuple[subprocess.Popen[bytes], str]:
    """Start the simulator on a free port with the world of `account`; returns the process and its address.

    With `s3_endpoint` the objects live in that S3; without, in the simulator's own. `containers` is a
    second address, at which containers reach it. A large account takes some `seconds` to load.
    """
    directory.mkdir(parents=True, exist_ok=True)
    ready, log = directory / "simulator.ready.json", directory / "simulator.log"
    ready.unlink(missing_ok=True)
    command = [str(BINARIES / "simulated-aws"), "--account", str(account), "--listen", f"{LOOPBACK}:0"]
    command += ["--ready-file", str(ready)]
    if s3_endpoint:
        command += ["--s3-endpoint", s3_endpoint]
    if containers:
        command += ["--containers", containers]
    child = start(command, log, clean_environment(), ROOT, outlive)
    wait_until("the simulator", lambda: _address(ready) is not None, child, log, seconds)
    return child, str(_address(ready))


def environment(url: str) -> dict[str, str]:
    """The environment by which an SDK, and the aws CLI, finds the simulator's services at `url`."""
    return {f"AWS_ENDPOINT_URL_{name}": url for name in SERVICES.values()}


def _address(ready: Path) -> str | None:
    """The address in the ready file; none as long as it is not complete."""
    try:
        return str(json.loads(ready.read_text(encoding="utf-8"))["listening"])
    except (OSError, ValueError, KeyError):
        return None


class Administration:
    """The paths below ``/_simulator/`` of a running simulator."""

    def __init__(self, url: str, patience: float = 10) -> None:
        self._url = url
        self._patience = patience

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self._url}/_simulator/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=self._patience) as reply:
            text = reply.read().decode()
        return json.loads(text) if text.strip() else None

    def calls(self) -> list[dict[str, Any]]:
        """Every call so far, implied ones included."""
        return list(self._ask("GET", "calls"))

    def state(self) -> Any:
        """Counts and ids of everything, per account and Region."""
        return self._ask("GET", "state")

    def reset(self) -> None:
        """Put everything back to what the account file describes, and forget the calls."""
        self._ask("POST", "reset")

    def set_faults(self, rules: list[dict[str, Any]]) -> None:
        """Replace the fault rules."""
        self._ask("POST", "faults", rules)

    def clear_faults(self) -> None:
        """Remove every fault rule."""
        self._ask("DELETE", "faults")


# What template.yaml would set where it is not deployed; the names are those of the demo account.
DEMO_SETTINGS = {
    "ACCOUNT_ID": "000000000000",
    "BACKUP_BUCKET": "ami-backup-demo-backups",
    "EXPORT_BUCKET": "ami-backup-demo-exports",
    "EXPORT_ROLE_NAME": "ami-backup-demo-export",
    "MINIMUM_WAIT_SECONDS": "1",
    "NOTIFICATION_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:ami-backup-demo",
}


def _gateway() -> str:
    """The address at which containers of the engine's default network reach this machine."""
    command = ["docker", "network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"no container engine answers: {error}") from error
    network = json.loads(asked.stdout)[0]
    # Engines that do not tell the gateway take the network's first address.
    return str(network.get("Gateway") or next(ipaddress.ip_network(network["Subnet"]).hosts()))


def main() -> None:
    """Run the simulator until a signal ends it; writes what `sam local invoke` and a shell need to reach it.

    With ``--containers`` it also listens where the containers of `sam local invoke` reach it, and nothing
    else does: on the gateway of the container engine's network. A container does not see the loopback.
    """
    directory = ROOT / ".local" / "simulator"
    end_on_signals()
    containers = f"{_gateway()}:{free_port()}" if "--containers" in sys.argv[1:] else None
    child, url = launch(directory, DEMO_ACCOUNT, containers=containers)
    seen = f"http://host.docker.internal:{containers.rsplit(':', 1)[1]}" if containers else url
    try:
        endpoints = {"AWS_ENDPOINT_URL": seen, "AWS_ENDPOINT_URL_EC2": seen, "AWS_ENDPOINT_URL_S3": seen}
        sam = {"Parameters": {**DEMO_SETTINGS, **endpoints}}
        (directory.parent / "env.json").write_text(json.dumps(sam, indent=2) + "\n", encoding="utf-8")
        exports = [f"export {name}={value}" for name, value in {"AWS_ENDPOINT_URL": url, **CREDENTIALS}.items()]
        (directory / "env").write_text("\n".join(exports) + "\nunset AWS_PROFILE AWS_SESSION_TOKEN\n", encoding="utf-8")
        print(f"simulated AWS at {url}; Ctrl-C ends it\n")
        print("  . .local/simulator/env && .venv/bin/aws ec2 describe-images --owners self", flush=True)
        if containers:
            print("  sam local invoke --config-env local StartStoreFunction -e events/start-store.json", flush=True)
        child.wait()
    finally:
        stop_child(child)


if __name__ == "__main__":
    try:
        main()
    except StackError as problem:
        sys.exit(str(problem))
