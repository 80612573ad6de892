"""A package of another machine's program is refused, and the documented way names the architecture to the build."""

from __future__ import annotations

import re
import sys
import tempfile
import unittest
from pathlib import Path

from local import packaged
from local.stack import ROOT


def header(number: int) -> bytes:
    """The first bytes of an ELF program for a machine."""
    return b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + number.to_bytes(2, "little")


class Packages(unittest.TestCase):
    """What `make package` holds against the architecture that it was asked for."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.built = Path(folder.name)

    def plant(self, function: str, program: bytes) -> None:
        (self.built / function).mkdir()
        (self.built / function / "bootstrap").write_bytes(program)

    def test_programs_of_the_machine_are_good(self) -> None:
        self.plant("StartStoreFunction", header(183))
        self.assertEqual(packaged.strangers(self.built, "arm64"), [])

    def test_a_program_of_another_machine_is_named(self) -> None:
        self.plant("StartStoreFunction", header(183))
        self.plant("CopyRegionFunction", header(62))
        self.plant("CheckImageFunction", b"#!/bin/sh")
        wrong = packaged.strangers(self.built, "arm64")
        self.assertEqual(
            wrong,
            ["CheckImageFunction: no program, and not arm64", "CopyRegionFunction: x86_64, and not arm64"],
        )

    def test_nothing_built_is_nothing_good(self) -> None:
        self.assertEqual(len(packaged.strangers(self.built, "x86_64")), 1)

    def test_a_real_program_is_read(self) -> None:
        self.assertIn(packaged.machine(Path(sys.executable).read_bytes()[:20]), packaged.MACHINES)


class TheDocumentedWay(unittest.TestCase):
    """`sam build` reads no answer of `sam deploy --guided`."""

    def test_every_build_for_arm64_says_so_itself(self) -> None:
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        told = re.findall(r"^sam (build|deploy) .*--parameter-overrides Architecture=arm64$", text, re.MULTILINE)
        self.assertEqual(told, ["build", "deploy"])
        self.assertIn("Architecture=$(ARCHITECTURE)", (ROOT / "Makefile").read_text(encoding="utf-8"))


if __name__ == "__main__":
    unittest.main()
