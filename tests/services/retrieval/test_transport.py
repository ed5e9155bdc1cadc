"""The engine's side of the socket: what is sent is what the client's decoder takes."""

from __future__ import annotations

import socket

import msgspec

from lakehouse.services.retrieval.child.pending import Pending
from lakehouse.services.retrieval.child.transport import CallTransport
from lakehouse.services.retrieval.messages import FAILED, MAX_FRAME, OK, Failure, FrameDecoder, Stats


def test_an_answer_too_large_for_a_frame_is_a_failure_of_its_call_alone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = CallTransport(theirs.fileno())
        answers = [OK + b"one", bytes(MAX_FRAME + 1), OK + b"three"]
        transport.answer([(Pending(number, b"", Stats()), body) for number, body in enumerate(answers)])
        replies = dict(FrameDecoder().feed(ours.recv(65536)))
    assert (replies[0], replies[2]) == (OK + b"one", OK + b"three")
    assert replies[1][:1] == FAILED
    failure = msgspec.msgpack.decode(replies[1][1:], type=Failure)
    assert (failure.code, failure.message) == (
        "ErrTooLarge",
        "the answer is larger than 256 MiB: ask for fewer items",
    )
