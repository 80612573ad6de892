"""Holds the state machines against asl-validator, with their substitutions filled in."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ASL_VALIDATOR = "asl-validator@4.0.0"


def filled_in(definition: str) -> str:
    """The definition with a plausible value for every `${Name}`; which names exist is a contract test's matter."""

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name == "Partition":
            return "aws"
        if name.endswith("Seconds"):
            return "3600"
        return f"arn:aws:lambda:us-east-1:123456789012:function:{name}"

    return re.sub(r"\$\{(\w+)\}", value, definition)


def main() -> None:
    """Write the filled-in machines to a directory and run the validator on all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--npx", required=True, help="the npx to run the validator with")
    parser.add_argument("--directory", type=Path, required=True, help="where the filled-in machines go")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    command = [arguments.npx, "--yes", ASL_VALIDATOR]
    machines = sorted((ROOT / "state-machines").glob("*.asl.json"))
    for machine in machines:
        target = arguments.directory / machine.name
        target.write_text(filled_in(machine.read_text(encoding="utf-8")), encoding="utf-8")
        command += ["--json-path", str(target)]
    # npx starts `node` from the PATH: the one beside it, if there is one.
    path = f"{Path(arguments.npx).parent}:{os.environ['PATH']}"
    ended = subprocess.run(command, env={**os.environ, "PATH": path}, check=False)
    if ended.returncode == 0:
        print(f"{len(machines)} state machines: nothing to report")
    sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
