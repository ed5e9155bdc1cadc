"""The work of `lakehouse chat`: one chat from the terminal, with a dispatcher in this process."""

from __future__ import annotations

import argparse
import sys
from functools import partial

import msgspec

from lakehouse.chat import open_dispatcher
from lakehouse.chat.dispatch.dispatcher import Dispatcher
from lakehouse.chat.model.pieces import ContentPiece, Done, Piece, ReasoningPiece, ToolCallPiece
from lakehouse.chat.model.request import Message, Request
from lakehouse.cli.configuration import load_configuration, with_model
from lakehouse.cli.embedded_model import open_embedded_model
from lakehouse.cli.input import InputError, read_words, replace_undecodable
from lakehouse.cli.interrupt import run_interruptible
from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.cli.style import DIM, PLAIN, escape_control_chars
from lakehouse.config import Config
from lakehouse.core.errors import LakehouseError
from lakehouse.core.groups import unwrap_single
from lakehouse.local_model import LocalModelError
from lakehouse.runtime.dependency_status import find_embedded_model


def run(arguments: argparse.Namespace) -> int:
    """Send one request and print the answer; tokens and time go to standard error."""
    config = with_model(load_configuration(arguments).config, None, demo=arguments.demo)
    try:
        prompt = read_words(arguments.prompt)
    except InputError as error:
        write_diagnostic(f"lakehouse chat: {error}")
        return 2
    if not prompt.strip():
        write_diagnostic("lakehouse chat: there is no prompt: put it behind the command, or into standard input")
        return 2
    return run_interruptible(partial(_send_request, config, arguments, prompt))


async def _send_request(config: Config, arguments: argparse.Namespace, prompt: str) -> int:
    model_name: str | None = (
        replace_undecodable(arguments.model or "") or next(iter(config.models), None) or find_embedded_model(config)
    )
    try:
        async with (
            open_embedded_model(config, model_name) as local,
            open_dispatcher(config, local=local) as dispatcher,
        ):
            model = model_name or await _first_listed_model(dispatcher)
            messages = (
                [Message(role="system", content=replace_undecodable(arguments.system))] if arguments.system else []
            )
            request = Request(model=model, messages=(*messages, Message(role="user", content=prompt)))
            if arguments.json:
                answer = await dispatcher(request)
                write_output(msgspec.json.format(msgspec.json.encode(answer)).decode())
            else:
                async with dispatcher.stream(request) as pieces:
                    async for piece in pieces:
                        _print_piece(piece)
    except (LakehouseError, LocalModelError, NoModelError, BaseExceptionGroup) as caught:
        message = _describe_failure(unwrap_single(caught))
        if message is None:
            raise
        write_diagnostic(f"lakehouse: {message}")
        return 1
    return 0


def _describe_failure(error: BaseException) -> str | None:
    """The error message for an expected failure; None for any other exception."""
    if isinstance(error, LocalModelError | NoModelError):
        return str(error)
    if not isinstance(error, LakehouseError):
        return None
    unreached = error.error_class == "upstream_error" and error.upstream_status is None
    hint = " (`lakehouse providers` shows which providers answer)" if unreached else ""
    return f"{error.code}: {error.message}{hint}"


class NoModelError(Exception):
    """No model was named, and no provider lists one."""


async def _first_listed_model(dispatcher: Dispatcher) -> str:
    """The first model that a provider lists. Raises NoModelError."""
    for card in await dispatcher.models():
        return card.id
    raise NoModelError(
        "no model is named and none is found: name one with -m, start Ollama and pull one (`ollama pull qwen3:8b`), "
        "or try --demo"
    )


def _print_piece(piece: Piece) -> None:
    """Print text and tool calls to standard output; reasoning, tokens and time to standard error."""
    match piece:
        case ContentPiece(text):
            write_output(escape_control_chars(text, sys.stdout), end="")
        case ReasoningPiece(text):
            if sys.stderr.isatty():
                write_diagnostic(f"{DIM}{escape_control_chars(text, sys.stderr)}{PLAIN}", end="")
        case ToolCallPiece(tool_call):
            write_output(msgspec.json.encode(tool_call).decode())
        case Done():
            write_output("")
            seconds = piece.latency_ms / 1000
            write_diagnostic(
                f"{piece.provider} {piece.model}: {_format_count(piece.input_tokens)} tokens in, "
                f"{_format_count(piece.output_tokens)} out, {seconds:.1f} s"
            )


def _format_count(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)
