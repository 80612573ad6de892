"""Which ends of a feature are the same, and when the list of MiniStack's differences is right."""

from __future__ import annotations

import io
import json
import os
import queue
import subprocess
import tempfile
import threading
import unittest
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from local.features import deviations, filled, load, package, verdict


class Deviations(unittest.TestCase):
    """An end held against what a feature expects."""

    def test_only_what_is_expected_is_compared_and_no_time(self) -> None:
        found = {"status": "SUCCEEDED", "output": 1, "error": None, "calls": {"f": 2}}
        expected = {"status": "SUCCEEDED", "output": 1, "seconds": 60, "events": {"atMost": 3}}
        self.assertEqual(deviations(expected, found), {})
        self.assertEqual(deviations(expected | {"calls": {"f": 1}}, found), {"calls": {"f": 2}})

    def test_of_what_does_not_end_only_that_is_said(self) -> None:
        expected = {"status": "FAILED", "error": "States.Runtime"}
        self.assertEqual(deviations(expected, {"status": "RUNNING"}), {"status": "RUNNING"})

    def test_a_long_output_is_shortened(self) -> None:
        found = deviations({"output": "y"}, {"status": "SUCCEEDED", "output": "x" * 300})
        self.assertEqual(found, {"output": "(302 bytes)"})


class Verdicts(unittest.TestCase):
    """What MiniStack did held against what is listed."""

    def test_a_difference_that_is_listed_as_it_is_is_right(self) -> None:
        self.assertIsNone(verdict(None, {}))
        self.assertIsNone(verdict({"did": {"output": 1}, "because": "so"}, {"output": 1}))

    def test_a_difference_that_is_not_listed_or_otherwise_or_gone_is_wrong(self) -> None:
        self.assertEqual(verdict(None, {"output": 1}), 'not listed: {"output": 1}')
        self.assertEqual(verdict({"did": {"output": 1}}, {"output": 2}), 'listed as {"output": 1}, but {"output": 2}')
        self.assertEqual(verdict({"did": {"output": 1}}, {}), "listed, but gone")


class Features(unittest.TestCase):
    """The files themselves."""

    def test_every_placeholder_of_every_feature_is_filled_in(self) -> None:
        features, _ = load([])
        for feature in features:
            with self.subTest(feature["feature"]):
                functions = list(feature.get("functions", {}))
                for part in ("definition", "input"):
                    self.assertNotIn("${", filled(feature[part], feature["feature"], functions))


class Functions(unittest.TestCase):
    """The program of a function, between a runtime and a Step Functions that are one small server."""

    def heard(self, answer: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
        """Everything that comes of one event, by the end of its path or by its action: two things."""
        posts: queue.Queue[tuple[str, Any]] = queue.Queue()
        events = queue.SimpleQueue[dict[str, Any]]()
        events.put(event)

        class Server(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply(events.get())  # the second waits for ever

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.reply({})
                posts.put((self.headers.get("X-Amz-Target") or self.path.rsplit("/", 1)[-1], body))

            def reply(self, body: dict[str, Any]) -> None:
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", "r-1")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
        server.daemon_threads = True
        self.addCleanup(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        directory = tempfile.TemporaryDirectory(prefix="ami-backup-function-")
        self.addCleanup(directory.cleanup)
        bootstrap = Path(directory.name, "bootstrap")
        with zipfile.ZipFile(io.BytesIO(package([answer], Path(directory.name, "calls")))) as packed:
            bootstrap.write_bytes(packed.read("bootstrap"))
        bootstrap.chmod(0o755)
        address = f"127.0.0.1:{server.server_address[1]}"
        environment = {**os.environ, "AWS_LAMBDA_RUNTIME_API": address, "AWS_ENDPOINT_URL": f"http://{address}"}
        process = subprocess.Popen([bootstrap], env=environment)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return dict(posts.get(timeout=10) for _ in range(2))

    def test_a_token_is_answered_with_an_output(self) -> None:
        answer = {"return": "asked", "token": {"return": {"by": "Ada"}, "afterSeconds": 10}}
        self.assertEqual(
            self.heard(answer, {"token": "t-1"}),
            {
                "response": "asked",
                "AWSStepFunctions.SendTaskSuccess": {"taskToken": "t-1", "output": '{"by": "Ada"}'},
            },
        )

    def test_a_token_is_answered_with_what_the_function_was_given(self) -> None:
        heard = self.heard({"return": None, "token": {"echo": True}}, {"token": "t-1", "image": "ami-1"})
        output = json.loads(heard["AWSStepFunctions.SendTaskSuccess"]["output"])
        self.assertEqual(output, {"token": "t-1", "image": "ami-1"})

    def test_a_token_is_answered_with_an_error_also_if_the_function_failed(self) -> None:
        answer = {"error": "E", "message": "m", "token": {"error": "Denied", "message": "not now"}}
        self.assertEqual(
            self.heard(answer, {"token": "t-1"}),
            {
                "error": {"errorType": "E", "errorMessage": "m"},
                "AWSStepFunctions.SendTaskFailure": {"taskToken": "t-1", "error": "Denied", "cause": "not now"},
            },
        )
