"""The graph of a workflow: its nodes in an order in which each comes after those that it depends on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from lakehouse.core.errors import ErrBadRequest
from lakehouse.core.session_identity import SessionField

MAX_NODES = 256
DEFAULT_MODE = "llm.chat"
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `inputs` and `prompt` may refer to outputs of the nodes before it."""

    id: str
    depends_on: tuple[str, ...] = ()
    mode: str = DEFAULT_MODE
    prompt: str = ""
    inputs: dict[str, object] = {}


class Workflow(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow as it is sent, and the session that it belongs to."""

    nodes: tuple[Node, ...]
    name: str = ""
    session: str | SessionField | None = None


def order_nodes(workflow: Workflow, modes: Sequence[str]) -> Sequence[Node]:
    """The nodes in the order of Kahn's algorithm; of nodes that could come next, the first in the request does.

    Raises ErrBadRequest for an id that is not one or is there twice, an unknown mode, an unknown dependency, and nodes
    that depend on each other in a circle.
    """
    _check_nodes(workflow, modes)
    waiting = {node.id: set(node.depends_on) for node in workflow.nodes}
    ordered: list[Node] = []
    while waiting:
        following = next((node for node in workflow.nodes if node.id in waiting and not waiting[node.id]), None)
        if following is None:
            raise ErrBadRequest(
                f"the nodes {', '.join(sorted(waiting))} depend on each other in a circle", field="nodes"
            )
        del waiting[following.id]
        for others in waiting.values():
            others.discard(following.id)
        ordered.append(following)
    return ordered


def find_ancestors(nodes: Sequence[Node]) -> Mapping[str, frozenset[str]]:
    """The nodes on which each node depends, directly or not. `nodes` are in order."""
    ancestors: dict[str, frozenset[str]] = {}
    for node in nodes:
        direct = frozenset(node.depends_on)
        ancestors[node.id] = direct.union(*(ancestors[name] for name in direct))
    return ancestors


def _check_nodes(workflow: Workflow, modes: Sequence[str]) -> None:
    if not workflow.nodes:
        raise ErrBadRequest("`nodes` must not be empty", field="nodes")
    if len(workflow.nodes) > MAX_NODES:
        raise ErrBadRequest(f"`nodes` must be at most {MAX_NODES}", field="nodes")
    names = {node.id for node in workflow.nodes}
    seen: set[str] = set()
    for number, node in enumerate(workflow.nodes):
        field = f"nodes[{number}]"
        if not _ID.fullmatch(node.id):
            message = f"`{field}.id` must be a letter or _, then letters, digits, _ and -, at most 128 in all"
            raise ErrBadRequest(message, field=f"{field}.id")
        if node.id in seen:
            raise ErrBadRequest(f"`{field}.id`: there are two nodes {node.id!r}", field=f"{field}.id")
        seen.add(node.id)
        if node.mode not in modes:
            message = f"`{field}.mode`: there is no mode {node.mode!r}; the modes are {', '.join(modes)}"
            raise ErrBadRequest(message, field=f"{field}.mode")
        for name in node.depends_on:
            if name not in names:
                message = f"`{field}.depends_on`: there is no node {name!r}"
                raise ErrBadRequest(message, field=f"{field}.depends_on")
