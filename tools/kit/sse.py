"""Event streams as a client reads them."""

from __future__ import annotations

import json
from typing import Any

DONE = "[DONE]"
"""The end mark of a stream in OpenAI's form: no JSON."""


def sse_events(text: str) -> list[Any]:
    """Return the documents of a stream, `DONE` as it is. Fails on a line that is no data, comment or empty line."""
    found: list[Any] = []
    for line in text.split("\n"):
        assert line == "" or line.startswith(("data: ", ":")), line
        if line.startswith("data: "):
            data = line.removeprefix("data: ")
            found.append(DONE if data == DONE else json.loads(data))
    return found


def sse_documents(text: str) -> list[dict[str, Any]]:
    """Return the documents of a stream without `DONE`."""
    return [event for event in sse_events(text) if event != DONE]
