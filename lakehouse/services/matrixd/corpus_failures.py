"""What the failure of a corpus means for a search: its end, or an entry in the answer if the search is partial."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.core.errors import ErrBadRequest, ErrUnavailable, ErrUpstream, LakehouseError
from lakehouse.services.contracts.retrieval import CorpusFailure
from lakehouse.services.matrixd.requests import MatrixSearchRequest

MAX_SHOWN = 3
"""Corpora whose failures the message of an error has; its details have all of them."""


def note_failures(request: MatrixSearchRequest, failed: dict[str, str], failures: Mapping[str, CorpusFailure]) -> None:
    """Note the reasons. Raises ErrUpstream unless the search is partial, and ErrBadRequest for the caller's mistake."""
    failed.update({name: failure.message for name, failure in failures.items()})
    for failure in failures.values():
        if (mistake := _find_mistake(failure)) is not None:
            raise mistake
        if failure.code == ErrUnavailable.code and not request.partial:  # the engine, and no corpus
            raise ErrUnavailable(failure.message, retry_after=1.0, retryable=True)
    if failures and not request.partial:
        raise make_failure(failed)


def make_failure(failed: Mapping[str, str]) -> LakehouseError:
    """The error of a search with these failed corpora."""
    shown = "; ".join(f"{name!r}: {why}" for name, why in list(failed.items())[:MAX_SHOWN])
    return ErrUpstream(f"{len(failed)} of the corpora failed: {shown}"[:500], details={"failed": dict(failed)})


def _find_mistake(failure: CorpusFailure) -> ErrBadRequest | None:
    """The error if the failure is about the text or the filter of the request, which is the same for every corpus."""
    if failure.code != ErrBadRequest.code:
        return None
    if failure.message.startswith("`text`"):
        return ErrBadRequest(failure.message.replace("`text`", "`query_text`", 1), field="query_text")
    if failure.message.startswith("`filter"):
        return ErrBadRequest(failure.message, field="filter")
    return None
