"""The stack leaves nothing behind, however the program that started it ends. Needs what `make build` makes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path

from local.processes import tail
from local.stack import ROOT, STATE

# The longest step of a start takes half a second on an idle machine, and seven with 25 busy programs on two cores.
PATIENCE_SECONDS = 30


def processes_of(directory: Path) -> list[str]:
    """The command lines of what runs with its temporary files below `directory`, or keeps its state there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            seen = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(directory).encode() in seen:
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def files_of(directory: Path) -> dict[str, tuple[int, int]]:
    """Every file below `directory`, with its size and the time of its last change."""
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            try:
                facts = os.stat(path)
            except FileNotFoundError:  # it was there a moment ago
                continue
            found[path] = (facts.st_size, facts.st_mtime_ns)
    return found


@unittest.skipUnless(sys.platform == "linux", "looks for processes in /proc")
class NothingIsLeftBehind(unittest.TestCase):
    """The demo is ended at different moments; nothing of it may run afterwards."""

    def end_demo(self, number: int, moment: Callable[[Path], bool]) -> int:
        """Start the demo, send it a signal at a moment, and return its status once nothing of it runs any more."""
        output = tempfile.TemporaryFile("w+")
        self.addCleanup(output.close)
        demo = subprocess.Popen([sys.executable, "-m", "local.demo"], cwd=ROOT, stdout=output, stderr=output)
        self.addCleanup(demo.kill)
        directory = STATE / f"demo-{demo.pid}"
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)

        def left() -> str:
            output.seek(0)
            return f"{output.read()[-2000:]}\nministack.log ends:\n{tail(directory / 'ministack.log')}"

        self.wait(
            lambda: moment(directory) or demo.poll() is not None,
            lambda: f"the moment to end the demo: {left()}",
            lambda: files_of(directory),
        )
        if demo.poll() is not None:
            self.fail(f"the demo ended by itself: {left()}")
        self.assertNotEqual(processes_of(directory), [])
        demo.send_signal(number)
        status = demo.wait(timeout=PATIENCE_SECONDS)
        self.wait(lambda: processes_of(directory) == [], lambda: f"the end of {processes_of(directory)}")
        return status

    def wait(
        self, reached: Callable[[], bool], what: Callable[[], str], progress: Callable[[], object] = lambda: None
    ) -> None:
        """Wait until something is so; fails once `progress` has not changed for PATIENCE_SECONDS.

        A start has few steps, each seen in a file, and needs two seconds of one processor, twice that before Python
        has compiled anything: how long it takes as a whole is up to what else runs. A step that hangs changes nothing.
        """
        seen, until = progress(), time.monotonic() + PATIENCE_SECONDS
        while not reached():
            if (now := progress()) != seen:
                seen, until = now, time.monotonic() + PATIENCE_SECONDS
            if time.monotonic() > until:
                self.fail(f"no progress for {PATIENCE_SECONDS} s, waiting for {what()}")
            time.sleep(0.05)

    @staticmethod
    def started(directory: Path) -> bool:
        """One program of the stack has been started."""
        return (directory / "stack.json").is_file()

    @staticmethod
    def functions_run(directory: Path) -> bool:
        """The first functions have been called."""
        try:
            up = json.loads((directory / "stack.json").read_text())["outputs"] != {}
        except (OSError, ValueError):
            return False
        return up and "environment spawned" in (directory / "ministack.log").read_text()

    def test_an_interrupt_while_it_starts_ends_everything(self) -> None:
        self.assertEqual(self.end_demo(signal.SIGINT, self.started), 128 + signal.SIGINT)

    def test_an_interrupt_while_functions_run_ends_everything(self) -> None:
        self.assertEqual(self.end_demo(signal.SIGINT, self.functions_run), 128 + signal.SIGINT)

    def test_a_killed_demo_takes_its_stack_along(self) -> None:
        self.assertEqual(self.end_demo(signal.SIGKILL, self.functions_run), -signal.SIGKILL)


if __name__ == "__main__":
    unittest.main()
