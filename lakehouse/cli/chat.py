"""`lakehouse chat`: one chat from the terminal, with the dispatcher in this process."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from lakehouse.chat import open_dispatcher
from lakehouse.chat.dispatch.dispatcher import Dispatcher
from lakehouse.chat.dispatch.open_dispatcher import LocalServer
from lakehouse.chat.model.pieces import ContentPiece, Done, Piece, ReasoningPiece, ToolCallPiece
from lakehouse.chat.model.request import Message, Request
from lakehouse.chat.providers.routing import Router
from lakehouse.cli.configuration import settings, with_model
from lakehouse.cli.input import InputError, clean, read_prompt
from lakehouse.cli.output import say
from lakehouse.cli.style import DIM, PLAIN, escape_control_chars
from lakehouse.config import Config
from lakehouse.core.errors import LakehouseError
from lakehouse.core.groups import unwrap_single
from lakehouse.local_model import LocalModelError
from lakehouse.runtime.probe import embedded_model

INTERRUPTED = 128 + signal.SIGINT


def run(arguments: argparse.Namespace) -> int:
    """Ask once and print the answer; tokens and time go to standard error."""
    config = with_model(settings(arguments).config, None, demo=arguments.demo)
    try:
        prompt = _prompt(arguments.prompt)
    except InputError as error:
        print(f"lakehouse chat: {error}", file=sys.stderr)
        return 2
    if not prompt.strip():
        print("lakehouse chat: there is no prompt: put it behind the command, or into standard input", file=sys.stderr)
        return 2
    return trio.run(_chat, config, arguments, prompt)


def _prompt(words: list[str]) -> str:
    return read_prompt() if words in ([], ["-"]) else clean(" ".join(words))


async def _chat(config: Config, arguments: argparse.Namespace, prompt: str) -> int:
    """Ctrl-C cancels the call, and with it whatever it has under way upstream."""
    status = INTERRUPTED
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def interrupt() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel(reason="interrupted")

            nursery.start_soon(interrupt)
            status = await _ask(config, arguments, prompt)
            nursery.cancel_scope.cancel(reason="answered")
    return status


async def _ask(config: Config, arguments: argparse.Namespace, prompt: str) -> int:
    named: str | None = clean(arguments.model or "") or next(iter(config.models), None) or embedded_model(config)
    try:
        async with _embedded(config, named) as local, open_dispatcher(config, local=local) as dispatcher:
            model = named or await _listed(dispatcher)
            messages = [Message(role="system", content=clean(arguments.system))] if arguments.system else []
            request = Request(model=model, messages=(*messages, Message(role="user", content=prompt)))
            if arguments.json:
                answer = await dispatcher(request)
                say(msgspec.json.format(msgspec.json.encode(answer)).decode())
            else:
                async with dispatcher.stream(request) as pieces:
                    async for piece in pieces:
                        _show(piece)
    except (LakehouseError, LocalModelError, NoModelError, BaseExceptionGroup) as caught:
        said = _said(unwrap_single(caught))
        if said is None:
            raise
        print(f"lakehouse: {said}", file=sys.stderr)
        return 1
    return 0


def _said(error: BaseException) -> str | None:
    """A failure for the person at the terminal; None for what is not expected here."""
    if isinstance(error, LocalModelError | NoModelError):
        return str(error)
    if not isinstance(error, LakehouseError):
        return None
    unreached = error.error_class == "upstream_error" and error.upstream_status is None
    hint = " (`lakehouse providers` shows who answers)" if unreached else ""
    return f"{error.code}: {error.message}{hint}"


@asynccontextmanager
async def _embedded(config: Config, model: str | None) -> AsyncIterator[LocalServer | None]:
    """The embedded model, started only when `model` leads there and the configuration has one."""
    chain = Router(default=config.chatd.default, tiers=config.models).chain((model,)) if model else ()
    if embedded_model(config) is None or all(target.provider != "local" for target in chain):
        yield None
        return
    from lakehouse.runtime.resources import (
        open_local_server,  # with it comes the whole service, which others need not wait for
    )

    async with open_local_server(config.chatd.local) as local:
        yield local


class NoModelError(Exception):
    """No model was named, and there is none to be found."""


async def _listed(dispatcher: Dispatcher) -> str:
    """The first model that a provider lists. Raises NoModelError."""
    for card in await dispatcher.models():
        return card.id
    raise NoModelError(
        "no model is named and none is found: name one with -m, start Ollama and pull one (`ollama pull qwen3:8b`), "
        "or try --demo"
    )


def _show(piece: Piece) -> None:
    """Text to standard output; what is about the answer rather than in it to standard error."""
    match piece:
        case ContentPiece(text):
            say(escape_control_chars(text, sys.stdout), end="")
        case ReasoningPiece(text):
            if sys.stderr.isatty():
                print(f"{DIM}{escape_control_chars(text, sys.stderr)}{PLAIN}", end="", file=sys.stderr, flush=True)
        case ToolCallPiece(tool_call):
            say(msgspec.json.encode(tool_call).decode())
        case Done():
            say("")
            seconds = piece.latency_ms / 1000
            print(
                f"{piece.provider} {piece.model}: {_count(piece.input_tokens)} tokens in, "
                f"{_count(piece.output_tokens)} out, {seconds:.1f} s",
                file=sys.stderr,
            )


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)
