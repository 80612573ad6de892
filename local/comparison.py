"""Compares what came with what was expected of it."""

from __future__ import annotations

import json
from typing import Any


def difference(expected: Any, answer: Any, path: str = "answer") -> str | None:
    """Why `answer` does not contain `expected`, or nothing if it does.

    An object may hold more than is expected of it; a list may not.
    """
    if isinstance(expected, dict):
        if not isinstance(answer, dict):
            return f"{path} should be an object, but is {json.dumps(answer)}"
        for name, value in expected.items():
            if name not in answer:
                return f"{path}.{name} is missing"
            found = difference(value, answer[name], f"{path}.{name}")
            if found:
                return found
        return None
    if isinstance(expected, list) and isinstance(answer, list) and len(expected) == len(answer):
        pairs = enumerate(zip(expected, answer, strict=True))
        return next((found for i, (e, a) in pairs if (found := difference(e, a, f"{path}[{i}]"))), None)
    if expected == answer:
        return None
    return f"{path} should be {json.dumps(expected)}, but is {json.dumps(answer)}"
