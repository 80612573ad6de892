"""How the cases of the machines are run, and how a question that one asks is answered."""

from __future__ import annotations

import json
import unittest
from typing import Any

from botocore.exceptions import ClientError

from local import machines
from local.notices import Person, answer, token_in

# As ask-approval words it.
NOTICE = """Clean-up r would do something with 5 images and snapshots in us-east-1, and asks first:
the policy has `approval`.

To apply it, with your name:
aws stepfunctions send-task-success --task-token 't-1' \\
  --task-output '{"approved": true, "plan": "d1", "by": "me"}'

To refuse it:
aws stepfunctions send-task-success --task-token 't-1' \\
  --task-output '{"approved": false, "by": "me"}'
"""


class Cases(unittest.TestCase):
    """The cases in `events/`."""

    def test_what_removes_comes_after_everything_else(self) -> None:
        order = [case.split(".")[0] == machines.REMOVES for case in machines.cases()]
        self.assertTrue(any(order) and not order[0])
        self.assertEqual(order, sorted(order))

    def test_an_approval_that_is_expected_is_asked_for_and_no_other(self) -> None:
        approval = {"approved": True, "by": "operator"}
        self.assertIsNone(machines.unasked(None, 0))
        self.assertIsNone(machines.unasked(approval, 1))
        self.assertEqual(machines.unasked(approval, 0), "never asked for an approval")
        self.assertEqual(machines.unasked(None, 2), "asked 2 times")


class Mailbox:
    """Notices that come between two looks."""

    def __init__(self, *deliveries: list[str]) -> None:
        self._deliveries = list(deliveries)

    def new(self) -> list[dict[str, str]]:
        """The next delivery."""
        return [{"Subject": "s", "Message": text} for text in (self._deliveries.pop(0) if self._deliveries else [])]


class States:
    """A Step Functions that waits for some tokens, each once."""

    def __init__(self, *tokens: str, refusal: str = "TaskDoesNotExist") -> None:
        self._tokens = list(tokens)
        self._refusal = refusal
        self.answers: list[tuple[str, Any]] = []

    def send_task_success(self, taskToken: str, output: str) -> None:
        """Take an answer."""
        if taskToken not in self._tokens:
            raise ClientError({"Error": {"Code": self._refusal}}, "SendTaskSuccess")
        self._tokens.remove(taskToken)
        self.answers.append((taskToken, json.loads(output)))


class Answers(unittest.TestCase):
    """A person who reads notices."""

    def person(self, states: States, *deliveries: list[str]) -> Person:
        mailbox: Any = Mailbox(*deliveries)
        return Person(states, mailbox, {"approved": False, "by": "operator"})

    def test_the_token_is_found_in_the_command(self) -> None:
        self.assertEqual(token_in(NOTICE), "t-1")
        self.assertIsNone(token_in("Execution arn:e ended FAILED."))

    def test_what_asks_is_answered_and_nothing_else(self) -> None:
        states = States("t-1")
        person = self.person(states, [], ["Execution arn:e ended FAILED."], [NOTICE], [])
        for _ in range(3):
            person.look()
        self.assertEqual((person.answered, states.answers), (1, [("t-1", {"approved": False, "by": "operator"})]))

    def test_an_agreement_names_the_plan_of_the_notice(self) -> None:
        agreed = json.loads(answer(NOTICE, {"approved": True, "by": "operator"}))
        self.assertEqual(agreed, {"approved": True, "by": "operator", "plan": "d1"})

    def test_what_lay_there_before_is_not_answered(self) -> None:
        states = States("t-1")
        person = self.person(states, [NOTICE], [])
        person.look()
        self.assertEqual((person.answered, states.answers), (0, []))

    def test_a_question_that_nobody_waits_on_any_more_is_passed_over(self) -> None:
        person = self.person(States(), [], [NOTICE])
        person.look()
        self.assertEqual(person.answered, 0)

    def test_another_refusal_is_an_error(self) -> None:
        person = self.person(States(refusal="AccessDeniedException"), [], [NOTICE])
        with self.assertRaises(ClientError):
            person.look()
