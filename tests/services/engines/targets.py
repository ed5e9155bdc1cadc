"""Targets of the engines' tests: they run in the child."""

from __future__ import annotations

from lakehouse.process.bootstrap import Startup
from lakehouse.process.calls.rpc_child import Call, serve_calls
from lakehouse.services.engines.database import open_database


def run_statements(startup: Startup) -> None:
    """Run each request as a statement, without any check, and return what it yields or how it fails."""
    connection, _ = open_database(startup.settings)

    def handle(call: Call) -> bytes:
        try:
            return repr(connection.execute(call.payload.decode()).fetchall()).encode()
        except Exception as error:  # noqa: BLE001 - the test reads it
            return f"{type(error).__name__}: {error}".encode()

    serve_calls(startup, handle, interrupt=connection.interrupt)
