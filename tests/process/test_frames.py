"""Frames: any split of the bytes gives the same frames, and what is none is refused at once."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.process.calls.frames import HEADER, Frame, FrameDecoder, FrameError, FrameKind, encode_header

FRAMES = st.builds(Frame, st.sampled_from(FrameKind), st.integers(0, 2**32 - 1), st.binary(max_size=300))


def encode(frames: list[Frame]) -> bytes:
    return b"".join(encode_header(frame.kind, frame.call, len(frame.payload)) + frame.payload for frame in frames)


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(0, 2000), max_size=8))
def test_any_split_gives_the_same_frames(frames: list[Frame], cuts: list[int]) -> None:
    data = encode(frames)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    decoder = FrameDecoder()
    found: list[Frame] = []
    for start, end in pairwise(places):
        found += decoder.feed(data[start:end])
    assert found == frames


@pytest.mark.parametrize("kind", [0, 10, 255])
def test_an_unknown_kind_is_no_frame(kind: int) -> None:
    with pytest.raises(FrameError, match="where a frame should begin"):
        list(FrameDecoder().feed(HEADER.pack(0, kind, 1)))


def test_a_frame_over_the_limit_is_rejected_by_its_header() -> None:
    decoder = FrameDecoder(max_frame=100)
    assert list(decoder.feed(encode([Frame(FrameKind.ITEM, 1, bytes(100))]))) == [Frame(FrameKind.ITEM, 1, bytes(100))]
    with pytest.raises(FrameError, match="a frame of 101 bytes is larger than the 100 that are allowed"):
        list(decoder.feed(encode_header(FrameKind.ITEM, 1, 101)))
