"""Fields and chunks: no value becomes a second field, and both ways to write a chunk give the same bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.net.http1.fields import InvalidFieldError, encode_fields, is_token
from lakehouse.net.http1.framing import chunk_pieces, encode_chunk


@given(st.binary(min_size=1))
def test_a_chunk_is_the_same_in_one_buffer_and_in_pieces(data: bytes) -> None:
    assert encode_chunk(data) == b"".join(chunk_pieces(data))


@given(st.lists(st.tuples(st.binary(max_size=5), st.binary(max_size=8)), max_size=4))
def test_fields_are_refused_or_stay_in_their_lines(fields: list[tuple[bytes, bytes]]) -> None:
    valid = all(is_token(name) and not set(value) & set(b"\r\n\0") for name, value in fields)
    if not valid:
        with pytest.raises(InvalidFieldError):
            encode_fields(fields)
        return
    assert encode_fields(fields).split(b"\r\n") == [*[name + b": " + value for name, value in fields], b""]


@pytest.mark.parametrize(
    ("field", "name", "part"),
    [
        ((b"a b", b"c"), b"a b", "name"),
        ((b"", b"c"), b"", "name"),
        ((b"a", b"b\r\nc: d"), b"a", "value"),
        ((b"a", b"b\0"), b"a", "value"),
    ],
)
def test_the_error_names_the_field_at_fault(field: tuple[bytes, bytes], name: bytes, part: str) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        encode_fields([(b"x", b"y"), field])
    assert (caught.value.name, caught.value.part) == (name, part)
