"""Runs all searches that wait as one batch: equal ones once, texts embedded together, one product for each index."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import numpy as np

from lakehouse.core.errors import LakehouseError
from lakehouse.services.contracts.retrieval import CorpusFailure, Hits, ManyHits
from lakehouse.services.retrieval.child.hybrid import HybridSearch
from lakehouse.services.retrieval.child.keyword_writer import KeywordWriter
from lakehouse.services.retrieval.child.open_indexes import OpenIndexes
from lakehouse.services.retrieval.child.pending import CallCancelled, Pending, encode_failure, encode_reply
from lakehouse.services.retrieval.child.pieces import Piece, Pieces
from lakehouse.services.retrieval.child.queries import SearchRun, Task, make_run, needs_text, prepare_vector
from lakehouse.services.retrieval.child.results import Result, encode_results
from lakehouse.services.retrieval.child.scan import scan, to_distances
from lakehouse.services.retrieval.child.texts import TextModel

Check = Callable[[Sequence[Pending]], None]
"""Looks for cancellations, and raises CallCancelled if all of these calls are cancelled."""


class Searcher:
    """Answers searches. `settle` waits until every committed write is applied to the open indexes."""

    def __init__(
        self,
        indexes: OpenIndexes,
        pieces: Pieces,
        model: TextModel,
        keyword: KeywordWriter,
        *,
        check: Check,
        settle: Callable[[], None],
    ) -> None:
        self.searches = self.batches = self.shared = 0
        self.seconds = 0.0
        self._indexes = indexes
        self._pieces = pieces
        self._model = model
        self._keyword = keyword
        self._hybrid = HybridSearch(keyword.keyword, model, pieces, indexes.count_tokens)
        self._check = check
        self._settle = settle

    def run(self, pendings: Sequence[Pending]) -> list[tuple[Pending, bytes]]:
        """Answer calls; one that is cancelled meanwhile is left out."""
        began = time.perf_counter()
        answers, runs = self._make_runs(pendings)
        self._run_all(runs)
        incomplete = [run for run in runs if run.body == b""]
        if incomplete:  # a row was deleted between the scan and the look-up of its item
            self._settle()
            again = list(self._make_runs([run.pendings[0] for run in incomplete])[1])
            self._run_all(again, complete=True)
            for run, repeated in zip(incomplete, again, strict=True):
                run.body = repeated.body
        answers += [(pending, run.body) for run in runs if run.body is not None for pending in run.pendings]
        self.searches += len(pendings)
        self.shared += len(pendings) - len(runs)
        self.batches += 1
        self.seconds += time.perf_counter() - began
        return answers

    def _make_runs(self, pendings: Sequence[Pending]) -> tuple[list[tuple[Pending, bytes]], list[SearchRun]]:
        """One run for all calls that are equal; failures of calls that fit no index."""
        answers: list[tuple[Pending, bytes]] = []
        runs: dict[bytes, SearchRun] = {}
        for pending in pendings:
            run = runs.get(pending.body)
            if run is not None:
                run.pendings.append(pending)
                continue
            try:
                runs[pending.body] = make_run(pending)
            except LakehouseError as error:
                answers.append((pending, encode_failure(error)))
        return answers, list(runs.values())

    def _run_all(self, runs: Sequence[SearchRun], *, complete: bool = False) -> None:
        for run in runs:
            for task in run.tasks:
                self._open(run, task)
        self._embed(runs)
        for run in runs:
            for task in run.open_tasks:
                self._select(run, task)
        self._scan(runs)
        finished = [(run, self._finish(run)) for run in runs]
        rows = {result.row for _, results in finished if results is not None for result in results[0]}
        pieces = self._pieces.read(rows)
        for run, results in finished:
            if results is not None:
                self._encode(run, *results, pieces, complete=complete)

    def _open(self, run: SearchRun, task: Task) -> None:
        try:
            task.index = self._indexes.open(task.name, partial(self._check, run.pendings))
        except (LakehouseError, CallCancelled) as error:
            task.failure = _to_failure(error)

    def _embed(self, runs: Sequence[SearchRun]) -> None:
        """Embed the texts of all queries, and set the vectors of all tasks."""
        model = self._model
        wanted = [run.query.text for run in runs if any(needs_text(task, run.query, model) for task in run.open_tasks)]
        failure: LakehouseError | None = None
        try:
            embedded = model.embed_queries(wanted) if wanted else {}
        except LakehouseError as error:
            embedded, failure = {}, error
        for run in runs:
            vector, run.tokens = embedded.get(run.query.text, (None, run.tokens))
            for task in run.open_tasks:
                try:
                    needed = needs_text(task, run.query, model)
                    if needed and failure is not None:
                        raise failure
                    prepare_vector(task, run.query, vector if needed else None)
                except LakehouseError as error:
                    task.failure = error

    def _select(self, run: SearchRun, task: Task) -> None:
        try:
            for document in task.filters:
                mask = self._indexes.select(task.name, document, partial(self._check, run.pendings))
                task.mask = mask if task.mask is None or mask is None else task.mask & mask
        except (LakehouseError, CallCancelled) as error:
            task.failure = _to_failure(error)

    def _scan(self, runs: Sequence[SearchRun]) -> None:
        """One scan for all tasks of an index with the same filters and the same number of results."""
        groups: defaultdict[tuple[str, tuple[bytes, ...], int], list[tuple[SearchRun, Task]]] = defaultdict(list)
        for run in runs:
            if run.query.mode != "keyword":
                for task in run.open_tasks:
                    if task.vector is not None:
                        groups[task.name, task.filters, run.list_length].append((run, task))
        for (_, _, k), members in groups.items():
            pendings = [pending for run, _ in members for pending in run.pendings]
            self._scan_group([task for _, task in members], k, partial(self._check, pendings))

    def _scan_group(self, tasks: Sequence[Task], k: int, check: Callable[[], None]) -> None:
        index = tasks[0].opened
        queries = np.stack([task.vector for task in tasks if task.vector is not None])
        try:
            rows, cells = index.rows_to_scan(), index.cells
            approximate = cells is not None and tasks[0].mask is None and cells.serves(rows, k)
            if cells is not None and approximate:
                found = cells.search(rows, queries, k, check=check)
            else:
                found = scan(rows, queries, k, tasks[0].mask, check)
        except CallCancelled:
            return  # all of them: nobody waits for the empty results
        for task, one in zip(tasks, found, strict=True):
            task.found, task.exact = one, not approximate

    def _finish(self, run: SearchRun) -> tuple[list[Result], dict[str, int]] | None:
        """The results of a run and how many of them each index had; None if it failed or was cancelled."""
        try:
            self._check(run.pendings)
            if not run.many and run.tasks[0].failure is not None:
                raise run.tasks[0].failure
            results = self._order_vectors(run) if run.query.mode == "vector" else self._hybrid.search(run)
        except CallCancelled:
            return None
        except Exception as error:  # noqa: BLE001 - reported to the callers
            run.body = encode_failure(error)
            return None
        if not run.many:
            return results[: run.query.k], {}
        counts = {task.name: 0 for task in run.open_tasks}
        kept = []
        names = {msgspec.json.encode(name): name for name in counts}
        for result in results:
            name = names[result.corpus]
            if counts[name] < run.per_corpus_k:
                counts[name] += 1
                kept.append(result)
        return kept[: run.query.k], counts

    def _order_vectors(self, run: SearchRun) -> list[Result]:
        if not run.many:
            return _list_results(run.tasks[0], b"")
        results = [result for task in run.open_tasks for result in _list_results(task, msgspec.json.encode(task.name))]
        return sorted(results, key=lambda result: result.distance or 0.0)  # equal ones in the order of the indexes

    def _encode(
        self,
        run: SearchRun,
        results: Sequence[Result],
        counts: dict[str, int],
        pieces: dict[int, Piece],
        *,
        complete: bool,
    ) -> None:
        """Set the body of a run's answer; an empty one if a result has vanished and `complete` is false."""
        texts = self._pieces.read_texts([result.row for result in results]) if run.query.with_text else {}
        encoded, count = encode_results(results, pieces, texts, with_metadata=run.query.with_metadata)
        if count < len(results) and not complete:
            run.body = b""
            return
        if run.many:
            failed = {
                task.name: CorpusFailure(code=task.failure.code, message=task.failure.message)
                for task in run.tasks
                if task.failure is not None
            }
            exact = all(task.exact for task in run.tasks)
            many = ManyHits(results=encoded, count=count, per_corpus=counts, failed=failed, exact=exact)
            run.body = encode_reply(many)
        else:
            run.body = encode_reply(self._make_hits(run.tasks[0], encoded, count))

    def _make_hits(self, task: Task, encoded: bytes, count: int) -> Hits:
        index = task.opened
        return Hits(
            results=encoded,
            count=count,
            exact=task.exact,
            version=index.record.version,
            model=index.record.options.model,
            keyword_lag=self._keyword.lag[index.record.number],
        )


def _list_results(task: Task, corpus: bytes) -> list[Result]:
    """The results of a scan, the nearest first."""
    distances = to_distances(task.found.scores, task.opened.record.options.distance).tolist()
    rows = task.opened.rows_at(task.found.positions).tolist()
    return [Result(row, distance, None, None, corpus) for row, distance in zip(rows, distances, strict=True)]


def _to_failure(error: LakehouseError | CallCancelled) -> LakehouseError:
    """The failure of a task; that of a cancelled call is told to nobody."""
    return error if isinstance(error, LakehouseError) else LakehouseError("the call was cancelled")
