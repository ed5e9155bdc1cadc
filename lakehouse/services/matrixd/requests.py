"""The bodies of requests to matrixd, and the values in them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import msgspec

from lakehouse.asgi.body import BodyLimits
from lakehouse.asgi.json_body import decode_json
from lakehouse.config.values import duration
from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.retrieval import CorpusQuery, Rerank, SearchMode

BODY_LIMITS = BodyLimits(max_size=4 * 1024 * 1024, max_size_key="4 MiB, fixed")
MAX_K = 1_000
MAX_CORPORA = 256
CANDIDATES = 100
"""Candidates of each corpus by default where words count: the score compares all of them."""
PLAYBOOK_CORPUS = "playbook_memory"
CORPUS_TIMEOUT = 10.0
"""Seconds for a corpus of a `partial` search, by default."""

MAX_KNOWN, MAX_KNOWN_SIZE = 1_024, 4_096
"""Bodies of searches that are known, and the bytes of the longest one."""

Extra = Literal["text", "scores", "metadata"]


class CorpusChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A corpus with a filter of its own, which is applied before the cut."""

    name: str
    filter: msgspec.Raw = msgspec.Raw(b"")


class MatrixSearchRequest(msgspec.Struct, frozen=True, kw_only=True, dict=True, forbid_unknown_fields=True):
    """The body of `/matrix/search`, and the fields of `/matrix/context` that it shares."""

    corpora: list[str | CorpusChoice] = []
    query_text: str = ""
    query_vector: list[float] | None = None
    k: int = 10
    per_corpus_k: int | None = None
    model: str = ""
    mode: SearchMode = "vector"
    weight: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    rerank: Rerank = ""
    filter: msgspec.Raw = msgspec.Raw(b"")
    metadata_filter: dict[str, object] = {}
    exclude_ids: list[str] = []
    extras: list[Extra] = msgspec.field(default_factory=lambda: ["metadata"], name="with")
    partial: bool = False
    timeout: float | str | None = None
    use_playbook: bool = False
    playbook_corpus: str = PLAYBOOK_CORPUS
    playbook_top_k: int = 3
    playbook_max_distance: float = 0.5
    playbook_max_inject_distance: float = 0.20
    query_role: str = ""
    judge_model: str = ""

    def check(self) -> None:
        """Raise ErrBadRequest for a request without corpora or a query, and for a value out of range."""
        if not self.corpora:
            raise ErrBadRequest("`corpora` is required: the names of one or more indexes", field="corpora")
        if len(self.corpora) > MAX_CORPORA:
            raise ErrBadRequest(f"`corpora` has more than {MAX_CORPORA} names", field="corpora")
        if not all(corpus.index for corpus in self.choices):
            raise ErrBadRequest("`corpora` has an empty name", field="corpora")
        self._check_query()
        for name in ("k", "per_corpus_k", "playbook_top_k"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ErrBadRequest(f"`{name}` must be at least 1", field=name)
        for name in ("playbook_max_distance", "playbook_max_inject_distance"):
            if not math.isfinite(value := getattr(self, name)) or value < 0:
                raise ErrBadRequest(f"`{name}` must not be negative", field=name)
        _ = self.seconds

    def _check_query(self) -> None:
        if not self.query_text and not self.query_vector:
            raise ErrBadRequest("`query_text` or `query_vector` is required", field="query_text")
        if not math.isfinite(sum(array("f", self.vector))):
            raise ErrBadRequest("`query_vector` has a number that float32 does not hold", field="query_vector")
        if self.mode != "vector" and not self.query_text:
            raise ErrBadRequest(f'`query_text` is required with mode "{self.mode}"', field="query_text")

    @cached_property
    def choices(self) -> Sequence[CorpusQuery]:
        """The corpora, each once."""
        chosen: dict[str, CorpusQuery] = {}
        for corpus in self.corpora:
            name, wanted = (corpus, b"") if isinstance(corpus, str) else (corpus.name, bytes(corpus.filter))
            chosen.setdefault(name, CorpusQuery(index=name, filter=wanted))
        return tuple(chosen.values())

    @property
    def count(self) -> int:
        """The number of results."""
        return min(self.k, MAX_K)

    @property
    def candidates(self) -> int:
        """The number of candidates of each corpus."""
        if self.per_corpus_k is not None:
            return min(self.per_corpus_k, MAX_K)
        return self.count if self.mode == "vector" else max(self.count, CANDIDATES)

    @cached_property
    def retrieval_key(self) -> tuple[object, ...]:
        """What decides which candidates are retrieved."""
        return (
            self.choices,
            self.query_text,
            self.vector,
            self.model,
            bytes(self.filter),
            self.count,
            self.candidates,
            self.is_refined,
            *(extra in self.extras for extra in ("text", "scores", "metadata")),
        )

    @property
    def is_refined(self) -> bool:
        """Whether results may be dropped or moved after retrieval, before the cut at `k`."""
        return bool(self.use_playbook or self.metadata_filter or self.exclude_ids)

    @cached_property
    def vector(self) -> bytes:
        """The query's vector as float32; empty if there is none."""
        return array("f", self.query_vector).tobytes() if self.query_vector else b""

    @cached_property
    def seconds(self) -> float:
        """The seconds for each corpus of a partial search. Raises ErrBadRequest."""
        if self.timeout is None:
            return CORPUS_TIMEOUT
        try:
            seconds = duration(self.timeout)
        except ValueError as error:
            raise ErrBadRequest(f"`timeout` {error}", field="timeout") from None
        if seconds <= 0:
            raise ErrBadRequest("`timeout` must be longer than zero", field="timeout")
        return seconds


class SearchRequests:
    """Reads bodies of `/matrix/search`. Short ones that were read last are known by their bytes."""

    def __init__(self) -> None:
        self._known = lru_cache(MAX_KNOWN)(_read_search)

    def read(self, body: bytes) -> MatrixSearchRequest:
        """Decode and check a body. Raises ErrBadRequest."""
        return self._known(body) if len(body) <= MAX_KNOWN_SIZE else _read_search(body)


def _read_search(body: bytes) -> MatrixSearchRequest:
    request = decode_json(body, MatrixSearchRequest)
    request.check()
    return request


class ContextRequest(MatrixSearchRequest, frozen=True, kw_only=True, dict=True, forbid_unknown_fields=True):
    """The body of `/matrix/context`: a search by meaning and word, and the size of the text."""

    mode: SearchMode = "hybrid"
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2_000


class PlaybookRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `/matrix/playbooks/record`, and one entry of `bulk`: an answer to a question, and how good it was."""

    query_text: str
    answer_id: str
    answer_corpus: str
    score: float
    tags: list[str] = []
    role: str = ""
    corpus: str = ""

    def check(self) -> None:
        """Raise ErrBadRequest for an empty field or a score outside of 0 to 1."""
        for name in ("query_text", "answer_id", "answer_corpus"):
            if not getattr(self, name).strip():
                raise ErrBadRequest(f"`{name}` must not be empty", field=name)
        if not 0 <= self.score <= 1:
            raise ErrBadRequest("`score` must be between 0 and 1", field="score")


class PlaybookBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `/matrix/playbooks/bulk`: `corpus` is that of entries without their own."""

    entries: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=10_000)]
    corpus: str = ""
