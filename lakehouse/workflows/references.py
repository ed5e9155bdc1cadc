"""References to the outputs of earlier nodes: `$node`, `$node.output`, `$node.output.results.0.id`.

A text that is a reference and nothing else becomes the value; a reference inside of a text becomes text: a text as it
is, anything else as JSON. A `$` before a name that is no node of the workflow is text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import chain

import msgspec

from lakehouse.core.errors import ErrBadRequest
from lakehouse.workflows.graph import Node

_REFERENCE = re.compile(r"\$(?P<node>[A-Za-z_][A-Za-z0-9_-]*)(?:\.output(?P<path>(?:\.[A-Za-z0-9_-]+)*))?")
MAX_DEPTH = 32
MAX_DIGITS = 9
"""Digits of a position in a list: Python converts no text of thousands of digits."""


MAX_FILLED = 16 * 1024 * 1024
"""Characters that the references of a prompt, or of inputs, may stand for together: each may be to a long output."""

MAX_REFERENCES = 10_000
"""References in one node. A workflow has room for a million, which would hold the event loop for seconds."""


class FillError(Exception):
    """A reference to a part of an output that the output does not have, or references to too much."""


def check_references(node: Node, ancestors: Collection[str], nodes: Collection[str]) -> None:
    """Raises ErrBadRequest for a reference to a node that need not have ended before this one, and for too many."""
    texts = _iterate_texts([node.prompt, node.inputs])
    references = chain.from_iterable(map(_REFERENCE.finditer, texts))
    for number, found in enumerate(references, 1):
        name = found["node"]
        if number > MAX_REFERENCES:
            message = f"the node {node.id!r} has more than {MAX_REFERENCES} references"
            raise ErrBadRequest(message, field="nodes")
        if name in nodes and name not in ancestors:
            message = f"the node {node.id!r} refers to {name!r}, on which it does not depend"
            raise ErrBadRequest(message, field="nodes")


def fill(value: object, outputs: Mapping[str, object]) -> object:
    """The value with its references replaced. Raises FillError."""
    return _Filling(outputs).fill(value)


class _Filling:
    """Replaces references, and counts what they stand for."""

    def __init__(self, outputs: Mapping[str, object]) -> None:
        self._outputs = outputs
        self._size = 0

    def fill(self, value: object) -> object:
        if isinstance(value, str):
            whole = _REFERENCE.fullmatch(value)
            if whole is not None and whole["node"] in self._outputs:
                return self._take(whole)[0]
            return _REFERENCE.sub(self._make_text, value)
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {name: self.fill(item) for name, item in value.items()}
        return value

    def _make_text(self, found: re.Match[str]) -> str:
        return self._take(found)[1] if found["node"] in self._outputs else found[0]

    def _take(self, found: re.Match[str]) -> tuple[object, str]:
        """The value of a reference, and its text."""
        value = _look_up(found, self._outputs)
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        self._size += len(text)
        if self._size > MAX_FILLED:
            raise FillError(f"its references stand for more than {MAX_FILLED} characters")
        return value, text


def _look_up(found: re.Match[str], outputs: Mapping[str, object]) -> object:
    value = outputs[found["node"]]
    for part in (found["path"] or "").split(".")[1:]:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and len(part) <= MAX_DIGITS and int(part) < len(value):
            value = value[int(part)]
        else:
            raise FillError(f"the output of {found['node']!r} has no {found['path'].removeprefix('.')!r}")
    return value


def _iterate_texts(value: object, depth: int = 0) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise ErrBadRequest("`nodes` are not acceptable: `inputs` are nested too deeply", field="nodes")
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _iterate_texts(item, depth + 1)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _iterate_texts(item, depth + 1)
