"""The target of the query engine's child."""

from __future__ import annotations

import msgspec

from lakehouse.process.bootstrap import Startup
from lakehouse.process.calls.rpc_child import serve_calls
from lakehouse.services.engines.database import open_database
from lakehouse.services.engines.query_child.engine import Engine


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`cpu_seconds` is the processor time that one call may take, over all threads."""

    cpu_seconds: int


def run(startup: Startup) -> None:
    """Open the database and answer calls until standard input ends."""
    database, settings = open_database(startup.settings)
    target = msgspec.json.decode(settings.target, type=Settings)
    engine = Engine(database, spill=settings.database.spill, cpu_seconds=target.cpu_seconds)
    database.execute("SELECT 1").fetchall()  # the first statement of a database is slow
    serve_calls(startup, engine.handle, interrupt=engine.interrupt)
