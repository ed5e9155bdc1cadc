"""The order of a workflow's nodes, the references between them, and what is refused before anything runs."""

from __future__ import annotations

import pytest

from lakehouse.core.errors import ErrBadRequest
from lakehouse.workflows.graph import Node, Workflow, find_ancestors, order_nodes
from lakehouse.workflows.references import FillError, check_references, fill

MODES = ("llm.chat", "sql")


def make(**dependencies: str) -> Workflow:
    return Workflow(nodes=tuple(Node(id=name, depends_on=tuple(names.split())) for name, names in dependencies.items()))


@pytest.mark.parametrize(
    ("workflow", "order"),
    [
        (make(a="", b="", c=""), "a b c"),
        (make(c="b", b="a", a=""), "a b c"),
        (make(d="b c", b="a", c="a", a=""), "a b c d"),
        (make(z="", y="x", x="", w="z"), "z x y w"),
    ],
)
def test_nodes_come_after_those_that_they_depend_on(workflow: Workflow, order: str) -> None:
    assert [node.id for node in order_nodes(workflow, MODES)] == order.split()


@pytest.mark.parametrize(
    ("workflow", "says"),
    [
        (Workflow(nodes=()), "must not be empty"),
        (make(a="a"), "circle"),
        (make(a="b", b="c", c="a", d=""), "a, b, c"),
        (make(a="none"), "'none'"),
        (Workflow(nodes=(Node(id="a"), Node(id="a"))), "nodes[1].id"),
        (Workflow(nodes=(Node(id="1"),)), "nodes[0].id"),
        (Workflow(nodes=(Node(id="a", mode="drift"),)), "llm.chat, sql"),
        (Workflow(nodes=tuple(Node(id=f"n{number}") for number in range(257))), "256"),
    ],
)
def test_a_graph_that_cannot_be_run_is_refused(workflow: Workflow, says: str) -> None:
    with pytest.raises(ErrBadRequest) as refused:
        order_nodes(workflow, MODES)
    assert says in refused.value.message


OUTPUTS: dict[str, object] = {"a": {"results": [{"id": "x", "n": 1.5}], "text": "t"}, "b": "plain", "c": None}


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("$b", "plain"),
        ("$a.output.results.0.id", "x"),
        ("$a.output.results.0.n", 1.5),
        ("$a.output.results", [{"id": "x", "n": 1.5}]),
        ("$c", None),
        ("say $b and $a.output.results.0!", 'say plain and {"id":"x","n":1.5}!'),
        ("$unknown costs $5, $", "$unknown costs $5, $"),
        ({"q": ["$b", 1, {"r": "$a.output.text"}]}, {"q": ["plain", 1, {"r": "t"}]}),
    ],
)
def test_references_become_values(value: object, filled: object) -> None:
    assert fill(value, OUTPUTS) == filled


@pytest.mark.parametrize(
    "text",
    [
        "$a.output.results.1",
        "$a.output.none",
        "$b.output.x",
        "see $a.output.results.0.id.x",
        "$a.output.results." + "9" * 5000,
    ],
)
def test_a_part_that_an_output_lacks_is_an_error(text: str) -> None:
    with pytest.raises(FillError):
        fill(text, OUTPUTS)


@pytest.mark.parametrize(
    "value", ["$a$a " * 20, ["$a"] * 40, {"x": ["$a.output.rows"] * 40}], ids=["text", "values", "parts"]
)
def test_references_stand_for_a_limited_amount(value: object) -> None:
    with pytest.raises(FillError, match="more than"):
        fill(value, {"a": {"rows": "x" * 500_000}})


def test_a_node_has_a_limited_number_of_references() -> None:
    node = Node(id="b", prompt="$a" * 9_999, inputs={"x": ["$a", "$HOME"]})
    with pytest.raises(ErrBadRequest, match="the node 'b' has more than 10000 references"):
        check_references(node, ["a"], ["a", "b"])


def test_a_reference_needs_a_dependency() -> None:
    nodes = order_nodes(make(a="", b="a", c="b", d=""), MODES)
    ancestors = find_ancestors(nodes)
    check_references(Node(id="c", prompt="$a $b $none"), ancestors["c"], ancestors)
    with pytest.raises(ErrBadRequest) as refused:
        check_references(Node(id="c", inputs={"x": ["$d.output.y"]}), ancestors["c"], ancestors)
    assert "'c' refers to 'd'" in refused.value.message
