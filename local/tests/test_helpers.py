"""The small decisions: what counts as a difference, as a passed test, as the same end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any, ClassVar

from local import faults, summary
from local.comparison import difference
from local.processes import StackError, clean_environment, command_of, start, stop_group, wait_until
from local.s3_relay import action_of


class Differences(unittest.TestCase):
    """Answers held against what is expected of them."""

    def test_an_answer_may_hold_more_than_is_expected(self) -> None:
        self.assertIsNone(difference({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}, "d": 3}))

    def test_a_difference_is_named_with_its_path(self) -> None:
        self.assertEqual(difference({"a": [{"b": 1}]}, {"a": [{"b": 2}]}), "answer.a[0].b should be 1, but is 2")
        self.assertEqual(difference({"a": 1}, {}), "answer.a is missing")
        self.assertEqual(difference({"a": {"b": 1}}, {"a": None}), "answer.a should be an object, but is null")

    def test_a_list_may_not_hold_more(self) -> None:
        self.assertEqual(difference([1], [1, 2], "x"), "x should be [1], but is [1, 2]")


class Summary(unittest.TestCase):
    """The count at the end of `.ci/run`."""

    def test_results_of_cargo_and_unittest_are_added_up(self) -> None:
        text = (
            "test result: ok. 12 passed; 0 failed; 1 ignored\ntest result: FAILED. 3 passed; 2 failed; 0 ignored\n"
            "Ran 5 tests in 0.1s\n\nOK (skipped=1)\nRan 4 tests in 1s\n\nFAILED (failures=1, errors=1)\n"
        )
        self.assertEqual(summary.counted(text), (12 + 3 + 4 + 2, 2 + 2))

    def test_a_step_that_fails_without_a_failed_test_counts_itself(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            logs = Path(name)
            (logs / "steps.txt").write_text("lint FAILED\ntest ok\n")
            (logs / "lint.log").write_text("error: no")
            (logs / "test.log").write_text("test result: ok. 2 passed; 0 failed; 0 ignored\n")
            self.assertEqual(summary.total(logs), (3, 1))


class Identity(unittest.TestCase):
    """Ends of two runs are compared without what differs between any two."""

    def test_ids_tokens_and_times_are_left_out(self) -> None:
        one = faults._without_identity(["ami-0a1b2c3d4e5f60001", "nightly-0123456789ab", "2026-01-02T03:04:05.678Z"])
        two = faults._without_identity(["ami-0a1b2c3d4e5f60002", "nightly-ba9876543210", "2027-01-02T03:04:05.678Z"])
        self.assertEqual(one, two)
        self.assertNotEqual(one, faults._without_identity(["snap-0a1b2c3d4e5f60001", "nightly", "x"]))

    def test_a_plan_may_be_there_twice_and_nothing_else(self) -> None:
        first, second = "cleanups/r/us-east-1/1795539095222/plan.txt", "cleanups/r/us-east-1/1795539098126/plan.txt"
        stored, again = "i/ami-0a1b2c3d4e5f60001.bin", "i/ami-0a1b2c3d4e5f60002.bin"
        self.assertEqual(faults._objects([first, stored]), faults._objects([second, first, again]))
        self.assertNotEqual(faults._objects([first, stored]), faults._objects([first, stored, again]))
        self.assertNotEqual(faults._objects([first]), faults._objects([first.replace("plan.txt", "going.jsonl")]))


class LostReplies(unittest.TestCase):
    """What a run with a lost reply is held against."""

    WITHOUT: ClassVar[dict[str, Any]] = {"status": "SUCCEEDED", "why": "SUCCEEDED", "state": {"images": 1}}
    FAULT = faults.Fault("backup", "start-store", "ec2", "CreateStoreImageTask", 1)

    def judged(self, **differing: Any) -> list[str]:
        return faults._judge(self.FAULT, self.WITHOUT, {**self.WITHOUT, "timeouts": 1, **differing})

    def test_the_same_end_is_right(self) -> None:
        self.assertEqual(self.judged(), [])

    def test_twice_missing_failed_and_not_struck_are_wrong(self) -> None:
        self.assertEqual(len(self.judged(state={"images": 2})), 1)
        self.assertEqual(len(self.judged(status="FAILED", why="FAILED Conflict: in the way")), 1)
        self.assertEqual(len(self.judged(timeouts=0)), 1)

    def test_requests_are_told_apart_by_what_they_change(self) -> None:
        self.assertIsNone(action_of("GET", "/bucket/records/ami-0a1b2c3d.json"))
        put = action_of("PUT", "/bucket/records/ami-0a1b2c3d.json?x-id=PutObject")
        self.assertEqual(put, "PutObject records/ami-*.json")
        self.assertEqual(action_of("PUT", "/bucket/a%2Fb.bin?tagging"), "PutObjectTagging a/b.bin")
        self.assertEqual(action_of("DELETE", "/bucket/runs/12/outcomes/3.json"), "DeleteObject runs/*/outcomes/*.json")


class Processes(unittest.TestCase):
    """Children see a clean environment and end with their group, or with their parent."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def test_no_setting_of_the_host_reaches_a_child(self) -> None:
        os.environ["AWS_PROFILE"] = "mine"
        os.environ["HTTPS_PROXY"] = "http://proxy"
        self.addCleanup(os.environ.pop, "AWS_PROFILE")
        self.addCleanup(os.environ.pop, "HTTPS_PROXY")
        seen = clean_environment(AWS_REGION="eu-west-1")
        self.assertNotIn("AWS_PROFILE", seen)
        self.assertNotIn("HTTPS_PROXY", seen)
        self.assertEqual(seen["AWS_REGION"], "eu-west-1")

    def test_stopping_a_group_ends_what_its_leader_started_and_what_ignores_the_request(self) -> None:
        child = self.directory / "child"
        script = (
            "import signal, subprocess, sys, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
            f"open({str(child)!r}, 'w').write(str(child.pid))\n"
            "time.sleep(60)\n"
        )
        leader = start([sys.executable, "-c", script], self.directory / "log", clean_environment(), self.directory)
        until = time.monotonic() + 10
        while not (child.is_file() and child.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        stop_group(leader.pid, patience_seconds=0.5)
        leader.wait()
        self.assertEqual(command_of(int(child.read_text())), "")
        self.assertEqual(command_of(leader.pid), "")

    @unittest.skipUnless(sys.platform == "linux", "the kernel of this system cannot tell a child that its parent died")
    def test_a_child_ends_when_its_parent_is_killed(self) -> None:
        script = (
            "import sys, time; from pathlib import Path\n"
            "from local.processes import clean_environment, start\n"
            "here = Path(sys.argv[1])\n"
            "child = start(['sleep', '60'], here / 'log', clean_environment(), here)\n"
            "print(child.pid, flush=True)\n"
            "time.sleep(60)\n"
        )
        command = [sys.executable, "-c", script, str(self.directory)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            self.assertIn("sleep", command_of(child))
            parent.kill()
        until = time.monotonic() + 10
        while command_of(child) and time.monotonic() < until:
            time.sleep(0.02)
        self.assertEqual(command_of(child), "")

    @unittest.skipUnless(sys.platform == "linux", "looks for the child in /proc")
    def test_a_signal_while_a_child_is_started_ends_both(self) -> None:
        script = (
            "import os, signal, sys; from pathlib import Path\n"
            "from local.processes import clean_environment, end_on_signals, start\n"
            "here = Path(sys.argv[1])\n"
            "end_on_signals()\n"
            "os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))\n"
            "start(['tail', '-f', str(here / 'log')], here / 'log', clean_environment(), here)\n"
            "print('it went on')\n"
        )
        command = [sys.executable, "-c", script, str(self.directory)]
        parent = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual((parent.returncode, parent.stdout, parent.stderr), (128 + signal.SIGINT, "", ""))
        running = [command_of(int(process.name)) for process in Path("/proc").glob("[0-9]*")]
        self.assertEqual([command for command in running if str(self.directory) in command], [])

    def test_a_child_that_is_not_ready_in_time_is_ended(self) -> None:
        log = self.directory / "log"
        child = start(["sleep", "60"], log, clean_environment(), self.directory, outlive=True)
        with self.assertRaisesRegex(StackError, "the sleeper was not ready after 0 s"):
            wait_until("the sleeper", lambda: False, child, log, 0.1)
        self.assertEqual(command_of(child.pid), "")


if __name__ == "__main__":
    unittest.main()
