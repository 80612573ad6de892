"""What the benchmark says of its figures, and how it reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from local import bench, simulator
from local.bench import Measured, Results


def results(contestant: str, token_buckets: bool, *runs: tuple[float, float]) -> Results:
    """Runs of so many seconds and megabytes."""
    return Results(contestant, token_buckets, [Measured(wall, wall, peak, "") for wall, peak in runs])


class Goals(unittest.TestCase):
    """Whether they are met."""

    def test_medians_are_compared_without_token_buckets_and_the_worst_of_all_runs_counts(self) -> None:
        said = bench.goals(
            "plan",
            [
                results("plan", False, (1, 90), (2, 91), (90, 92)),
                results("Custodian", False, (40, 700), (41, 700), (10, 700)),
                results("plan", True, (899, 127.9)),
                results("Custodian", True, (10, 700)),
            ],
        )
        self.assertEqual([met for met, _ in said], [True, True, True])
        self.assertIn("20.0 times", said[0][1])
        self.assertIn("128 MB", said[1][1])

    def test_what_is_missed_is_said(self) -> None:
        both = [results("plan", False, (900, 128)), results("Custodian", False, (17_999, 1))]
        self.assertEqual([met for met, _ in bench.goals("plan", both)], [False, False, False])

    def test_who_has_not_ended_is_not_compared(self) -> None:
        both = [results("plan", False, (1, 1)), results("Custodian", False)]
        self.assertEqual(len(bench.goals("plan", both)), 2)
        self.assertEqual(len(bench.table(both).splitlines()), 3)


class Processes(unittest.TestCase):
    """What is read of one that runs."""

    @unittest.skipUnless(sys.platform == "linux", "reads /proc")
    def test_its_memory_and_its_time_are_those_of_the_process(self) -> None:
        script = "x = bytearray(50 << 20); print(flush=True); input()"
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe) as child:
            child.stdout.readline()
            self.assertEqual(bench.child_of(os.getpid()), child.pid)
            self.assertGreater(bench.peak_mb(child.pid), 50)
            self.assertGreater(bench.cpu_seconds(child.pid), 0)
            child.communicate(b"\n")


class Account(unittest.TestCase):
    """The account that is measured."""

    def test_it_has_the_sizes_that_are_asked_for_and_is_the_same_each_time(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            file = Path(name) / "account.json"
            sizes = ["--images", "200", "--snapshots", "1000", "--instances", "50", "--until", "2026-11-23"]
            command = [sys.executable, str(bench.FILES / "account.py"), str(file), *sizes]
            texts = []
            for _ in range(2):
                subprocess.run(command, check=True)
                texts.append(file.read_text(encoding="utf-8"))
        self.assertEqual(*texts)
        account = json.loads(texts[0])["accounts"][0]
        behind = [volume["snapshotId"] for image in account["images"] for volume in image["volumes"]]
        self.assertEqual((len(account["images"]), len(account["instances"])), (200, 50))
        self.assertEqual(len(behind) + len(account["snapshots"]), 1000)
        self.assertEqual(len({image["name"] for image in account["images"]}), 200)
        buckets = [bucket["name"] for bucket in account["buckets"]]
        self.assertIn(simulator.DEMO_SETTINGS["BACKUP_BUCKET"], buckets)
