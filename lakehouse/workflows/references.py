"""References to the outputs of earlier nodes: `$node`, `$node.output`, `$node.output.results.0.id`.

A text that is a reference and nothing else becomes the value; a reference inside of a text becomes text: a text as it
is, anything else as JSON. A `$` before a name that is no node of the workflow is text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import msgspec

from lakehouse.core.errors import ErrBadRequest
from lakehouse.workflows.graph import Node

_REFERENCE = re.compile(r"\$(?P<node>[A-Za-z_][A-Za-z0-9_-]*)(?:\.output(?P<path>(?:\.[A-Za-z0-9_-]+)*))?")
MAX_DEPTH = 32
MAX_DIGITS = 9
"""Digits of a position in a list: Python converts no text of thousands of digits."""


class MissingValue(Exception):
    """A reference to a part of an output that the output does not have."""


def check_references(node: Node, ancestors: Collection[str], nodes: Collection[str]) -> None:
    """Raises ErrBadRequest for a reference to a node that need not have ended before this one."""
    for text in _iterate_texts([node.prompt, node.inputs]):
        for found in _REFERENCE.finditer(text):
            name = found["node"]
            if name in nodes and name not in ancestors:
                message = f"the node {node.id!r} refers to {name!r}, on which it does not depend"
                raise ErrBadRequest(message, field="nodes")


def fill(value: object, outputs: Mapping[str, object]) -> object:
    """The value with its references replaced. Raises MissingValue."""
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value)
        if whole is not None and whole["node"] in outputs:
            return _look_up(whole, outputs)
        return _REFERENCE.sub(lambda found: _to_text(found, outputs), value)
    if isinstance(value, list):
        return [fill(item, outputs) for item in value]
    if isinstance(value, dict):
        return {name: fill(item, outputs) for name, item in value.items()}
    return value


def _to_text(found: re.Match[str], outputs: Mapping[str, object]) -> str:
    if found["node"] not in outputs:
        return found[0]
    value = _look_up(found, outputs)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _look_up(found: re.Match[str], outputs: Mapping[str, object]) -> object:
    value = outputs[found["node"]]
    for part in (found["path"] or "").split(".")[1:]:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and len(part) <= MAX_DIGITS and int(part) < len(value):
            value = value[int(part)]
        else:
            raise MissingValue(f"the output of {found['node']!r} has no {found['path'].removeprefix('.')!r}")
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
