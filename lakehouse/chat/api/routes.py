"""The routes of the chat group.

| path | method | answered by |
|---|---|---|
| `/chat` | POST | `ChatEndpoint(NativeFormat)`, plain ASGI |
| `/chat/completions` | POST | `ChatEndpoint(OpenAIFormat)`, plain ASGI |
| `/responses` | POST | `ChatEndpoint(ResponsesFormat)`, made with the first request |
| `/messages`, `/messages/count_tokens` | POST | `ChatEndpoint(AnthropicFormat)`, `CountTokensEndpoint`, likewise |
| `/chat/providers` | GET | a view of Quart-Trio, see `listings` |
| `/models`, `/models/…` | GET | views of Quart-Trio, see `listings` |

Chats are plain ASGI because Quart's request, contexts and response are a fifth of the cost of a chat, and because Quart
sends the head of a response before it evaluates the body, while the status of a stream depends on its first piece.
Requests for listings are few, and a web framework is made for such views.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lakehouse.asgi.lazy import LazyApp
from lakehouse.asgi.router import Methods, Mount, Route
from lakehouse.asgi.sse import KEEP_ALIVE
from lakehouse.asgi.types import App
from lakehouse.chat.api.endpoint import ChatEndpoint
from lakehouse.chat.api.native import NativeFormat
from lakehouse.chat.api.openai.format import OpenAIFormat
from lakehouse.chat.api.protocols import ApiFormat, Dispatcher

VERSION = "/v1"
LEGACY = ""
"""The prefix on the second listener, where the chat group has the paths of the daemon that it replaced."""


PATHS = (
    "/chat",
    "/chat/providers",
    "/chat/completions",
    "/responses",
    "/messages",
    "/messages/count_tokens",
    "/models",
)


def chat_paths(prefix: str) -> tuple[str, ...]:
    """The names of the routes under a prefix, for the labels of metrics."""
    return tuple(f"{prefix}{path}" for path in PATHS)


def chat_routes(
    dispatcher: Dispatcher,
    listings: App,
    *,
    prefix: str = VERSION,
    max_body: int,
    timeout: float,
    idle_timeout: float,
    keep_alive: float = KEEP_ALIVE,
) -> tuple[Route | Mount, ...]:
    """The chat group under `prefix`.

    `max_body` is in bytes; `timeout` is the deadline of a whole call, the reading of its body included, `idle_timeout`
    how long a client may take nothing of its response, and `keep_alive` the time between the comments of a silent
    stream, in seconds.
    """
    endpoint = partial(
        ChatEndpoint,
        dispatcher,
        max_body=max_body,
        timeout=timeout,
        idle_timeout=idle_timeout,
        keep_alive=keep_alive,
    )
    native, openai = endpoint(NativeFormat()), endpoint(OpenAIFormat())
    count_tokens = LazyApp(partial(_load_count_tokens, max_body=max_body, timeout=timeout))
    root = prefix.encode()
    return (
        Route(root + b"/chat", Methods(POST=native)),
        Route(root + b"/chat/completions", Methods(POST=openai)),
        Route(root + b"/responses", Methods(POST=LazyApp(partial(_load_responses, endpoint)))),
        Route(root + b"/messages", Methods(POST=LazyApp(partial(_load_messages, endpoint)))),
        Route(root + b"/messages/count_tokens", Methods(POST=count_tokens)),
        Route(root + b"/chat/providers", Methods(GET=listings)),
        Route(root + b"/models", Methods(GET=listings)),
        Mount(root + b"/models", Methods(GET=listings)),
    )


def _load_responses(endpoint: Callable[[ApiFormat], App]) -> App:
    from lakehouse.chat.api.open_responses.format import ResponsesFormat  # memory that other requests do not need

    return endpoint(ResponsesFormat())


def _load_messages(endpoint: Callable[[ApiFormat], App]) -> App:
    from lakehouse.chat.api.anthropic.format import AnthropicFormat  # memory that other requests do not need

    return endpoint(AnthropicFormat())


def _load_count_tokens(*, max_body: int, timeout: float) -> App:
    from lakehouse.chat.api.anthropic.count_tokens import CountTokensEndpoint

    return CountTokensEndpoint(max_body=max_body, timeout=timeout)
