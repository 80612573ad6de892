"""The policies of SECURITY.md, filled in with the roles of a stack."""

from __future__ import annotations

import json
import tempfile
import unittest
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

from local import policies

# As long as CloudFormation makes them: a stack's name, the logical id and twelve characters, 64 in all.
ARN = "arn:aws-us-gov:iam::111122223333:role/{}"


class Stack:
    """CloudFormation and IAM, of which only what is asked is there."""

    def __init__(self, roles: list[str]) -> None:
        self.roles = roles

    def get_paginator(self, name: str) -> Stack:
        assert name == "list_stack_resources"
        return self

    def paginate(self, StackName: str) -> list[dict[str, Any]]:
        resources = [{"LogicalResourceId": name, "PhysicalResourceId": f"{StackName}-{name}"} for name in self.roles]
        return [{"StackResourceSummaries": [one]} for one in resources]

    def get_role(self, RoleName: str) -> dict[str, Any]:
        return {"Role": {"Arn": ARN.format(RoleName.ljust(64, "X"))}}


class Filled(unittest.TestCase):
    """What `make policies` writes."""

    def setUp(self) -> None:
        template = yaml_parse((policies.ROOT / "template.yaml").read_text(encoding="utf-8"))
        self.writers = policies.writers(template)

    def test_the_roles_that_write_tags_are_found_in_the_template(self) -> None:
        self.assertIn("CopyRegionFunctionRole", self.writers)
        self.assertIn("UndoCleanupFunctionRole", self.writers)
        self.assertNotIn("CheckImageFunctionRole", self.writers)

    def test_every_policy_names_the_roles_of_the_stack_and_fits(self) -> None:
        stack = Stack([*sorted(self.writers), "CheckImageFunctionRole"])
        arns = policies.role_arns(stack, stack, "backups", self.writers)
        self.assertEqual(len(arns), len(self.writers))
        with tempfile.TemporaryDirectory() as folder:
            written = policies.write(arns, Path(folder))
            self.assertEqual({path.name for path in written}, set(policies.LARGEST))
            for path in written:
                document = json.loads(path.read_text(encoding="utf-8"))
                named = [
                    statement["Condition"]["ArnNotLike"]["aws:PrincipalArn"]
                    for statement in document["Statement"]
                    if "ArnNotLike" in statement.get("Condition", {})
                ]
                self.assertEqual(named, [arns], path.name)

    def test_a_stack_without_one_of_the_roles_is_refused(self) -> None:
        stack = Stack(["CopyRegionFunctionRole"])
        with self.assertRaisesRegex(policies.NotFilled, "lacks CreateImageFunctionRole"):
            policies.role_arns(stack, stack, "backups", self.writers)

    def test_what_does_not_fit_is_refused(self) -> None:
        with tempfile.TemporaryDirectory() as folder, self.assertRaisesRegex(policies.NotFilled, "are allowed"):
            policies.write([ARN.format("x" * 64)] * 60, Path(folder))


if __name__ == "__main__":
    unittest.main()
