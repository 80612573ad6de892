"""Deploys ``template.yaml`` to MiniStack, as ``sam deploy`` would to AWS.

Only where the code comes from differs: each function's package is one line
that runs it from the one program of all functions that ``make build`` left in
``target/debug``, so that nothing is zipped at length and a rebuilt function is
picked up at once. The definitions of the state machines and everything else are
deployed as they are.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from samtranslator.yaml_helper import yaml_parse

from .processes import StackError

STACK_NAME = "ami-backup"
_PACKAGES = "ami-backup-local-packages"
_FUNCTION = "AWS::Serverless::Function"
_MACHINE = "AWS::Serverless::StateMachine"


def bootstrap(program: Path, function: str) -> bytes:
    """The zip of a function that is `function` of `program`."""
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o755 << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(entry, f'#!/bin/sh\nexec "{program}" {function}\n')
    return packed.getvalue()


def functions(template: dict[str, Any]) -> dict[str, str]:
    """Logical id → name of the binary, of every function in the template."""
    found = {}
    for logical_id, resource in template["Resources"].items():
        if resource["Type"] == _FUNCTION:
            found[logical_id] = resource["Metadata"]["BuildProperties"]["Binary"]
    return found


class Deployment:
    """One deployment of the template through CloudFormation."""

    def __init__(self, session: Any, endpoint: str, root: Path, program: Path) -> None:
        self._cloudformation = session.client("cloudformation", endpoint_url=endpoint)
        self._s3 = session.client("s3", endpoint_url=endpoint)
        self._root = root
        self._program = program

    def _upload(self, key: str, body: bytes) -> dict[str, str]:
        self._s3.put_object(Bucket=_PACKAGES, Key=key, Body=body)
        return {"Bucket": _PACKAGES, "Key": key}

    def _packaged(self, template: dict[str, Any]) -> dict[str, Any]:
        """The template with every local path replaced by where its content was uploaded."""
        if not self._program.is_file():
            raise StackError(f"{self._program} is not there: run `make build`")
        for logical_id, binary in functions(template).items():
            properties = template["Resources"][logical_id]["Properties"]
            properties["CodeUri"] = self._upload(f"{binary}.zip", bootstrap(self._program, binary))
        for resource in template["Resources"].values():
            definition = resource["Properties"].get("DefinitionUri") if resource["Type"] == _MACHINE else None
            if definition:
                uploaded = self._upload(definition, (self._root / definition).read_bytes())
                resource["Properties"]["DefinitionUri"] = uploaded
        template.get("Globals", {}).get("Function", {}).pop("CodeUri", None)
        return template

    def run(self, parameters: dict[str, str]) -> dict[str, str]:
        """Create the stack with those of `parameters` that the template declares; returns its outputs."""
        template = yaml_parse((self._root / "template.yaml").read_text(encoding="utf-8"))
        declared = template.get("Parameters", {})
        self._s3.create_bucket(Bucket=_PACKAGES)
        body = json.dumps(self._packaged(template), default=str)
        uploaded = self._upload("template.json", body.encode())
        try:
            self._cloudformation.create_stack(
                StackName=STACK_NAME,
                TemplateURL=f"{self._s3.meta.endpoint_url}/{uploaded['Bucket']}/{uploaded['Key']}",
                Parameters=[
                    {"ParameterKey": name, "ParameterValue": value}
                    for name, value in parameters.items()
                    if name in declared
                ],
                Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            )
        except ClientError as error:
            raise StackError(f"MiniStack refused template.yaml: {error}") from error
        return self._outputs()

    def _outputs(self, patience_seconds: float = 120) -> dict[str, str]:
        until = time.monotonic() + patience_seconds
        while True:
            stack = self._cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
            if stack["StackStatus"] == "CREATE_COMPLETE":
                return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
            if not stack["StackStatus"].endswith("IN_PROGRESS") or time.monotonic() > until:
                raise StackError(f"the stack ended as {stack['StackStatus']}:\n{self._failures()}")
            time.sleep(0.2)

    def _failures(self) -> str:
        events = self._cloudformation.describe_stack_events(StackName=STACK_NAME)["StackEvents"]
        return "\n".join(
            f"{event['LogicalResourceId']} ({event.get('ResourceType', '?')}): {event.get('ResourceStatusReason', '')}"
            for event in events
            if event["ResourceStatus"].endswith("FAILED")
        )
