"""A client of matrixd that records playbooks, one and many at a time."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from tools.kit.lake_crashes.indexes import LIMIT, search_index
from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.requests import LakeClient, Reply, make_json
from tools.kit.lake_crashes.writer import Step, Writer

Playbooks = Mapping[tuple[str, str], float]
"""The scores of answers by question and answer."""

QUESTIONS, ANSWERS = 40, 8


class PlaybookWriter(Writer[Playbooks]):
    """Records playbooks in the corpus `<name>`."""

    def __init__(self, name: str, client: LakeClient, report: CrashReport, random: Random) -> None:
        super().__init__(name, client, report, random, {})

    def choose(self) -> Step[Playbooks]:
        """One playbook, or several at once. The last score of an answer counts."""
        if self.random.random() < 0.6:
            entry = self._make_entry()
            request = make_json("POST", "/v1/matrix/playbooks/record", {**entry, "corpus": self.name})
            return Step("record a playbook", request, self._after([entry]))
        entries = [self._make_entry() for _ in range(self.random.randint(2, 12))]
        request = make_json("POST", "/v1/matrix/playbooks/bulk", {"entries": entries, "corpus": self.name})
        return Step("record playbooks", request, self._after(entries))

    def _make_entry(self) -> dict[str, object]:
        return {
            "query_text": f"who can do task {self.random.randrange(QUESTIONS)}?",
            "answer_id": f"w-{self.random.randrange(ANSWERS)}",
            "answer_corpus": "workers",
            "score": self.random.randrange(1001) / 1000,
        }

    def _after(self, entries: list[dict[str, object]]) -> Playbooks:
        new = {(str(entry["query_text"]), str(entry["answer_id"])): float(str(entry["score"])) for entry in entries}
        return {**self.state, **new}

    def judge(self, reply: Reply) -> Reply:
        """An answer about several playbooks is a success even if the engine ended before they were recorded."""
        if reply.ending == "acknowledged" and any("error" in each for each in reply.json().get("results", [])):
            return Reply("unknown", reply.status, reply.body)
        return reply

    async def observe(self) -> Playbooks:
        """The playbooks, by a search of their index; none before it was made."""
        query = {"text": "who can do it?", "mode": "vector", "k": LIMIT}
        hits = await search_index(self.client, self.name, query)
        self.report.reads["playbooks"] += 1
        entries = [hit["metadata"] for hit in hits]
        found = {(entry["query_text"], entry["answer_id"]): entry["score"] for entry in entries}
        if len(found) != len(hits):
            self.fail(f"{len(hits)} playbooks have {len(found)} questions with answers")
        return found

    def describe(self, found: Playbooks, expected: Playbooks) -> str:
        """How two states differ."""
        changed = {key for key in found.keys() & expected.keys() if found[key] != expected[key]}
        more, fewer = found.keys() - expected.keys(), expected.keys() - found.keys()
        return f"{len(found)} instead of {len(expected)}: {sorted(more)} more, {sorted(fewer)} fewer, {sorted(changed)} others"
