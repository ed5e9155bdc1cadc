"""The request of an ask."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.core.session_identity import SessionField

MAX_PASSAGES = 50
"""A greater `k` is lowered to this: more passages than that do not fit into a prompt."""

MAX_QUESTION = 20_000
"""Characters of a question. An embedding model reads the beginning of a text of that length."""

MAX_CORPORA = 256
MAX_TABLES = 16


class AskRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question, and where its answer is to be found.

    `corpora` are names of indexes; None means all that hold texts. The rows of `tables` are searched by word. At most
    `k` passages are given to `model`, which is a name as in a chat, None for the default; `fallbacks` are tried after
    it. `session` is the run that the ask belongs to. Raises ValueError with the name of the field that is wrong.
    """

    question: str
    corpora: tuple[str, ...] | None = None
    tables: tuple[str, ...] = ()
    model: str | None = None
    fallbacks: tuple[str, ...] = ()
    k: int = 6
    stream: bool = False
    session: str | SessionField | None = None

    def __post_init__(self) -> None:
        if not self.question.strip():
            raise ValueError("`question` must not be empty")
        if len(self.question) > MAX_QUESTION:
            raise ValueError(f"`question` must have at most {MAX_QUESTION} characters")
        if self.model is not None and not self.model.strip():
            raise ValueError("`model` must name a model, or be left out")
        if self.k < 1:
            raise ValueError("`k` must be at least 1")
        _check_names("corpora", self.corpora or (), MAX_CORPORA)
        _check_names("tables", self.tables, MAX_TABLES)
        if self.corpora == () and not self.tables:
            raise ValueError("`corpora` must not be empty without `tables`: there is nothing to search")

    @property
    def limit(self) -> int:
        """The number of passages that are given to the model at most."""
        return min(self.k, MAX_PASSAGES)


def _check_names(field: str, names: Sequence[str], most: int) -> None:
    if len(names) > most:
        raise ValueError(f"`{field}` must have at most {most} names")
    for position, name in enumerate(names):
        if not name.strip():
            raise ValueError(f"`{field}[{position}]` must not be empty")
    if len(set(names)) < len(names):
        raise ValueError(f"`{field}` must not name anything twice")
