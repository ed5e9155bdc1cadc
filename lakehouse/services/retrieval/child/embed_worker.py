"""The thread that embeds and prepares large batches of texts, so that searches do not wait for them."""

from __future__ import annotations

import queue
from collections.abc import Callable
from threading import Thread

from lakehouse.core.errors import ErrUnprocessable
from lakehouse.services.contracts.retrieval import EmbeddedTexts
from lakehouse.services.retrieval.child.pending import CallCancelled, Pending, encode_failure, encode_reply
from lakehouse.services.retrieval.child.texts import TextModel
from lakehouse.services.retrieval.child.writer import Outcome
from lakehouse.services.retrieval.messages import Embed

FEW_TEXTS = 16
"""Texts that the main thread embeds itself: they take less time than the way to the thread and back."""


def embed(pending: Pending, call: Embed, model: TextModel) -> bytes | None:
    """The body of the reply to a call; None if it was cancelled."""
    try:
        return encode_reply(_embed(call, model, pending.check))
    except CallCancelled:
        return None
    except Exception as error:  # noqa: BLE001 - reported to the caller
        return encode_failure(error)


def _embed(call: Embed, model: TextModel, check: Callable[[], None]) -> EmbeddedTexts:
    loaded = model.load()
    tokens = model.tokenize(call.texts, check)
    truncated = [at for at, one in enumerate(tokens) if len(one) > loaded.max_tokens]
    if truncated and not call.truncate:
        at = truncated[0]
        raise ErrUnprocessable(
            f"`texts[{at}]` has more than {loaded.max_tokens} tokens, which is the limit of {loaded.name}",
            field=f"texts[{at}]",
            details={"item": at},
        )
    vectors = model.embed(tokens, check)
    return EmbeddedTexts(
        model=loaded.name,
        dimension=loaded.dimension,
        vectors=vectors.tobytes(),
        tokens=[len(one) for one in tokens],
        truncated=truncated,
    )


Answer = Callable[[Pending], bytes | None]
"""The body of the reply to a call; None if it was cancelled."""


class EmbedWorker:
    """The thread. `report` is called in it with each outcome."""

    def __init__(self, report: Callable[[list[Outcome]], None]) -> None:
        self._report = report
        self._queue: queue.SimpleQueue[tuple[Pending, Answer]] = queue.SimpleQueue()

    def start(self) -> None:
        """Start the thread, which ends with the process."""
        Thread(target=self._run, daemon=True, name="embed").start()

    def put(self, pending: Pending, answer: Answer) -> None:
        """Queue a call."""
        self._queue.put((pending, answer))

    def _run(self) -> None:
        while True:
            pending, answer = self._queue.get()
            self._report([Outcome(pending, answer(pending))])
