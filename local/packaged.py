"""Refuses packages whose programs are not of the machine that they are to be deployed to.

`sam build` takes the architecture from its own parameters, and `sam deploy` from others: nothing at a deployment would
notice a program that no function can start.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

BUILT = Path(__file__).resolve().parents[1] / ".aws-sam" / "build"
# e_machine in the header of an ELF file (elf.h).
MACHINES = {"x86_64": 62, "arm64": 183}


def machine(program: bytes) -> str:
    """The architecture that a program is of, by Lambda's name if it has one."""
    if len(program) < 20 or program[:4] != b"\x7fELF":
        return "no program"
    number = struct.unpack_from("<H" if program[5] == 1 else ">H", program, 18)[0]
    return next((name for name, known in MACHINES.items() if known == number), f"machine {number}")


def strangers(built: Path, architecture: str) -> list[str]:
    """What is wrong with the packages below a folder: a line each."""
    programs = sorted(built.glob("*/bootstrap"))
    if not programs:
        return [f"there is no package in {built}"]
    seen = ((path, machine(path.read_bytes()[:20])) for path in programs)
    return [f"{path.parent.name}: {found}, and not {architecture}" for path, found in seen if found != architecture]


def main() -> int:
    """Looks at what `sam build` left."""
    wrong = strangers(BUILT, sys.argv[1])
    print("\n".join(wrong) or f"every package is for {sys.argv[1]}", file=sys.stderr if wrong else sys.stdout)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
