"""The playbook memory: past questions with their answers, which bring these answers forward for similar questions.

    boost   a result that answered a similar question before: distance x (1 - 0.5 x score)
    inject  such an answer that the search did not find: the distance of the questions x the same factor

A playbook is an item of an index (`playbook_memory`): its text is the question, its metadata the entry as JSON. The
item's id is a hash of question, answer and corpus, so the last score of an answer counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import msgspec

from lakehouse.services.contracts.retrieval import Hit
from lakehouse.services.matrixd.requests import PlaybookRequest

BOOST = 0.5
Answer = tuple[str, str]
"""The id and the corpus of an answer."""


class PlaybookEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored of a playbook."""

    query_text: str
    answer_id: str
    answer_corpus: str
    score: float
    tags: list[str] = []
    role: str = ""

    @property
    def answer(self) -> Answer:
        return self.answer_id, self.answer_corpus

    @property
    def factor(self) -> float:
        """What a distance is multiplied by: from 1 for a score of 0 to 0.5 for a score of 1."""
        return 1.0 - BOOST * self.score


@dataclass(frozen=True, slots=True)
class Playbook:
    """An entry that was found, and the distance of its question from the present one."""

    entry: PlaybookEntry
    distance: float


def make_entry(request: PlaybookRequest) -> PlaybookEntry:
    """Make the entry of a checked request."""
    return PlaybookEntry(
        query_text=request.query_text,
        answer_id=request.answer_id,
        answer_corpus=request.answer_corpus,
        score=request.score,
        tags=request.tags,
        role=request.role,
    )


def make_id(entry: PlaybookEntry) -> str:
    """The id of a playbook, equal for equal question, answer and corpus."""
    parts = (entry.query_text, entry.answer_id, entry.answer_corpus)
    digest = hashlib.sha256(b"".join(len(part).to_bytes(4, "big") + part for part in map(str.encode, parts)))
    return f"pb-{digest.hexdigest()[:24]}"


def read_playbooks(hits: Iterable[Hit]) -> list[Playbook]:
    """The playbooks of a search. An item that is no playbook is left out: the index can be written by anybody."""
    found = []
    for hit in hits:
        try:
            entry = msgspec.json.decode(hit.metadata, type=PlaybookEntry)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if hit.distance is not None and 0 <= entry.score <= 1:
            found.append(Playbook(entry, max(0.0, hit.distance)))
    return found


def find_factors(playbooks: Iterable[Playbook], max_distance: float) -> Mapping[Answer, float]:
    """The factor of each answer to a question within `max_distance`: the smallest, if there are several."""
    factors: dict[Answer, float] = {}
    for playbook in playbooks:
        if playbook.distance <= max_distance:
            entry = playbook.entry
            factors[entry.answer] = min(factors.get(entry.answer, 1.0), entry.factor)
    return factors


def boost(hit: Hit, factor: float) -> Hit:
    """Bring a hit forward. A negative distance (of inner products) is divided; a score moves towards 1."""
    distance, score = hit.distance, hit.score
    if distance is not None:
        distance = distance * factor if distance >= 0 else distance / factor
    if score is not None and score < 1:
        score = 1.0 - (1.0 - score) * factor
    return msgspec.structs.replace(hit, distance=distance, score=score)


def find_injections(
    playbooks: Sequence[Playbook], retrieved: AbstractSet[Answer], corpora: Iterable[str], max_distance: float
) -> list[Playbook]:
    """The playbooks within `max_distance` whose answers were not retrieved, the nearest one of each answer.

    Only answers from the searched corpora are injected.
    """
    searched = set(corpora)
    nearest: dict[Answer, Playbook] = {}
    for playbook in sorted(playbooks, key=lambda one: one.distance * one.entry.factor):
        answer = playbook.entry.answer
        if playbook.distance <= max_distance and answer not in retrieved and answer[1] in searched:
            nearest.setdefault(answer, playbook)
    return list(nearest.values())
