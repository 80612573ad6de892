"""Starts one MiniStack on the loopback interface."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from . import simulator
from .processes import LOOPBACK, answers, clean_environment, start, wait_until

ROOT = Path(__file__).resolve().parent.parent


def launch(directory: Path, port: int, ec2_endpoint: str | None, outlive: bool = False) -> subprocess.Popen[bytes]:
    """Start MiniStack on `port` and wait until it answers; its log and its files go below `directory`.

    The functions that it runs inherit its environment: `ec2_endpoint` is where their calls of what the simulator
    stands in for go, everything else comes back to MiniStack.
    """
    url = f"http://{LOOPBACK}:{port}"
    temporary = directory / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    settings = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": LOOPBACK,  # its default is every interface
        "MINISTACK_HOST": LOOPBACK,
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "TMPDIR": str(temporary),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_ENDPOINT_URL": url,
    }
    if ec2_endpoint:
        settings.update(simulator.environment(ec2_endpoint))
    log = directory / "ministack.log"
    command = [sys.executable, "-m", "local.launch_ministack"]
    child = start(command, log, clean_environment(**settings), ROOT, outlive)
    wait_until("MiniStack", lambda: answers(f"{url}/_ministack/health"), child, log, 60)
    return child
