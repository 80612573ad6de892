"""Runs the engine's feature machines on MiniStack, and says where it does otherwise.

``tests/engine/features/<feature>.json`` is a small machine, what its functions
answer, and how it must end. ``ministack.json`` beside them lists what MiniStack
does otherwise, each with its reason: a difference that is not listed fails, and
so does a listed one that is gone. The time that a machine takes is not compared,
for here it passes: waits take a hundredth of theirs.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3

from . import ministack
from .processes import CREDENTIALS, LOOPBACK, StackError, end_on_signals, free_port, stop_child

FEATURES = ministack.ROOT / "tests" / "engine" / "features"
DIFFERENCES = FEATURES / "ministack.json"
# Waits, delays of retries and of answers, against what the machines say. A Task's time-out is not scaled.
SCALE = 0.01
# Longer than the time-out of every Task whose function hangs, and shorter than a function may run.
HANG_SECONDS = 5
# Machines that run for ever here are given up sooner: it is known of them.
PATIENCE_SECONDS = 40
ENDLESS_PATIENCE_SECONDS = 3
_AT_ONCE = 4
_ROLE = "arn:aws:iam::000000000000:role/any"
_TIMES = ("seconds", "events", "executions")

# A function of ours is a program that speaks the Lambda runtime API, and so are these.
_FUNCTION = """#!{python}
import fcntl, json, os, threading, time, urllib.request

ANSWERS = json.loads({answers!r})
RUNTIME = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"

def counted():
    with open({calls!r}, "a+") as calls:
        fcntl.flock(calls, fcntl.LOCK_EX)
        calls.seek(0)
        call = len(calls.read())
        calls.write(".")
    return ANSWERS[min(call, len(ANSWERS) - 1)]

def answer_token(given, event):
    body = dict(taskToken=event["token"])
    if "error" in given:
        action = "SendTaskFailure"
        body.update(error=given["error"], cause=given["message"])
    else:
        action = "SendTaskSuccess"
        body.update(output=json.dumps(event if given.get("echo") else given["return"]))
    headers = {{"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AWSStepFunctions." + action}}
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    urllib.request.urlopen(urllib.request.Request(endpoint, json.dumps(body).encode(), headers)).close()

while True:
    with urllib.request.urlopen(RUNTIME + "next") as reply:
        request, event = reply.headers["Lambda-Runtime-Aws-Request-Id"], json.load(reply)
    answer = counted()
    if "token" in answer:
        # Whoever answers it does so beside the function, and also after it.
        late = answer["token"].get("afterSeconds", 0) * {scale}
        whoever = threading.Timer(late, answer_token, (answer["token"], event))
        whoever.daemon = True
        whoever.start()
    time.sleep({hang} if answer.get("hang") else answer.get("afterSeconds", 0) * {scale})
    if "error" in answer:
        path, said = "/error", dict(errorType=answer["error"], errorMessage=answer["message"])
    elif "bytes" in answer:
        path, said = "/response", "x" * (answer["bytes"] - 2)
    else:
        path, said = "/response", event if answer.get("echo") else answer.get("return")
    urllib.request.urlopen(urllib.request.Request(RUNTIME + request + path, json.dumps(said).encode())).close()
"""


def package(answers: list[dict[str, Any]], calls: Path) -> bytes:
    """The zip of a function that gives one answer after the other, the last again and again; `calls` grows by one
    byte with every call."""
    source = _FUNCTION.format(
        python=sys.executable, calls=str(calls), answers=json.dumps(answers), hang=HANG_SECONDS, scale=SCALE
    )
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o755 << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(entry, source)
    return packed.getvalue()


def filled(part: Any, feature: str, functions: list[str]) -> str:
    """The text of a part of a feature with names in place of `${…}`: those of its functions and of its bucket."""
    text = json.dumps(part)
    for name in functions:
        text = text.replace(f"${{{name}}}", function_name(feature, name))
    return text.replace("${bucket}", feature)


def function_name(feature: str, name: str) -> str:
    """What a function is called on MiniStack, where all features are at once."""
    return f"{feature}--{name}"


def short(value: Any) -> Any:
    """The value, or how long it is, if nobody wants to read it."""
    length = len(json.dumps(value))
    return value if length <= 200 else f"({length} bytes)"


def deviations(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What came of those fields of `expect` that it did not come out as it should."""
    # An execution still running has no output and no error yet.
    compared = ["status"] if found["status"] == "RUNNING" else [name for name in expected if name not in _TIMES]
    return {name: short(found[name]) for name in compared if found[name] != expected[name]}


def verdict(listed: dict[str, Any] | None, did: dict[str, Any]) -> str | None:
    """What is wrong with the list of differences, or nothing."""
    if listed is None:
        return f"not listed: {json.dumps(did)}" if did else None
    if not did:
        return "listed, but gone"
    return None if listed["did"] == did else f"listed as {json.dumps(listed['did'])}, but {json.dumps(did)}"


