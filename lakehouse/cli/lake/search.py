"""The work of `lakehouse search`: one search; the best hits with their texts, or the JSON of the answer."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial

from lakehouse.cli.configuration import load_configuration
from lakehouse.cli.input import InputError, read_words, replace_undecodable
from lakehouse.cli.lake.client import Column, LakeClient, SearchHit, decode_hits, decode_index_names
from lakehouse.cli.lake.run import run_with_client
from lakehouse.cli.lake.tables import print_table
from lakehouse.cli.lake_options import with_lake
from lakehouse.cli.output import write_diagnostic, write_output

MAX_TEXT = 100
"""Characters of a text that are shown where there is no terminal, whose width would cut it off."""

_COLUMNS = (
    Column(name="id", type=""),
    Column(name="score", type="DOUBLE"),
    Column(name="distance", type="DOUBLE"),
    Column(name="text", type=""),
)


def run(arguments: argparse.Namespace) -> int:
    """Search once and print the hits."""
    config = with_lake(load_configuration(arguments).config, arguments.lake)
    try:
        request = _make_request(arguments)
    except InputError as error:
        write_diagnostic(f"lakehouse search: {error}")
        return 2
    index = None if arguments.index is None else replace_undecodable(arguments.index)
    return run_with_client(config, partial(_search, index, request, arguments.json))


def _make_request(arguments: argparse.Namespace) -> dict[str, object]:
    """The body of the request. Raises InputError."""
    text = read_words(arguments.text)
    if not text.strip():
        raise InputError("there is no text: put it behind the command, or into standard input")
    request: dict[str, object] = {"text": text, "with": ["text", "metadata", "scores"]}
    if arguments.k is not None:
        request["k"] = arguments.k
    if arguments.mode is not None:
        request["mode"] = arguments.mode
    if arguments.filter is not None:
        try:
            request["filter"] = json.loads(arguments.filter)
        except ValueError as error:
            raise InputError(f"--filter is not JSON: {error}") from None
    return request


async def _search(index: str | None, request: dict[str, object], as_json: bool, lake: LakeClient) -> int:
    if index is None:
        names = decode_index_names(await lake.indexes())
        if len(names) != 1:
            write_diagnostic(_explain_choice(names))
            return 2
        index = names[0]
    answer = await lake.search(index, request)
    if as_json:
        write_output(answer.decode())
    else:
        _print_hits(decode_hits(answer))
    return 0


def _explain_choice(names: tuple[str, ...]) -> str:
    if not names:
        return "lakehouse search: the lake has no index yet: POST /v1/vectors/index makes one"
    return f"lakehouse search: --index NAME is required: the lake has {', '.join(names[:20])}"


def _print_hits(hits: tuple[SearchHit, ...]) -> None:
    if not hits:
        write_output("nothing was found")
        return
    print_table(_COLUMNS, list(map(_make_row, hits)))


def _make_row(hit: SearchHit) -> tuple[str, ...]:
    return (
        hit.id,
        "" if hit.score is None else f"{hit.score:.3f}",
        "" if hit.distance is None else f"{hit.distance:.3f}",
        _shorten(" ".join(_words(hit))),
    )


def _shorten(text: str) -> str:
    """The beginning of a long text."""
    if sys.stdout.isatty() or len(text) <= MAX_TEXT:
        return text
    return text[: MAX_TEXT - 3].rstrip() + "..."


def _words(hit: SearchHit) -> Iterator[str]:
    """The words of the text, on one line; those of the metadata for an item without a text."""
    yield from (hit.text or json.dumps(hit.metadata or {}, ensure_ascii=False)).split()
