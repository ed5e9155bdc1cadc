"""The target of the write engine's child: answers one call at a time."""

from __future__ import annotations

import msgspec

from lakehouse.process.bootstrap import Startup
from lakehouse.process.calls.rpc_child import Call, serve_calls
from lakehouse.services.engines.database import open_database
from lakehouse.services.engines.writer_child import messages


def serve_writer(startup: Startup) -> None:
    """Open the database and answer calls."""
    connection, _ = open_database(startup.settings)
    from lakehouse.services.engines.writer_child.dispatch import answer  # imports duckdb

    decoder = msgspec.json.Decoder(messages.Request)

    def handle(call: Call) -> bytes:
        return msgspec.json.encode(answer(connection, decoder.decode(call.payload), call.check_cancelled))

    serve_calls(startup, handle, interrupt=connection.interrupt)
