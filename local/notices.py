"""What the product tells people on a running stack: its topic, read by a queue as by a mailbox."""

from __future__ import annotations

import json
import re
from typing import Any

from botocore.exceptions import ClientError

from .stack import Stack

# The command that ask-approval has in its notice, once for each answer.
_TOKEN = re.compile(r"--task-token '([^']+)'")
# In the command that agrees: which plan it is.
_PLAN = re.compile(r'"plan": "([^"]+)"')
# Who asked has gone on without the answer, or has it.
_NOT_ASKED_ANY_MORE = ("TaskDoesNotExist", "TaskTimedOut", "InvalidToken")


def token_in(message: str) -> str | None:
    """The token by which a notice is answered, if it asks."""
    found = _TOKEN.search(message)
    return found.group(1) if found else None


def answer(message: str, approval: dict[str, Any]) -> str:
    """An answer to a notice that asks: an agreement names the plan that the notice is about."""
    plan = _PLAN.search(message)
    return json.dumps({**approval, "plan": plan.group(1)} if plan and approval["approved"] else approval)


class Mailbox:
    """Everything that is published from now on."""

    def __init__(self, stack: Stack, name: str = "mailbox") -> None:
        self._queues = stack.client("sqs")
        self._url = self._queues.create_queue(QueueName=name)["QueueUrl"]
        asked = self._queues.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        stack.client("sns").subscribe(
            TopicArn=stack.outputs["NotificationTopicArn"], Protocol="sqs", Endpoint=asked["Attributes"]["QueueArn"]
        )

    def new(self) -> list[dict[str, str]]:
        """The notices that have not been read, each with its `Subject` and its `Message`."""
        notices = []
        while received := self._queues.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            for one in received:
                self._queues.delete_message(QueueUrl=self._url, ReceiptHandle=one["ReceiptHandle"])
                notices.append(json.loads(one["Body"]))
        return notices


class Person:
    """Answers, by `approval`, what the notices of an execution ask. What was asked before is not answered."""

    def __init__(self, states: Any, mailbox: Mailbox, approval: dict[str, Any]) -> None:
        self._states = states
        self._mailbox = mailbox
        self._approval = approval
        self.answered = 0
        mailbox.new()

    def look(self) -> None:
        """Read what has come, and answer it."""
        for notice in self._mailbox.new():
            token = token_in(notice["Message"])
            if token is None:
                continue
            try:
                self._states.send_task_success(taskToken=token, output=answer(notice["Message"], self._approval))
            except ClientError as error:
                if error.response["Error"]["Code"] not in _NOT_ASKED_ANY_MORE:
                    raise
            else:
                self.answered += 1
