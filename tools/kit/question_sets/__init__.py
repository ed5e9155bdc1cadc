"""Sets of texts and questions by which the quality of retrieval is measured. Each question has one wanted text."""

from __future__ import annotations

import random
from dataclasses import dataclass

LONGEST_TEXT = 2000
"""Characters of a text, about the length of a passage."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the position of the text that answers it."""

    text: str
    wanted: int


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Texts and questions."""

    name: str
    texts: tuple[str, ...]
    questions: tuple[Question, ...]

    def sample_texts(self, name: str, count: int) -> QuestionSet:
        """A part of the texts with its questions, always the same one."""
        kept = sorted(random.Random(1).sample(range(len(self.texts)), count))
        position = {old: new for new, old in enumerate(kept)}
        asked = (Question(q.text, position[q.wanted]) for q in self.questions if q.wanted in position)
        return QuestionSet(name, tuple(self.texts[old] for old in kept), tuple(asked))

    def sample_questions(self, count: int) -> QuestionSet:
        """All texts with some of the questions, always the same ones."""
        if count >= len(self.questions):
            return self
        return QuestionSet(self.name, self.texts, tuple(random.Random(3).sample(self.questions, count)))


def make_set(name: str, pairs: list[tuple[str, str]], *, shortest: int) -> QuestionSet:
    """A set of pairs (question, text). Short and repeated texts are left out, and questions with several answers.

    A pair with an empty question is a text that no question asks for.
    """
    texts: dict[str, str] = {}
    for question, text in pairs:
        cut = text[:LONGEST_TEXT].strip()
        if len(cut) >= shortest:
            texts.setdefault(cut, question.strip())
    counts: dict[str, int] = {}
    for question, _ in pairs:
        counts[question.strip().lower()] = counts.get(question.strip().lower(), 0) + 1
    asked = [Question(q, place) for place, q in enumerate(texts.values()) if q and counts[q.lower()] == 1]
    return QuestionSet(name, tuple(texts), tuple(asked))
