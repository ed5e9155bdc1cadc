"""`lakehouse serve --ask TEXT`: one exchange with the running service over HTTP, as anybody would have it."""

from __future__ import annotations

import json
import os
import shlex
import sys

import msgspec

from lakehouse.asgi.middleware.tokens import first_token
from lakehouse.cli.input import clean
from lakehouse.cli.output import say
from lakehouse.config import AuthTable, Config
from lakehouse.core.errors import LakehouseError
from lakehouse.runtime.probe import embedded_model
from lakehouse.upstream.pool import Upstream
from lakehouse.upstream.request import UpstreamRequest

# Enough for a short answer; the demonstration's noise need not be long.
MAX_TOKENS = 48
# A whole answer of MAX_TOKENS is far below this many bytes.
MAX_ANSWER = 1 << 20


async def smoke_request(config: Config, url: str, question: str) -> bool:
    """Post the question to `/v1/chat`, print request and answer; whether it was answered."""
    body = {
        "model": embedded_model(config) or next(iter(config.models), "default"),
        "messages": [{"role": "user", "content": clean(question)}],
        "max_tokens": MAX_TOKENS,
    }
    headers = [(b"content-type", b"application/json"), *authorization(config.auth)]
    say(f"$ curl {url}/v1/chat -H 'content-type: application/json' -d {shlex.quote(json.dumps(body))}")
    service = Upstream(url, name="ourselves")
    try:
        response = await service.send(UpstreamRequest(b"POST", b"/v1/chat", headers, json.dumps(body).encode()))
        with response:
            answer = await response.read(MAX_ANSWER)
    except LakehouseError as error:
        print(f"lakehouse: {error.code}: {error.message}", file=sys.stderr)
        return False
    finally:
        service.close()
    say(msgspec.json.format(answer).decode())
    return response.status == 200


def authorization(auth: AuthTable) -> list[tuple[bytes, bytes]]:
    """One of our own tokens, if there are any. Raises ConfigError for a token file that cannot be read."""
    token = first_token(auth, os.environ)
    return [] if token is None else [(b"authorization", b"Bearer " + token)]
