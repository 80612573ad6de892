"""Stands between the functions and MiniStack's S3, and can lose a reply: the call has its effect, no answer comes.

The simulator does that for EC2; the objects of the stack are MiniStack's, so S3
needs this.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .processes import LOOPBACK

_FUNCTION = re.compile(r"\bapp/([\w-]+)")
_DROPPED = ("connection", "transfer-encoding", "content-length")


class Relay:
    """A relay to the S3 at `target`, for as long as its ``with`` block."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target).netloc
        self._lose: tuple[str, str, int] | None = None
        self._lock = threading.Lock()
        self.changes: Counter[tuple[str, str]] = Counter()
        self._server = ThreadingHTTPServer((LOOPBACK, 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://{LOOPBACK}:{self._server.server_address[1]}"

    def __enter__(self) -> Relay:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def lose_reply(self, function: str, action: str, nth: int) -> None:
        """Forget the calls so far, and lose the reply of the n-th such call of that function from now on."""
        with self._lock:
            self.changes.clear()
            self._lose = (function, action, nth)

    def _seen(self, function: str, action: str) -> bool:
        """Count a changing call; tells whether its reply is to be lost."""
        with self._lock:
            self.changes[function, action] += 1
            return self._lose == (function, action, self.changes[function, action])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        relay = self

        class Handler(BaseHTTPRequestHandler):
            """One connection of a function."""

            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing: MiniStack logs what arrives."""

            def pass_on(self) -> None:
                """Hand the request on, and the answer back unless it is to be lost."""
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                beyond = http.client.HTTPConnection(relay._target, timeout=60)
                beyond.request(self.command, self.path, body, dict(self.headers))
                answer = beyond.getresponse()
                content = answer.read()
                beyond.close()
                agent = _FUNCTION.search(f"{self.headers.get('x-amz-user-agent')} {self.headers.get('User-Agent')}")
                action = action_of(self.command, self.path)
                if action and agent and relay._seen(agent.group(1), action):
                    self.close_connection = True
                    self.connection.recv(1)  # returns when the other end is gone
                    return
                self.send_response(answer.status, answer.reason)
                for name, value in answer.getheaders():
                    if name.lower() not in _DROPPED:
                        self.send_header(name, value)
                length = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", length)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

        return Handler


def action_of(method: str, path: str) -> str | None:
    """What a request changes, without ids: `PutObject records/ami-*.json`; none for one that looks."""
    if method in ("GET", "HEAD"):
        return None
    url = urlsplit(path)
    tagging = "Tagging" if "tagging" in parse_qs(url.query, keep_blank_values=True) else ""
    key = re.sub(r"[0-9a-f]{8,}|\d+", "*", unquote(url.path.lstrip("/").partition("/")[2]))
    return f"{method.capitalize()}Object{tagging} {key}"
