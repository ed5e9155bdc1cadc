"""`lakehouse serve --ask TEXT`: one request to the running service over HTTP."""

from __future__ import annotations

import json
import os
import shlex

import msgspec

from lakehouse.asgi.middleware.tokens import first_token
from lakehouse.cli.input import replace_undecodable
from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.config import AuthTable, Config
from lakehouse.core.errors import LakehouseError
from lakehouse.runtime.dependency_status import find_embedded_model
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream

MAX_TOKENS = 48
"""Enough for a short answer, also of the demonstration model."""

MAX_ANSWER = 1 << 20
"""Bytes. An answer of MAX_TOKENS is far smaller."""


async def smoke_request(config: Config, url: str, question: str) -> bool:
    """Post the question to `/v1/chat`, print request and response. Whether the response has status 200."""
    body = {
        "model": find_embedded_model(config) or next(iter(config.models), "default"),
        "messages": [{"role": "user", "content": replace_undecodable(question)}],
        "max_tokens": MAX_TOKENS,
    }
    headers = [(b"content-type", b"application/json"), *authorization(config.auth)]
    token = curl_authorization(config.auth)
    write_output(f"$ curl {url}/v1/chat{token} -H 'content-type: application/json' -d {shlex.quote(json.dumps(body))}")
    service = Upstream(url, name="the service")
    try:
        response = await service.send(UpstreamRequest(b"POST", b"/v1/chat", headers, json.dumps(body).encode()))
        with response:
            answer = await response.read(MAX_ANSWER)
    except LakehouseError as error:
        write_diagnostic(f"lakehouse: {error.code}: {error.message}")
        return False
    finally:
        service.close()
    write_output(msgspec.json.format(answer).decode())
    return response.status == 200


def authorization(auth: AuthTable) -> list[tuple[bytes, bytes]]:
    """The header with the first configured token, if there is one. Raises ConfigError for an unreadable token file."""
    token = first_token(auth, os.environ)
    return [] if token is None else [(b"authorization", b"Bearer " + token)]


def curl_authorization(auth: AuthTable) -> str:
    """The option of curl that sends the token of the environment, without the token itself; empty without one."""
    return f" -H 'authorization: Bearer '\"${auth.token_env}\"" if os.environ.get(auth.token_env) else ""
