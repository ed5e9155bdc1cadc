"""Streams in every form over every dialect, at the level of bytes: any split, any truncation, and what is relayed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from lakehouse.chat.api.protocols import Query
from lakehouse.chat.api.relay import RelayingEncoder
from lakehouse.chat.dialects.base import Dialect
from lakehouse.chat.dialects.call_codec import CallCodec
from lakehouse.chat.dialects.chat_completions.dialect import CHAT_COMPLETIONS
from lakehouse.chat.dialects.messages.dialect import MESSAGES
from lakehouse.chat.dialects.ollama.dialect import OLLAMA
from lakehouse.chat.dialects.quirks import Quirks
from lakehouse.chat.dialects.relay.relay_codec import RelayCodec
from lakehouse.chat.dialects.responses.dialect import RESPONSES
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.pieces import Done, Piece
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.core.errors import LakehouseError
from tests.chat.forms.client_forms import FAILED, FORMS, ClientForm
from tests.chat.forms.provider_dialects import DIALECTS, ProviderDialect
from tools.kit.examples import count_examples
from tools.kit.fake_dispatcher import FACTS, FakePieces

WIRES: Mapping[str, Dialect] = {dialect.form: dialect for dialect in (CHAT_COMPLETIONS, MESSAGES, RESPONSES, OLLAMA)}
QUIRKS = Quirks(provider="p", reasoning_details=True, reasoning_key="reasoning_content")
RANDOM = re.compile(
    rb"(?<=[\"_-])[0-9a-f]{24,}|\"created(_at)?\":(\d+|\"[^\"]+\")|\"completed_at\":\d+|\"\w+_duration\":\d+"
)
"""Ids and times of rebuilt answers."""

every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
dialects = st.sampled_from(DIALECTS)


def serve(form: ClientForm, dialect: ProviderDialect, reads: Sequence[bytes]) -> bytes:
    """What a client is sent for a provider's stream that is read in these pieces; nothing if no piece came before a
    failure."""
    asked = form.ask(dialect.requested, form.say("Hello?"), stream=True, tools=True)
    body = json.dumps(asked).encode()
    query, relayed = form.format.parse(body), form.format.relayed_form
    assert isinstance(query, Query)
    assert relayed is not None
    raw = RawRequest(form=relayed.form, body=body, headers=(), include_usage=query.include_usage)
    options: Any = {"model": dialect.model, "stream": True, "quirks": QUIRKS}
    wire = WIRES[dialect.name]
    codec = RelayCodec.create(wire, query.request, raw, **options) or CallCodec(wire, query.request, **options)
    assert isinstance(codec, RelayCodec) == (form.name == dialect.name)
    encoder = RelayingEncoder(partial(form.format.make_encoder, query, "r1"), observed=relayed.observed)
    parser, sent, pieces = codec.make_parser(), b"", FakePieces(())
    try:
        for data in reads:
            if batch := parser.feed(data):
                sent += encoder.encode_events(list[Piece](batch), pieces)
        last: list[Piece] = [*parser.flush()]
        last.append(make_done(parser.end()))
        sent += encoder.encode_events(last, pieces)
    except LakehouseError as error:
        if sent:
            sent += encoder.encode_error(error)
    return sent


def serve_alike(form: ClientForm, dialect: ProviderDialect, reads: Sequence[bytes]) -> bytes:
    """The same, without what differs in each answer."""
    return RANDOM.sub(b"", serve(form, dialect, reads))


def make_done(answer: ProviderAnswer) -> Done:
    usage = answer.usage
    counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    counts["latency_ms"] = 3_600_000  # longer than any of these streams, so that no duration is zero
    reason = "tool_calls" if answer.tool_calls else answer.finish_reason
    return Done(**{**FACTS, **counts, "finish_reason": reason, "reasoning_details": answer.reasoning_details or UNSET})


@cache
def serve_whole(form: ClientForm, dialect: ProviderDialect) -> bytes:
    return serve_alike(form, dialect, [dialect.everything[1]])


@every_form
@settings(max_examples=count_examples(60))
@given(dialect=dialects, cuts=st.lists(st.integers(0, 9000), max_size=12))
def test_any_split_gives_the_same_bytes(form: ClientForm, dialect: ProviderDialect, cuts: list[int]) -> None:
    data = dialect.everything[1]
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    reads = [data[begin:end] for begin, end in pairwise(edges) if begin < end]
    assert serve_alike(form, dialect, reads) == serve_whole(form, dialect)


@every_form
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: f"over_{dialect.name}")
def test_single_bytes_give_the_same_bytes(form: ClientForm, dialect: ProviderDialect) -> None:
    data = dialect.everything[1]
    reads = [data[at : at + 1] for at in range(len(data))]
    assert serve_alike(form, dialect, reads) == serve_whole(form, dialect)


ENDS = {
    "chat_completions": b'"delta": {}, "finish_reason": "tool_calls"',
    "messages": b'{"type": "message_stop"',
    "responses": b'{"type": "response.completed"',
    "ollama": b'"done_reason": "stop"',
}
"""What stands in the event without which a stream is not complete."""


@every_form
@settings(max_examples=count_examples(80))
@given(dialect=dialects, at=st.integers(0, 9000), reads=st.integers(1, 3))
def test_any_truncation_ends_in_a_failure(form: ClientForm, dialect: ProviderDialect, at: int, reads: int) -> None:
    data = dialect.everything[1]
    cut = data[: at % data.index(ENDS[dialect.name])]
    size = len(cut) // reads + 1
    sent = serve(form, dialect, [cut[start : start + size] for start in range(0, len(cut), size)])
    if sent:  # else the request is answered by an error
        assert form.read_stream(sent.decode()).reason == FAILED


@every_form
@settings(max_examples=count_examples(40))
@given(name=st.text(max_size=12), cuts=st.lists(st.integers(0, 9000), max_size=6))
def test_relayed_bytes_differ_in_the_name_of_the_model_only(form: ClientForm, name: str, cuts: list[int]) -> None:
    dialect = next(dialect for dialect in DIALECTS if dialect.name == form.name)
    named = f'"model": {json.dumps(name)}'.encode()
    data = dialect.everything[1].replace(b'"model": "m"', named)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    sent = serve(form, dialect, [data[begin:end] for begin, end in pairwise(edges) if begin < end])
    shown = dialect.requested if form.name in ("messages", "ollama") else dialect.model
    expected = dialect.everything[1].replace(b'"model": "m"', f'"model": {json.dumps(shown)}'.encode())
    assert sent == expected
