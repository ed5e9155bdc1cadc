"""Applies playbooks to the hits of a search: boosts, injections, and the gates before an injection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import msgspec

from lakehouse.core.errors import ErrNotFound
from lakehouse.services.contracts.retrieval import Hit, RetrievalEngine, StoredItem
from lakehouse.services.matrixd.judge import Judge
from lakehouse.services.matrixd.metadata_filter import matches
from lakehouse.services.matrixd.playbook_memory import PlaybookMemory
from lakehouse.services.matrixd.playbooks import Answer, Playbook, boost, find_factors, find_injections
from lakehouse.services.matrixd.requests import MatrixSearchRequest
from lakehouse.services.matrixd.roles import is_same_role


@dataclass(slots=True, kw_only=True)
class Applied:
    """The hits with boosts and injections, in no order, and which ones they are."""

    hits: Sequence[Hit]
    boosted: AbstractSet[Answer] = frozenset()
    injected: AbstractSet[Answer] = frozenset()
    warnings: list[str] = field(default_factory=list)


class PlaybookApplication:
    """Applies the playbooks of a memory. `judge` is None if no model is configured to judge injections."""

    def __init__(self, engine: RetrievalEngine, memory: PlaybookMemory, judge: Judge | None) -> None:
        self._engine = engine
        self._memory = memory
        self._judge = judge

    async def apply(self, request: MatrixSearchRequest, hits: Sequence[Hit], retrieved: AbstractSet[Answer]) -> Applied:
        """Boost hits, and inject answers that are not among `retrieved`, which are those before any filter."""
        found = await self._memory.find(request)
        if found.skipped:
            return Applied(hits=hits, warnings=[found.skipped])
        factors = find_factors(found.playbooks, request.playbook_max_distance)
        boosted = {(hit.id, hit.corpus) for hit in hits} & factors.keys()
        kept = [boost(hit, factors[hit.id, hit.corpus]) if (hit.id, hit.corpus) in boosted else hit for hit in hits]
        wanted = find_injections(
            found.playbooks,
            retrieved,
            [corpus.index for corpus in request.choices],
            request.playbook_max_inject_distance,
        )
        injected = await self._inject(request, wanted)
        return Applied(hits=[*kept, *injected], boosted=boosted, injected={(hit.id, hit.corpus) for hit in injected})

    async def _inject(self, request: MatrixSearchRequest, playbooks: Iterable[Playbook]) -> list[Hit]:
        """The injected hits: answers that exist, that no filter drops, and that role and judge let pass."""
        hits: list[Hit] = []
        for playbook in playbooks:
            entry = playbook.entry
            if entry.answer_id in request.exclude_ids or not is_same_role(entry.role, request.query_role):
                continue
            item = await self._find_item(entry.answer)
            if item is None or (request.metadata_filter and not matches(item.metadata, request.metadata_filter)):
                continue
            if self._judge is None or await self._judge.approves(request, entry, item):
                hits.append(_make_hit(request, playbook, item))
        return hits

    async def _find_item(self, answer: Answer) -> StoredItem | None:
        try:
            return (await self._engine.get_items(answer[1], [answer[0]])).get(answer[0])
        except ErrNotFound:
            return None


def _make_hit(request: MatrixSearchRequest, playbook: Playbook, item: StoredItem) -> Hit:
    distance = playbook.distance * playbook.entry.factor
    hit = Hit(
        id=item.id,
        corpus=playbook.entry.answer_corpus,
        distance=distance,
        score=None if request.mode == "vector" else 1.0 - distance,
        text=item.text if "text" in request.extras else None,
    )
    return msgspec.structs.replace(hit, metadata=msgspec.Raw(item.metadata)) if item.metadata else hit
