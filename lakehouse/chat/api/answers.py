"""Whole answers: a JSON document with its status and headers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypercorn.typing import ASGISendCallable
from quart.utils import encode_headers
from quart.wrappers.response import DataBody, Response
from quart_trio.wrappers import TrioResponse

from lakehouse.errors import Attempt, LakehouseError

Headers = Sequence[tuple[str, str]]

ATTEMPTS = "X-Lakehouse-Attempts"
"""The response header with the number of tries that were made at providers."""


def document(content: object, status: int = 200, headers: Headers = ()) -> TrioResponse:
    """`content` as JSON."""
    response = TrioResponse(msgspec.json.encode(content), status, content_type="application/json")
    response.headers.extend(headers)
    return response


def answered(content: object, attempts: Sequence[Attempt]) -> TrioResponse:
    """A model's whole answer, with how many tries it took."""
    return document(content, headers=[_tries(attempts)])


def refusal(
    error: LakehouseError, content: object, status: int | None = None, headers: Headers | None = None
) -> TrioResponse:
    """A failure's answer; `status` and `headers` are the failure's own unless given."""
    headers = error.headers() if headers is None else headers
    return document(content, status or error.status, [*headers, _tries(error.attempts)])


def _tries(attempts: Sequence[Attempt]) -> tuple[str, str]:
    return ATTEMPTS, str(len(attempts))


def defect() -> LakehouseError:
    """What a caller is told when the fault is in this program; the log has the rest."""
    return LakehouseError("the gateway failed on this request through a fault of its own; its log says how")


async def send_whole(send: ASGISendCallable, response: Response) -> None:
    """Send a response whose body is at hand in two messages; Quart makes three of it, the last of them empty."""
    assert isinstance(response.response, DataBody)  # noqa: S101  # for mypy: what the callers have looked at
    await send(
        {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": encode_headers(response.headers),
        }
    )
    await send({"type": "http.response.body", "body": response.response.data, "more_body": False})
