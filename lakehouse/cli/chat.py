"""`lakehouse chat`: one chat from the terminal, with the dispatcher in this process."""

from __future__ import annotations

import argparse
import signal
import sys

import msgspec
import trio

from lakehouse.chat import open_dispatcher
from lakehouse.chat.dispatcher import Dispatcher
from lakehouse.chat.request import ContentPiece, Done, Message, Piece, ReasoningPiece, Request, ToolCallPiece
from lakehouse.cli.settings import settings
from lakehouse.config import Config
from lakehouse.errors import LakehouseError

INTERRUPTED = 128 + signal.SIGINT
DIM, PLAIN = "\x1b[2m", "\x1b[0m"


def run(arguments: argparse.Namespace) -> int:
    """Ask once and print the answer; tokens and time go to standard error."""
    config = settings(arguments).config
    prompt = _prompt(arguments.prompt)
    if not prompt.strip():
        print("lakehouse chat: there is no prompt", file=sys.stderr)
        return 2
    return trio.run(_chat, config, arguments, prompt)


def _prompt(words: list[str]) -> str:
    return sys.stdin.read() if words in ([], ["-"]) else " ".join(words)


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
    async with open_dispatcher(config) as dispatcher:
        try:
            model = arguments.model or await _some_model(config, dispatcher)
            messages = [Message(role="system", content=arguments.system)] if arguments.system else []
            request = Request(model=model, messages=(*messages, Message(role="user", content=prompt)))
            if arguments.json:
                answer = await dispatcher(request)
                print(msgspec.json.format(msgspec.json.encode(answer)).decode())
            else:
                async with dispatcher.stream(request) as pieces:
                    async for piece in pieces:
                        _show(piece)
        except LakehouseError as error:
            print(f"lakehouse: {error.code}: {error.message}", file=sys.stderr)
            return 1
        except NoModelError as error:
            print(f"lakehouse: {error}", file=sys.stderr)
            return 1
    return 0


class NoModelError(Exception):
    """No model was named, and there is none to be found."""


async def _some_model(config: Config, dispatcher: Dispatcher) -> str:
    """The model when none is named: the first tier, else the first that a provider lists."""
    for tier in config.models:
        return tier
    for card in await dispatcher.models():
        return card.id
    raise NoModelError(
        "no model is named and none is found: name one with -m, or start Ollama and pull one (`ollama pull qwen3:8b`)"
    )


def _show(piece: Piece) -> None:
    """Text to standard output; what is about the answer rather than in it to standard error."""
    match piece:
        case ContentPiece(text):
            print(text, end="", flush=True)
        case ReasoningPiece(text):
            if sys.stderr.isatty():
                print(f"{DIM}{text}{PLAIN}", end="", file=sys.stderr, flush=True)
        case ToolCallPiece(tool_call):
            print(msgspec.json.encode(tool_call).decode(), flush=True)
        case Done():
            print(flush=True)
            seconds = piece.latency_ms / 1000
            print(
                f"{piece.provider} {piece.model}: {_count(piece.input_tokens)} tokens in, "
                f"{_count(piece.output_tokens)} out, {seconds:.1f} s",
                file=sys.stderr,
            )


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)
