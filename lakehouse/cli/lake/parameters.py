"""The arguments of `lakehouse ingest` as the parameters of the route."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import msgspec

from lakehouse.cli.input import replace_undecodable
from lakehouse.cli.lake.folders import Upload


def query_parameters(arguments: argparse.Namespace, upload: Upload) -> dict[str, str]:
    """The parameters for one upload. Those of tables are sent for a document as well: the service refuses them."""
    default_mode = upload.document is not None and arguments.mode == "replace"
    found: dict[str, str | None] = {
        "name": upload.name,
        "format": upload.document or arguments.format,
        "source": upload.source or None,
        "mode": None if default_mode else arguments.mode,
        "key": arguments.key,
        "evolve": "true" if arguments.evolve else None,
        "encoding": arguments.encoding,
        "delimiter": arguments.delimiter,
        "quote": arguments.quote,
        "null": arguments.null,
        "header": "false" if arguments.no_header else None,
        "skip": None if arguments.skip is None else str(arguments.skip),
        "types": _types_document(arguments.types),
        "model": arguments.model,
    }
    return {name: replace_undecodable(value) for name, value in found.items() if value is not None}


def _types_document(types: Sequence[str]) -> str | None:
    pairs: Mapping[str, str] = dict(each.rpartition("=")[::2] for each in types)
    return msgspec.json.encode(pairs).decode() if pairs else None
