"""The fast paths and the full reader of chat completions agree on which fields an answer may have beside its text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lakehouse.chat.dialects.chat_completions.chunk_fast_path import ChunkFastPath
from lakehouse.chat.dialects.chat_completions.completion_fast_path import decode_text_only
from lakehouse.chat.dialects.chat_completions.decode import CompletionReader
from lakehouse.chat.dialects.chat_completions.text_only_fields import (
    NON_TEXT_FIELDS,
    TextOnlyChoice,
    TextOnlyDocument,
)
from lakehouse.chat.dialects.decoding.event_parser import raise_for_error
from lakehouse.chat.dialects.quirks import Quirks


class RecordingDict(dict[str, Any]):
    """Records the keys that are read."""

    def __init__(self, **items: Any) -> None:
        super().__init__(items)
        self.read: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.read.add(str(key))
        return super().__contains__(key)


def test_the_table_has_exactly_the_fields_that_the_full_reader_accesses() -> None:
    message = RecordingDict(role="assistant")  # without text, so that the reader does not consult the table itself
    choice = RecordingDict(message=message)
    document = RecordingDict(choices=[choice])
    raise_for_error(document, provider="p")
    CompletionReader(Quirks()).read_event(document, b"")
    assert message.read == {"content", *NON_TEXT_FIELDS}
    assert choice.read == {"delta", "message", "finish_reason", *TextOnlyChoice.__struct_fields__}
    metadata = {"type", "object", "usage", "service_tier", "system_fingerprint"}
    assert document.read == {"choices", *metadata, *TextOnlyDocument.__struct_fields__}


FIELDS = [
    *(("message", name) for name in NON_TEXT_FIELDS),
    *(("choice", name) for name in TextOnlyChoice.__struct_fields__),
    *(("document", name) for name in TextOnlyDocument.__struct_fields__),
]


@pytest.mark.parametrize("message_key", ["message", "delta"])
@pytest.mark.parametrize(("level", "name"), FIELDS)
def test_a_field_with_content_is_left_to_the_full_reader(level: str, name: str, message_key: str) -> None:
    def build(value: object) -> bytes:
        levels: dict[str, dict[str, Any]] = {"message": {"content": "Hello"}, "choice": {}, "document": {}}
        levels[level][name] = value
        choice = {message_key: levels["message"], **levels["choice"]}
        return json.dumps({"choices": [choice], **levels["document"]}).encode()

    def is_fast(body: bytes) -> bool:
        if message_key == "delta":
            return bool(ChunkFastPath().decode_text(body))
        return decode_text_only(body, Quirks()) is not None

    assert is_fast(build(None))
    assert not any(is_fast(build(value)) for value in ("x", 1, [{"x": 1}], {"x": 1}))
