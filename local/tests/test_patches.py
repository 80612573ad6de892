"""The patches, each by a state machine that needs it, on a MiniStack of its own."""

from __future__ import annotations

import json
import tempfile
import threading
import time
import types
import unittest
from pathlib import Path
from typing import Any

import boto3

from local import ministack, patches
from local.processes import CREDENTIALS, LOOPBACK, free_port, stop_child


class MachinesOnMiniStack(unittest.TestCase):
    """JSONata machines that MiniStack alone runs wrongly."""

    states: Any
    s3: Any

    @classmethod
    def setUpClass(cls) -> None:
        directory = tempfile.TemporaryDirectory(prefix="ami-backup-patches-")
        cls.addClassCleanup(directory.cleanup)
        port = free_port()
        process = ministack.launch(Path(directory.name), port, None)
        cls.addClassCleanup(stop_child, process)
        session = boto3.Session(CREDENTIALS["AWS_ACCESS_KEY_ID"], "test", region_name="us-east-1")
        endpoint = f"http://{LOOPBACK}:{port}"
        cls.states = session.client("stepfunctions", endpoint_url=endpoint)
        cls.s3 = session.client("s3", endpoint_url=endpoint)
        cls.s3.create_bucket(Bucket="items")

    def run_machine(self, states: dict, given: Any = None, start: str | None = None) -> dict[str, Any]:
        """Create a machine of `states`, run it once and return the ended execution, its output parsed."""
        definition = {"QueryLanguage": "JSONata", "StartAt": start or next(iter(states)), "States": states}
        name = f"{self._testMethodName}-{time.monotonic_ns()}"
        machine = self.states.create_state_machine(
            name=name[-80:], definition=json.dumps(definition), roleArn="arn:aws:iam::000000000000:role/any"
        )["stateMachineArn"]
        execution = self.states.start_execution(stateMachineArn=machine, input=json.dumps(given or {}))["executionArn"]
        until = time.monotonic() + 30
        while (ended := self.states.describe_execution(executionArn=execution))["status"] == "RUNNING":
            self.assertLess(time.monotonic(), until, "the execution does not end")
            time.sleep(0.05)
        ended["output"] = json.loads(ended.get("output") or "null")
        return ended

    def test_a_succeed_state_has_its_output(self) -> None:
        ended = self.run_machine(
            {"Done": {"Type": "Succeed", "Output": {"twice": "{% $states.input.n * 2 %}"}}}, {"n": 4}
        )
        self.assertEqual(ended["output"], {"twice": 8})

    def test_a_succeed_state_inside_a_branch_has_its_output(self) -> None:
        done = {"Type": "Succeed", "Output": "{% $states.input.n %}"}
        parallel = {"Type": "Parallel", "Branches": [{"StartAt": "Done", "States": {"Done": done}}], "End": True}
        self.assertEqual(self.run_machine({"Both": parallel}, {"n": 4})["output"], [4])

    def test_a_parallel_state_evaluates_arguments_output_and_assign(self) -> None:
        branch = {"StartAt": "Pass", "States": {"Pass": {"Type": "Pass", "End": True}}}
        both = {
            "Type": "Parallel",
            "Arguments": {"given": "{% $states.input.n %}"},
            "Branches": [branch, branch],
            "Assign": {"first": "{% $states.result[0].given %}"},
            "Output": {"kept": "{% $states.input %}", "branches": "{% $states.result %}"},
            "Next": "Say",
        }
        say = {"Type": "Pass", "Output": {"first": "{% $first %}", "seen": "{% $states.input %}"}, "End": True}
        ended = self.run_machine({"Both": both, "Say": say}, {"n": 7})
        self.assertEqual(
            ended["output"], {"first": 7, "seen": {"kept": {"n": 7}, "branches": [{"given": 7}, {"given": 7}]}}
        )

    def test_branches_do_not_share_variables_or_the_current_state(self) -> None:
        def branch(number: int) -> dict:
            return {
                "StartAt": f"Set {number}",
                "States": {
                    f"Set {number}": {"Type": "Pass", "Assign": {"mine": number}, "Next": f"Wait {number}"},
                    f"Wait {number}": {"Type": "Wait", "Seconds": 1, "Next": f"Read {number}"},
                    f"Read {number}": {
                        "Type": "Pass",
                        "Output": ["{% $mine %}", "{% $states.context.State.Name %}"],
                        "End": True,
                    },
                },
            }

        both = {"Type": "Parallel", "Branches": [branch(1), branch(2)], "End": True}
        self.assertEqual(self.run_machine({"Both": both})["output"], [[1, "Read 1"], [2, "Read 2"]])

    def distributed(self, states: dict, **fields: Any) -> dict:
        """A Distributed Map state over the sub-machine `states`."""
        mode = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
        processor = {"ProcessorConfig": mode, "StartAt": next(iter(states)), "States": states}
        return {"Type": "Map", "ItemProcessor": processor, "End": True, **fields}

    def test_a_distributed_map_reads_its_items_where_the_arguments_say(self) -> None:
        self.s3.put_object(Bucket="items", Key="a/items.json", Body=json.dumps([{"n": 1}, {"n": 2}]).encode())
        each = self.distributed(
            {"Double": {"Type": "Pass", "Output": "{% $states.input.n * 2 %}", "End": True}},
            ItemReader={
                "Resource": "arn:aws:states:::s3:getObject",
                "ReaderConfig": {"InputType": "JSON"},
                "Arguments": {"Bucket": "items", "Key": "{% $states.input.key %}"},
            },
            Output={"results": "{% $states.result %}", "kept": "{% $states.input.key %}"},
        )
        self.assertEqual(
            self.run_machine({"Each": each}, {"key": "a/items.json"})["output"],
            {"results": [2, 4], "kept": "a/items.json"},
        )

    def test_a_distributed_map_evaluates_items_selector_and_assign(self) -> None:
        each = self.distributed(
            {"Same": {"Type": "Pass", "End": True}},
            Items="{% $states.input.list %}",
            ItemSelector={"n": "{% $states.context.Map.Item.Value %}", "at": "{% $states.context.Map.Item.Index %}"},
            Assign={"last": "{% $states.result[-1].n %}"},
            Next="Say",
        )
        del each["End"]
        say = {"Type": "Pass", "Output": {"last": "{% $last %}", "all": "{% $states.input %}"}, "End": True}
        ended = self.run_machine({"Each": each, "Say": say}, {"list": [5, 6]})
        self.assertEqual(ended["output"], {"last": 6, "all": [{"n": 5, "at": 0}, {"n": 6, "at": 1}]})

    def test_a_child_of_a_distributed_map_is_an_execution_of_its_own(self) -> None:
        each = self.distributed(
            {"Name": {"Type": "Pass", "Output": "{% $states.context.Execution.Id %}", "End": True}},
            Items=[1, 2],
        )
        first, second = self.run_machine({"Each": each})["output"]
        self.assertNotEqual(first, second)

    def test_tolerated_failures_do_not_fail_a_distributed_map(self) -> None:
        each = self.distributed({"No": {"Type": "Fail", "Error": "No"}}, Items=[1, 2], ToleratedFailurePercentage=100)
        self.assertEqual(self.run_machine({"Each": each})["status"], "SUCCEEDED")

    def test_a_fail_state_evaluates_error_and_cause(self) -> None:
        no = {"Type": "Fail", "Error": "{% $states.input.e %}", "Cause": "{% $states.input.c %}"}
        ended = self.run_machine({"No": no}, {"e": "Named", "c": "because"})
        self.assertEqual((ended["status"], ended["error"], ended["cause"]), ("FAILED", "Named", "because"))

    def test_a_retry_waits_no_longer_than_its_maximum(self) -> None:
        failing = {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Arguments": {"FunctionName": "nobody", "Payload": {}},
            "Retry": [
                {
                    "ErrorEquals": ["States.ALL"],
                    "IntervalSeconds": 50,
                    "MaxAttempts": 1,
                    "MaxDelaySeconds": 1,
                    "JitterStrategy": "FULL",
                }
            ],
            "Catch": [{"ErrorEquals": ["States.ALL"], "Output": "{% $states.errorOutput.Error %}", "Next": "Done"}],
            "End": True,
        }
        ended = self.run_machine({"Failing": failing, "Done": {"Type": "Succeed"}})
        self.assertEqual(ended["output"], "Lambda.ResourceNotFoundException")

    def test_a_function_that_fails_fails_the_task_that_waits_for_its_token(self) -> None:
        asking = {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Arguments": {"FunctionName": "nobody", "Payload": {"token": "{% $states.context.Task.Token %}"}},
            "TimeoutSeconds": 20,
            "Catch": [{"ErrorEquals": ["States.ALL"], "Output": "{% $states.errorOutput.Error %}", "Next": "Done"}],
            "End": True,
        }
        ended = self.run_machine({"Asking": asking, "Done": {"Type": "Succeed"}})
        self.assertEqual(ended["output"], "Lambda.ResourceNotFoundException")


