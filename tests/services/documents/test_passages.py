"""Structure to passages: where a document is cut, and what every cut keeps."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.services.contracts.documents import Passage, PassageSize
from lakehouse.services.documents.child.document import Document
from lakehouse.services.documents.child.passages import make_passages
from lakehouse.services.documents.child.plain_text import read_markdown, read_text
from lakehouse.services.documents.child.words import count_words
from tools.kit.examples import count_examples

SIZE = PassageSize(minimum=20, maximum=40)


def cut(document: Document, size: PassageSize = SIZE) -> list[Passage]:
    """The passages, each of which is exactly its part of the text."""
    passages = list(make_passages(document, size))
    for passage in passages:
        assert document.text[passage.start : passage.end] == passage.text
        assert passage.text.strip()
        assert len(passage.text.split()) <= size.maximum
    ends = [0, *(passage.end for passage in passages)]
    assert all(passage.start >= end for passage, end in zip(passages, ends[:-1], strict=True))
    kept = "".join("".join(passage.text.split()) for passage in passages)
    assert kept == "".join(document.text.split())
    return passages


def words(count: int, word: str = "word") -> str:
    return " ".join([word] * count)


def sentences(count: int, length: int = 5) -> str:
    return " ".join(f"S{number} {words(length - 2)} end." for number in range(count))


@dataclass(frozen=True)
class Case:
    """A Markdown text, and for each passage: the headings above it, its number of words."""

    text: str
    passages: list[tuple[str, int]]


CASES = {
    "one short text": Case("Hello there.", [("", 2)]),
    "paragraphs are joined": Case(f"{words(10)}\n\n{words(10)}\n\n{words(10)}", [("", 30)]),
    "a long text has passages of one length": Case("\n\n".join([words(10)] * 6), [("", 30), ("", 30)]),
    "a section of enough words ends with it": Case(f"# A\n\n{words(25)}\n\n# B\n\n{words(25)}", [("A", 27), ("B", 27)]),
    "short sections beside each other share a passage": Case(
        f"## A\n{words(8)}\n\n## B\n{words(8)}\n\n## C\n{words(30)}", [("A", 20), ("C", 32)]
    ),
    "a higher heading always begins a passage": Case(
        f"## A\n\n### B\n\n{words(5)}\n\n# C\n\n{words(5)}", [("A > B", 9), ("C", 7)]
    ),
    "the headings are those above the first text": Case(
        f"# A\n\n## B\n\n### C\n\n{words(30)}\n\n### D\n\n{words(25)}", [("A > B > C", 36), ("A > B > D", 27)]
    ),
    "an introduction is joined with what is below it": Case(
        f"# A\n\n{words(15)}\n\n## B\n\n{words(17)}\n\n{words(18)}", [("A", 36), ("A > B", 18)]
    ),
    "a heading is not left behind": Case(
        f"# A\n{words(19)}\n\n{words(18)}\n## B\n{words(38)}", [("A", 39), ("A > B", 40)]
    ),
    "a long paragraph is cut behind sentences": Case(sentences(16), [("", 40), ("", 40)]),
    "a long line is cut behind words": Case(words(90), [("", 30), ("", 30), ("", 30)]),
    "setext headings": Case(f"A\n===\n\n{words(25)}\n\nB\n---\n\n{words(25)}", [("A", 27), ("A > B", 27)]),
    "a heading in code is code": Case(
        f"# A\n\n```\n# no\n{words(20)}\n```\n\n# B\n\n{words(3)}", [("A", 26), ("B", 5)]
    ),
    "headings that are none": Case(f"#hashtag {words(10)}\n\n####### seven {words(5)}", [("", 18)]),
    "a code block is cut between lines": Case(
        "```\n" + "\n".join(words(10, f"line{n}") for n in range(6)) + "\n```", [("", 31), ("", 31)]
    ),
    "a table stays together": Case("| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 4, [("", 26)]),
    "Windows line ends": Case(f"# A\r\n\r\n{words(25)}\r\n\r\n# B\r\n{words(22)}\r\n", [("A", 27), ("B", 24)]),
}


@pytest.mark.parametrize("name", CASES)
def test_markdown(name: str) -> None:
    case = CASES[name]
    found = cut(read_markdown(case.text, []))
    assert [(" > ".join(passage.headings), len(passage.text.split())) for passage in found] == case.passages


def test_text_has_paragraphs_and_no_headings() -> None:
    text = f"# no heading\n{words(10)}\n \t\n\n{words(30)}\r\n\r\n{words(5)}\n"
    found = cut(read_text(text, []))
    assert [(list(passage.headings), len(passage.text.split())) for passage in found] == [([], 13), ([], 35)]


def test_scripts_without_spaces_are_counted_by_character() -> None:
    text = "\u4e16\u754c\u306e" * 20 + "\u3002" + "\u4e16" * 35 + "\u3002"
    found = cut(read_text(text, []))
    assert [len(passage.text) for passage in found] == [31, 30, 36]


def test_a_run_of_characters_without_an_end_is_cut() -> None:
    found = cut(read_text("x" * 5000, []))
    assert all(count_words(passage.text, 0, len(passage.text)) <= SIZE.maximum for passage in found)
    assert sum(len(passage.text) for passage in found) == 5000


def test_a_document_without_text_has_no_passages() -> None:
    assert cut(read_markdown("\n \r\n\t", [])) == []
    assert cut(read_text("", [])) == []


PIECES = st.sampled_from(
    (
        *("# A\n", "## B\n", "### C ###\n", "===\n", "---\n", "```\n", "~~~~\n", "\n", "\r\n", " \n", "- item\n", "| a | b |\n"),
        *("word ", "word. ", "Dr. x. Y! ", "x" * 100, "\u4e16\u754c\u3002", "\u00a0", "\u2028", "\x0c", "    code\n", "e.g. this\n"),
    )
)  # fmt: skip


@settings(max_examples=count_examples(300), deadline=None)
@given(st.lists(PIECES, max_size=80).map("".join), st.booleans())
def test_every_character_is_in_one_passage(text: str, markdown: bool) -> None:
    cut(read_markdown(text, []) if markdown else read_text(text, []))