class Runner:
    """Runs features on one MiniStack."""

    def __init__(self, endpoint: str, directory: Path) -> None:
        session: Any = boto3.Session(CREDENTIALS["AWS_ACCESS_KEY_ID"], "test", region_name=CREDENTIALS["AWS_REGION"])
        self._states = session.client("stepfunctions", endpoint_url=endpoint)
        self._lambda = session.client("lambda", endpoint_url=endpoint)
        self._s3 = session.client("s3", endpoint_url=endpoint)
        self._directory = directory

    def run(self, feature: dict[str, Any], patience_seconds: float) -> dict[str, Any]:
        """Run a feature; returns what came out otherwise than it expects."""
        name, functions, expected = feature["feature"], feature.get("functions", {}), feature["expect"]
        for function, answers in functions.items():
            self._lambda.create_function(
                FunctionName=function_name(name, function),
                Runtime="provided.al2023",
                Role=_ROLE,
                Handler="bootstrap",
                Code={"ZipFile": package(answers, self._calls(name, function))},
                Timeout=HANG_SECONDS * 2,
            )
        if "objects" in feature:
            self._s3.create_bucket(Bucket=name)
        for key, value in feature.get("objects", {}).items():
            self._s3.put_object(Bucket=name, Key=key, Body=json.dumps(value).encode())
        machine = self._states.create_state_machine(
            name=name, definition=filled(feature["definition"], name, list(functions)), roleArn=_ROLE
        )["stateMachineArn"]
        given = filled(feature["input"], name, list(functions))
        execution = self._states.start_execution(stateMachineArn=machine, name=name, input=given)["executionArn"]
        found = self._ended(execution, patience_seconds)
        found["calls"] = {one: self._called(name, one) for one in expected.get("calls", {})}
        for function in functions:  # and its process with it
            self._lambda.delete_function(FunctionName=function_name(name, function))
        # MiniStack's history says nothing of what is inside a Parallel or a Map.
        outer = [state for state in expected.get("entered", []) if " / " not in state]
        return deviations(expected | ({"entered": outer} if outer else {}), found)

    def _ended(self, execution: str, patience_seconds: float) -> dict[str, Any]:
        until = time.monotonic() + patience_seconds
        while (told := self._states.describe_execution(executionArn=execution))["status"] == "RUNNING":
            if time.monotonic() > until:
                return {"status": "RUNNING"}
            time.sleep(0.05)
        events = self._states.get_execution_history(executionArn=execution, maxResults=1000)["events"]
        return {
            "status": told["status"],
            # MiniStack gives a failed execution an output, Step Functions does not.
            "output": json.loads(told["output"]) if told["status"] == "SUCCEEDED" else None,
            "error": told.get("error"),
            "cause": told.get("cause", ""),
            "entered": [e["stateEnteredEventDetails"]["name"] for e in events if "stateEnteredEventDetails" in e],
        }

    def _calls(self, feature: str, function: str) -> Path:
        return self._directory / function_name(feature, function)

    def _called(self, feature: str, function: str) -> int:
        calls = self._calls(feature, function)
        return calls.stat().st_size if calls.exists() else 0


def scale_waits(endpoint: str) -> None:
    """Make MiniStack wait less than machines say."""
    body = json.dumps({"stepfunctions._SFN_WAIT_SCALE": SCALE}).encode()
    request = urllib.request.Request(f"{endpoint}/_ministack/config", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        if "stepfunctions._SFN_WAIT_SCALE" not in json.load(reply)["applied"]:
            raise StackError("MiniStack does not let its waits be scaled")


def load(names: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The features of these names, or all, and the differences that are listed."""
    paths = [path for path in sorted(FEATURES.glob("*.json")) if path != DIFFERENCES]
    unknown = set(names) - {path.stem for path in paths}
    if unknown:
        raise StackError(f"there is no feature {', '.join(sorted(unknown))}")
    features = [json.loads(path.read_text(encoding="utf-8")) for path in paths if not names or path.stem in names]
    return features, json.loads(DIFFERENCES.read_text(encoding="utf-8"))


def run_all(features: list[dict[str, Any]], listed: dict[str, Any], directory: Path) -> dict[str, dict[str, Any]]:
    """What every feature does otherwise on a MiniStack of their own."""
    port = free_port()
    endpoint = f"http://{LOOPBACK}:{port}"
    process = ministack.launch(directory, port, None)
    try:
        scale_waits(endpoint)
        runner = Runner(endpoint, directory)
        endless = [f for f in features if listed.get(f["feature"], {"did": {}})["did"].get("status") == "RUNNING"]
        ending = [feature for feature in features if feature not in endless]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            did = list(pool.map(lambda feature: runner.run(feature, PATIENCE_SECONDS), ending))
        # Last, for they keep MiniStack busy until it ends.
        did += [runner.run(feature, ENDLESS_PATIENCE_SECONDS) for feature in endless]
        return {feature["feature"]: one for feature, one in zip(ending + endless, did, strict=True)}
    finally:
        stop_child(process)


def main() -> None:
    """Run every feature, or those named; the exit status says whether the list of differences is right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("feature", nargs="*", help="names of features; all if there is none")
    end_on_signals()
    try:
        features, listed = load(parser.parse_args().feature)
        with tempfile.TemporaryDirectory(prefix="ami-backup-features-") as directory:
            did = run_all(features, listed, Path(directory))
    except StackError as error:
        sys.exit(str(error))
    wrong = 0
    for name in sorted(did):
        complaint = verdict(listed.get(name), did[name])
        wrong += complaint is not None
        because = f"differs {json.dumps(did[name])}" if did[name] else "same"
        print(f"{name:44} {because}{f'  <-- {complaint}' if complaint else ''}")
    differ = sum(bool(one) for one in did.values())
    print(f"{len(did) - differ} features the same on MiniStack, {differ} not; {wrong} otherwise than listed")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