class Tokens(unittest.TestCase):
    """The tokens of a Task that waits for them, on what the patch needs of MiniStack's Step Functions."""

    def tokens(self, resource: str) -> list[str]:
        """What two tries of a Task see in their context."""
        steps: Any = types.SimpleNamespace(
            _apply_jsonata_arguments=lambda state, given, ctx=None: ctx.get("Task", {}).get("Token"),
            new_uuid=iter(["t-1", "t-2"]).__next__,
        )
        patches._callback_token(steps)
        context: dict = {}
        return [steps._apply_jsonata_arguments({"Resource": resource}, {}, context) for _ in range(2)]

    def test_each_try_has_a_token_of_its_own(self) -> None:
        self.assertEqual(self.tokens("arn:aws:states:::lambda:invoke.waitForTaskToken"), ["t-1", "t-2"])

    def test_other_tasks_have_none(self) -> None:
        self.assertEqual(self.tokens("arn:aws:states:::lambda:invoke"), [None, None])

    def test_what_came_back_with_a_token_stays_if_its_function_fails_afterwards(self) -> None:
        class Failed(Exception):
            error, cause = "E", "because"

        answered = {"event": threading.Event(), "error": None}
        answered["event"].set()
        tasks = {"open": {"event": threading.Event(), "error": None}, "answered": answered}

        def call(function: str, event: Any) -> None:
            raise Failed

        def invoke(resource: str, given: Any, token: str, state: dict) -> Any:
            try:
                steps._call_lambda("f", {})
            except Failed:
                return tasks[token]["event"].is_set(), tasks[token]["error"]

        steps: Any = types.SimpleNamespace(
            _ExecutionError=Failed, _task_tokens=tasks, _call_lambda=call, _invoke_with_callback=invoke
        )
        patches._callback_failure(steps)
        failed = {"Error": "E", "Cause": "because"}
        self.assertEqual(steps._invoke_with_callback("", {}, "open", {}), (True, failed))
        self.assertEqual(steps._invoke_with_callback("", {}, "answered", {}), (True, None))
        with self.assertRaises(Failed):
            steps._call_lambda("f", {})  # of a Task that waits for no token


