"""The work of `lakehouse ask`: asks the running service, or searches the lake and asks a model itself."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial

import msgspec
import trio

from lakehouse.ask.answer import AskAnswer, AskDone, Claim, Passage
from lakehouse.ask.asker import Asker, AskEvent
from lakehouse.ask.request import AskRequest
from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.chat.model.pieces import ContentPiece
from lakehouse.cli.configuration import load_configuration, with_model
from lakehouse.cli.embedded_model import open_embedded_model
from lakehouse.cli.input import InputError, read_words, replace_undecodable
from lakehouse.cli.interrupt import run_interruptible
from lakehouse.cli.lake.client import ErrorResponse
from lakehouse.cli.lake.connect import find_running, is_running, open_lake_services, open_service
from lakehouse.cli.lake.run import report_error
from lakehouse.cli.lake.service_ask import ServiceAsker
from lakehouse.cli.lake_options import with_lake
from lakehouse.cli.output import write_diagnostic, write_output
from lakehouse.cli.smoke_request import authorization
from lakehouse.cli.style import DIM, PLAIN, Style, escape_control_chars
from lakehouse.config import Config
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError
from lakehouse.core.groups import unwrap_single
from lakehouse.gateway.routes import ROUTES
from lakehouse.gateway.service_calls import ServiceCalls
from lakehouse.local_model import LocalModelError
from lakehouse.runtime.ask import choose_default_model
from lakehouse.services.lake.errors import LakeError

EXPECTED = (ErrorResponse, LakehouseError, LakeError, LocalModelError, msgspec.DecodeError)

NOT_FOUND = "no passage was found: nothing was asked of a model"


def run(arguments: argparse.Namespace) -> int:
    """Answer one question. Returns 1 also if no passage was found."""
    config = with_lake(load_configuration(arguments).config, arguments.lake)
    config = with_model(config, None, demo=arguments.demo)
    try:
        request = _make_request(arguments, read_words(arguments.question))
    except (InputError, ValueError) as error:
        write_diagnostic(f"lakehouse ask: {error}")
        return 2
    return run_interruptible(partial(_ask, config, request, as_json=arguments.json, demo=arguments.demo))


def _make_request(arguments: argparse.Namespace, question: str) -> AskRequest:
    """Raises ValueError."""
    if not question.strip():
        raise ValueError("there is no question: put it behind the command, or into standard input")
    return AskRequest(
        question=question,
        corpora=None if arguments.corpora is None else _split(arguments.corpora),
        tables=_split(arguments.tables or ""),
        model=replace_undecodable(arguments.model) if arguments.model else None,
        k=arguments.k,
        stream=not arguments.json,
    )


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in replace_undecodable(names).split(",") if name.strip())


async def _ask(config: Config, request: AskRequest, *, as_json: bool, demo: bool) -> int:
    try:
        url = "" if demo or config.gateway.chatd_url else await _find_service(config)
        if url:
            with open_service(url) as service:
                return await _ask_service(ServiceAsker(service, authorization(config.auth)), request, as_json=as_json)
        return await _ask_here(config, request, as_json=as_json)
    except (*EXPECTED, BaseExceptionGroup) as caught:
        error = unwrap_single(caught)
        if not isinstance(error, EXPECTED):
            raise
        report_error(error)
        return 1


async def _find_service(config: Config) -> str:
    """The URL of the running service that has the lake, empty if there is none."""
    running = await find_running(config, os.environ)
    return running.service if running is not None and running.service and await is_running(running.service) else ""


async def _ask_service(asker: ServiceAsker, request: AskRequest, *, as_json: bool) -> int:
    if as_json:
        return _print_document(await asker.answer(request))
    async with asker.stream(request) as batches:
        return await _print_stream(batches)


async def _ask_here(config: Config, request: AskRequest, *, as_json: bool) -> int:
    model = request.model or choose_default_model(config)
    async with (
        open_lake_services(config, os.environ) as services,
        open_embedded_model(config, model) as local,
        open_service_dispatcher(config, env=os.environ, local=local) as dispatcher,
    ):
        calls = ServiceCalls(dict.fromkeys((route.service for route in ROUTES), services))
        asker = Asker(dispatcher, calls, timeout=config.chatd.timeout, default_model=model)
        context = RequestContext(id=secrets.token_hex(8), method="POST", path="/v1/ask", started=trio.current_time())
        if as_json:
            return _print_document(await asker.answer(request, context=context))
        async with asker.stream(request, context=context) as batches:
            return await _print_stream(batches)


def _print_document(answer: AskAnswer) -> int:
    write_output(msgspec.json.format(msgspec.json.encode(answer)).decode())
    return 0 if answer.answer is not None else 1


async def _print_stream(batches: AsyncIterator[Sequence[AskEvent]]) -> int:
    status = 1
    async for batch in batches:
        for event in batch:
            if isinstance(event, ContentPiece):
                write_output(escape_control_chars(event.text, sys.stdout), end="")
            elif isinstance(event, AskDone):
                status = _print_end(event)
            elif sys.stderr.isatty():
                write_diagnostic(f"{DIM}{escape_control_chars(event.text, sys.stderr)}{PLAIN}", end="")
    return status


def _print_end(done: AskDone) -> int:
    """Print the sources behind the answer; what nothing supports, and the model, go to standard error."""
    for warning in done.warnings:
        write_diagnostic(f"warning: {warning}")
    if done.model is None:
        write_diagnostic(f"lakehouse: {NOT_FOUND}")
        return 1
    write_output("")
    style = Style(sys.stdout)
    if done.citations:
        write_output(f"\n{style.title('Sources')}")
    for passage in done.citations:
        place, beginning = (escape_control_chars(text, sys.stdout) for text in _describe(passage))
        write_output(f"[{passage.n}] {place}  {style.dim(beginning)}")
    if uncited := _describe_uncited(done.claims):
        write_diagnostic(uncited)
    found = f"{len(done.passages)} passage{'' if len(done.passages) == 1 else 's'}"
    write_diagnostic(f"{done.provider} {done.model}: {found}, {done.latency_ms / 1000:.1f} s")
    return 0


def _describe(passage: Passage) -> tuple[str, str]:
    """Where a passage is, and how it begins."""
    where = passage.corpus if isinstance(passage.corpus, str) else f"table {passage.table}"
    metadata = passage.metadata if isinstance(passage.metadata, dict) else {}
    page = metadata.get("page")
    place = f"{where}: {passage.id}" + (f", page {page}" if isinstance(page, int) else "")
    beginning = " ".join(passage.text.split())
    return " ".join(place.split()), beginning if len(beginning) <= 80 else beginning[:79] + "…"


def _describe_uncited(claims: Sequence[Claim]) -> str:
    uncited = sum(not claim.citations for claim in claims)
    return f"sentences that cite no passage: {uncited} of {len(claims)}" if uncited else ""
