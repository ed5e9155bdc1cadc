"""What searches find, on a set of real texts that every Python has: the docstrings of its standard library.

The bounds are a little below what was measured with Python 3.11 (the set differs between versions of Python); the whole
measurement, over larger sets, is `nox -s retrieval_quality`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from lakehouse.services.retrieval.child.keyword import open_engine
from tools.kit.question_sets import QuestionSet
from tools.kit.question_sets.docstrings import read_docstrings
from tools.kit.retrieval_quality import COMPLETE, DEFAULT, KEYWORDS, VECTORS, Quality, measure

QUESTIONS = 200
FEW = 150
"""Questions that are enough to compare two engines for words."""

Measured = Mapping[str, Quality]


@pytest.fixture(scope="module")
def questions() -> QuestionSet:
    found = read_docstrings().sample_questions(QUESTIONS)
    assert len(found.texts) > 1000
    assert len(found.questions) == QUESTIONS
    return found


@pytest.fixture(scope="module")
def one_index(questions: QuestionSet, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    ways = [KEYWORDS, VECTORS, COMPLETE, DEFAULT]
    return trio.run(measure, questions, ways, tmp_path_factory.mktemp("one"))


def test_hybrids_find_more_than_words_or_vectors_alone(one_index: Measured) -> None:
    mrr = {name: round(quality.mrr, 3) for name, quality in one_index.items()}
    assert mrr[KEYWORDS.name] >= 0.40, mrr
    assert mrr[VECTORS.name] >= 0.28, mrr
    assert mrr[DEFAULT.name] >= 0.42, mrr
    assert min(mrr[COMPLETE.name], mrr[DEFAULT.name]) > max(mrr[KEYWORDS.name], mrr[VECTORS.name]), mrr
    assert one_index[DEFAULT.name].recall(10) >= 0.64


@pytest.mark.extended
async def test_three_uneven_corpora_are_as_good_as_one_index(
    questions: QuestionSet, one_index: Measured, tmp_path: Path
) -> None:
    three = await measure(questions, [KEYWORDS, DEFAULT], tmp_path, corpora=3)
    for name, quality in three.items():
        assert abs(quality.mrr - one_index[name].mrr) < 0.01, name


def test_without_tantivy_keywords_find_nearly_as_much(questions: QuestionSet, tmp_path: Path) -> None:
    found = {}
    for engine in ("tantivy", "fts5"):
        index = open_engine(tmp_path / engine, from_tantivy=engine == "tantivy")
        index.add(range(len(questions.texts)), 1, questions.texts)
        index.commit(1)
        ranks = []
        for question in questions.questions[:FEW]:
            rows = index.search(question.text, [1], 10)[0].tolist()
            ranks.append(rows.index(question.wanted) + 1 if question.wanted in rows else 0)
        found[index.engine] = Quality(tuple(ranks)).mrr
        index.close()
    assert found["fts5"] > found["tantivy"] - 0.04, found