class Pin(unittest.TestCase):
    """The version that the patches were read in."""

    def test_another_version_is_refused(self) -> None:
        known, patches.MINISTACK_VERSION = patches.MINISTACK_VERSION, "0.0.1"
        self.addCleanup(setattr, patches, "MINISTACK_VERSION", known)
        with self.assertRaisesRegex(patches.WrongVersion, "written for ministack 0.0.1"):
            patches.apply()

    def test_the_pin_and_the_requirement_are_one_version(self) -> None:
        requirements = (ministack.ROOT / "local" / "requirements.txt").read_text()
        self.assertIn(f"ministack=={patches.MINISTACK_VERSION}\n", requirements)


class ScheduledTime(unittest.TestCase):
    """The Scheduler's placeholder."""

    def test_the_placeholder_becomes_the_time(self) -> None:
        class Bridge:
            """What the patch needs of MiniStack's EventBridge."""

            delivered: list[dict] = []

            @staticmethod
            def _invoke_target(target: dict, event: dict, rule: Any) -> None:
                Bridge.delivered.append(target)

        patches._scheduled_time(Bridge)
        target = {"Input": '{"run": "<aws.scheduler.scheduled-time>"}'}
        Bridge._invoke_target(target, {"Source": "aws.scheduler", "Time": 1_800_000_000.4}, None)
        Bridge._invoke_target(target, {"Source": "aws.events", "Time": 1_800_000_000.4}, None)
        self.assertEqual(Bridge.delivered, [{"Input": '{"run": "2027-01-15T08:00:00Z"}'}, target])


if __name__ == "__main__":
    unittest.main()
