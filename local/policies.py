"""Fills the policies that SECURITY.md offers with the role ARNs of a deployed stack.

Only the roles that have to write tags are named: a service control policy holds 5,120 characters. The credentials are
those of the environment; what is read is the list of the stack's resources, and the ARN of each of these roles.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[1]
POLICIES = ROOT / "policies"
FILLED = ROOT / ".local" / "policies"
PLACEHOLDER = "${StackRoleArns}"
# Largest document of each kind, without white space (quotas of Organizations and IAM).
LARGEST = {"service-control-policy.json": 5120, "permission-boundary.json": 6144}


class NotFilled(RuntimeError):
    """A policy that cannot be filled in; the text says why."""


def writers(template: dict[str, Any]) -> set[str]:
    """The logical ids of the roles of the template that may write or remove tags."""
    found = set()
    for logical_id, resource in template["Resources"].items():
        policies = resource["Properties"].get("Policies", []) if resource["Type"] == "AWS::Serverless::Function" else []
        statements = [one for policy in policies for one in policy.get("Statement", []) if one.get("Effect") == "Allow"]
        actions = {action for statement in statements for action in _list(statement["Action"])}
        if actions & {"ec2:CreateTags", "ec2:DeleteTags"}:
            found.add(f"{logical_id}Role")
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def role_arns(cloudformation: Any, iam: Any, stack: str, wanted: set[str]) -> list[str]:
    """The ARNs of these roles of a stack, in order."""
    found = {}
    for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack):
        for resource in page["StackResourceSummaries"]:
            if resource["LogicalResourceId"] in wanted:
                role = iam.get_role(RoleName=resource["PhysicalResourceId"])["Role"]
                found[resource["LogicalResourceId"]] = role["Arn"]
    if missing := sorted(wanted - found.keys()):
        raise NotFilled(f"the stack {stack} lacks {', '.join(missing)}: is it of this version?")
    return sorted(found.values())


def filled(document: Any, arns: list[str]) -> Any:
    """A document with the ARNs in the place of the placeholder."""
    if document == [PLACEHOLDER]:
        return arns
    if isinstance(document, list):
        return [filled(one, arns) for one in document]
    if isinstance(document, dict):
        return {name: filled(value, arns) for name, value in document.items()}
    return document


def write(arns: list[str], into: Path) -> list[Path]:
    """Writes each policy, filled in; gives where."""
    into.mkdir(parents=True, exist_ok=True)
    written = []
    for name, largest in LARGEST.items():
        document = filled(json.loads((POLICIES / name).read_text(encoding="utf-8")), arns)
        text = json.dumps(document, separators=(",", ":"))
        if len(text) > largest:
            raise NotFilled(f"{name} has {len(text)} characters with these ARNs, and {largest} are allowed")
        (into / name).write_text(text + "\n", encoding="utf-8")
        written.append(into / name)
    return written


def main() -> int:
    """Fills the policies in for the stack that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stack", help="name of the deployed stack")
    stack = parser.parse_args().stack
    template = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    try:
        arns = role_arns(boto3.client("cloudformation"), boto3.client("iam"), stack, writers(template))
        for path in write(arns, FILLED):
            print(path.relative_to(ROOT))
    except (BotoCoreError, ClientError, NotFilled) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
