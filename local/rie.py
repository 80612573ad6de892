"""Gets the Lambda runtime interface emulator, which runs one function without a container.

It ships inside the SAM CLI's package (8 MB); the SAM CLI itself with what it
depends on is not needed for it.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from .processes import StackError

ROOT = Path(__file__).resolve().parent.parent
_NAMES = {"x86_64": "aws-lambda-rie-x86_64", "aarch64": "aws-lambda-rie-arm64"}


def _requirement() -> str:
    """The pinned SAM CLI, as `requirements-sam.txt` has it."""
    text = (ROOT / "local" / "requirements-sam.txt").read_text(encoding="utf-8")
    found = re.search(r"^aws-sam-cli==\S+$", text, re.MULTILINE)
    if found is None:
        raise StackError("local/requirements-sam.txt does not pin aws-sam-cli")
    return found.group()


def emulator(directory: Path) -> Path:
    """The emulator's program below `directory`, taken from the SAM CLI's package if it is not there yet."""
    name = _NAMES.get(platform.machine())
    if name is None or sys.platform != "linux":
        raise StackError("the runtime interface emulator runs on Linux only, on x86_64 and aarch64")
    requirement = _requirement()
    program = directory / requirement / name
    if program.is_file():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*download, "--dest", str(program.parent), requirement], check=True)
    wheel = next(program.parent.glob("*.whl"))
    with zipfile.ZipFile(wheel) as packed:
        content = packed.read(f"samcli/local/rapid/{name}")
    unfinished = program.with_suffix(".part")
    unfinished.write_bytes(content)
    unfinished.chmod(0o755)
    unfinished.rename(program)
    wheel.unlink()
    return program
