"""A changed parameter reaches what is invoked: the template is rendered by SAM itself, once for each parameter.

SAM names a version of a function after a hash of the template's text, in which parameters are not resolved yet; what
CloudFormation then sees as changed is worked out here.
"""

from __future__ import annotations

import logging
import os
import re
import unittest
from typing import Any
from unittest import mock

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

from local.stack import ROOT

# Other values than the defaults; where there is none here, the default with something behind it will do.
OTHER = {"Architecture": "arm64", "KmsKeys": '{"eu-west-1": "alias/backups"}', "ExportRoleName": "vmimport"}
PSEUDO = {"AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "111122223333", "AWS::StackName": "s"}
NO_VALUE = object()
# It would say for each rendering that nobody publishes its metrics.
logging.getLogger("samtranslator.metrics.metrics").setLevel(logging.ERROR)


class NoPolicies:
    """Nothing here names a managed policy by its short name."""

    def load(self) -> dict[str, str]:
        return {}


def template() -> dict[str, Any]:
    """The template as `sam package` leaves it: code and definitions are in S3."""
    read = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
    read["Globals"]["Function"]["CodeUri"] = "s3://packages/code"
    for resource in read["Resources"].values():
        if resource["Type"] == "AWS::Serverless::StateMachine":
            resource["Properties"]["DefinitionUri"] = "s3://packages/definition"
    return read


def defaults() -> dict[str, str]:
    """The parameters' defaults, as CloudFormation has them: everything is text."""
    return {name: str(parameter["Default"]) for name, parameter in template()["Parameters"].items()}


class Rendered:
    """What CloudFormation makes of the template with these parameters."""

    def __init__(self, parameters: dict[str, str]) -> None:
        self.names = {**PSEUDO, **parameters}
        with mock.patch.dict(os.environ, {"AWS_DEFAULT_REGION": "us-east-1"}):
            self.document = transform(template(), dict(parameters), NoPolicies())

    def value(self, node: Any) -> Any:
        """A value without intrinsic functions. What a resource is called is taken to be its logical id."""
        if isinstance(node, list):
            return [one for one in map(self.value, node) if one is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, argument),) = node.items()
            if function == "Ref":
                return NO_VALUE if argument == "AWS::NoValue" else self.names.get(argument, argument)
            if function == "Fn::GetAtt":
                return ".".join(argument) if isinstance(argument, list) else argument
            if function == "Fn::Sub":
                return re.sub(r"\$\{([^}]+)\}", lambda found: str(self.names.get(found[1], found[1])), argument)
            if function == "Fn::Join":
                return argument[0].join(map(str, self.value(argument[1])))
            if function == "Fn::If":
                return self.value(argument[1 if self.holds(argument[0]) else 2])
        pairs = ((name, self.value(value)) for name, value in node.items())
        return {name: value for name, value in pairs if value is not NO_VALUE}

    def holds(self, condition: Any) -> bool:
        """Whether a condition of the template holds."""
        node = self.document["Conditions"][condition] if isinstance(condition, str) else condition
        ((function, argument),) = node.items()
        if function == "Fn::Not":
            return not self.holds(argument[0])
        if function == "Fn::Equals":
            one, other = map(self.value, argument)
            return one == other
        raise AssertionError(f"{function} is not understood")

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The resources of a type, resolved, by logical id."""
        found = self.document["Resources"].items()
        return {name: self.value(one) for name, one in found if one["Type"] == kind}

    def functions(self) -> dict[str, Any]:
        """What each function is deployed with."""
        return {name: one["Properties"] for name, one in self.of_type("AWS::Lambda::Function").items()}

    def versions(self) -> dict[str, Any]:
        """Each function's version: logical id and properties. CloudFormation publishes another if either changes."""
        versions = self.of_type("AWS::Lambda::Version").items()
        return {one["Properties"]["FunctionName"]: (name, one["Properties"]) for name, one in versions}

    def machines(self) -> dict[str, Any]:
        """What is filled into the definition of each state machine."""
        machines = self.of_type("AWS::StepFunctions::StateMachine").items()
        return {name: one["Properties"]["DefinitionSubstitutions"] for name, one in machines}


class AChangedParameter(unittest.TestCase):
    """Of each parameter: what a function is deployed with, and the version that the state machines call."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.before = Rendered(defaults())

    def changed(self, parameter: str) -> Rendered:
        """The template with another value of one parameter."""
        default = defaults()[parameter]
        other = OTHER.get(parameter) or (str(int(default) + 1) if default.isdigit() else f"{default}x")
        return Rendered({**defaults(), parameter: other})

    def test_a_parameter_that_changes_a_function_publishes_another_version_of_it_and_of_no_other(self) -> None:
        for parameter in defaults():
            after = self.changed(parameter)
            for function, deployed in after.functions().items():
                with self.subTest(parameter=parameter, function=function):
                    # A version that is published of a function without a change is refused by CloudFormation.
                    changed = deployed != self.before.functions()[function]
                    published = after.versions()[function] != self.before.versions()[function]
                    self.assertEqual(published, changed)

    def test_what_is_known_to_be_a_setting_reaches_what_is_invoked(self) -> None:
        functions = self.before.functions()
        all_of_them = {name for name in functions if name != "PlanCleanupFunction"}
        reached = {
            "FunctionTimeoutSeconds": all_of_them,
            "PlanTimeoutSeconds": {"PlanCleanupFunction"},
            **{
                name: set(functions)
                for name in ("ExportRoleName", "MinimumWaitSeconds", "StoreLimitGb", "Architecture")
            },
        }
        for parameter, expected in reached.items():
            after = self.changed(parameter).versions()
            differ = {name for name, version in self.before.versions().items() if after[name] != version}
            self.assertEqual(differ, expected, parameter)
        keys = self.changed("KmsKeys")
        self.assertEqual(keys.machines()["BackupMachine"]["KmsKeys"], OTHER["KmsKeys"])
        self.assertEqual(keys.versions(), self.before.versions())

    def test_every_function_is_deployed_for_the_architecture_that_is_asked_for(self) -> None:
        for architecture in ("x86_64", "arm64"):
            functions = Rendered({**defaults(), "Architecture": architecture}).functions()
            self.assertEqual(
                {name: one["Architectures"] for name, one in functions.items()},
                {name: [architecture] for name in functions},
            )

    def test_a_version_that_is_replaced_stays_for_the_executions_that_began_with_it(self) -> None:
        versions = self.before.of_type("AWS::Lambda::Version")
        self.assertEqual(len(versions), len(self.before.functions()))
        for name, version in versions.items():
            self.assertEqual((version.get("DeletionPolicy"), version.get("UpdateReplacePolicy")), ("Retain",) * 2, name)

    def test_a_description_of_a_version_fits_and_the_environment_does(self) -> None:
        # Lambda takes 256 characters of description and 4 KB of variables, names included.
        longest = {}
        for name, one in template()["Parameters"].items():
            values = map(str, one.get("AllowedValues", [one.get("MaxValue", "x" * one.get("MaxLength", 63))]))
            longest[name] = max(values, key=len)
        rendered = Rendered({**defaults(), **longest})
        for function, (_, version) in rendered.versions().items():
            self.assertLessEqual(len(version["Description"]), 256, function)
        for function, deployed in rendered.functions().items():
            variables = deployed["Environment"]["Variables"]
            self.assertLess(sum(len(name) + len(str(value)) for name, value in variables.items()), 2048, function)


if __name__ == "__main__":
    unittest.main()
