"""What relay needs to know about a dialect that is also a form of clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.chat.model.request import Request


class StreamChecker(Protocol):
    """Checks one stream: what is not well-formed in the client's form is rebuilt from there on."""

    @property
    def holds(self) -> bool:
        """True if the rest of the stream can only be judged at its end, so that nothing of it may be passed on yet."""

    def check(self, event: bytes) -> bool:
        """Return whether an event of the stream is well-formed. Not called for events with text only, but for the
        first."""

    def check_end(self, answer: ProviderAnswer) -> bool:
        """Return whether the end of the stream, all of whose events are well-formed, says what the answer says."""


class CheckerFactory(Protocol):
    """Creates the checker of one stream."""

    def __call__(self, *, include_usage: bool) -> StreamChecker:
        """Return a new checker. `include_usage`: the client asked for the usage of the stream."""


def add_no_member(_request: Request, _quirks: Quirks) -> bytes:
    """Return no member: the body is the client's."""
    return b""


def decode_no_text(_body: bytes, _quirks: Quirks) -> None:
    """Return None: the reader reads every answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayRules:
    """The rules of one dialect.

    `is_unchanged`: whether the provider takes the request as its client wrote it. Raises `ErrBadRequest` for a request
    that the provider does not support.
    `checks_capabilities`: a request whose messages hold what the provider or dialect cannot represent is rebuilt.
    `own_fields`: names of members that are for this service, which are removed; in quotes.
    `get_added_member`: a member that is added to the body of a streamed request, `"name":value`; empty for none.
    `get_default_member`: a member that is added to the body of any request, because the client left it out and this
    service has a default for it; empty for none.
    `is_withheld`: whether an event is the answer to the added member, so that the client is not sent it.
    `is_well_formed`: whether a whole answer is what clients of the form expect.
    `decode_text`: reads a whole answer that is well-formed and holds text only; None for any other.
    `model_places`: the names of the objects that have the model's name in events; empty for the document itself, which
    has it in whole answers.
    `repeats_model`: answers have the model's name as the client wrote it, not the one that the provider was asked for.
    `end_mark`: what is added to a complete stream that came without its end mark; None: it is rebuilt.
    """

    is_unchanged: Callable[[Request, RawRequest, Quirks], bool]
    checks_capabilities: bool
    own_fields: Sequence[bytes]
    get_added_member: Callable[[RawRequest, Quirks], bytes]
    is_withheld: Callable[[bytes], bool]
    is_well_formed: Callable[[bytes, ProviderAnswer], bool]
    make_checker: CheckerFactory
    model_places: Sequence[str]
    end_mark: bytes | None
    decode_text: Callable[[bytes, Quirks], ProviderAnswer | None] = decode_no_text
    get_default_member: Callable[[Request, Quirks], bytes] = add_no_member
    repeats_model: bool = False
