"""Details of reasoning in one opaque string: they come back unchanged, and a changed string gives none."""

from __future__ import annotations

import pytest

from lakehouse.chat.api.reasoning_envelope import decode_details, encode_details, is_envelope
from lakehouse.chat.model.parts import JsonObject

ENTRIES: list[JsonObject] = [
    {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA==", "summary": [{"text": "größer"}]},
    {"type": "thinking", "thinking": "…", "signature": "EqQB"},
]


def test_the_entries_come_back_unchanged() -> None:
    envelope = encode_details(ENTRIES)
    assert envelope.isascii()
    assert is_envelope(envelope)
    assert decode_details(envelope) == ENTRIES


def test_a_changed_envelope_has_no_entries() -> None:
    envelope = encode_details(ENTRIES)
    for changed in (envelope[:-3], f"{envelope[:40]}AAAA{envelope[44:]}", f"{envelope}ä", envelope[:25]):
        assert decode_details(changed) == []


@pytest.mark.parametrize("signature", ["", "EqQBCkYIBRgCKkDJ", "lakehouse"])
def test_a_signature_of_a_provider_is_no_envelope(signature: str) -> None:
    assert not is_envelope(signature)
    assert decode_details(signature) is None
