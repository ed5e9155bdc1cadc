"""What both ends of a WebSocket share."""

from __future__ import annotations

import pytest
import trio
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from lakehouse.net.websocket import FrameSender, MessageAssembler, MessageTooLarge, accept_key, close_event


def test_the_accept_key_is_that_of_the_rfc() -> None:
    assert accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_fragments_become_messages() -> None:
    assembler = MessageAssembler(10)
    assert assembler.feed(TextMessage(data="he", message_finished=False)) is None
    assert assembler.feed(TextMessage(data="llo")) == "hello"
    assert assembler.feed(BytesMessage(data=b"x" * 10)) == b"x" * 10
    assert assembler.feed(BytesMessage(data=b"x" * 9, message_finished=False)) is None
    with pytest.raises(MessageTooLarge):
        assembler.feed(BytesMessage(data=b"xx", message_finished=False))


@pytest.mark.parametrize("code", [1005, 1006, 1015])
def test_a_code_that_is_never_sent_becomes_a_close_without_a_code(code: int) -> None:
    assert close_event(code, "").code is CloseReason.NO_STATUS_RCVD


async def test_nothing_follows_a_close_but_the_answer_to_the_peers() -> None:
    server, client = Connection(ConnectionType.SERVER), Connection(ConnectionType.CLIENT)
    sent: list[bytes] = []

    async def write(data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(data)

    sender = FrameSender(server, write)
    server.receive_data(client.send(CloseConnection(code=1000)))
    assert [type(event) for event in server.events()] == [CloseConnection]
    await sender.send(Ping())
    assert sent == []
    await sender.send(close_event(1000))
    await sender.send(close_event(1000))
    assert len(sent) == 1
