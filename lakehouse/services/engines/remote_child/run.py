"""The target of a remote engine's child."""

from __future__ import annotations

from importlib import import_module

import msgspec

from lakehouse.process.bootstrap import Startup
from lakehouse.process.calls.rpc_child import serve_calls
from lakehouse.services.engines.database import open_database
from lakehouse.services.engines.remote_child.engine import RemoteEngine
from lakehouse.services.engines.remote_child.source import Source
from lakehouse.services.engines.remote_messages import SourceSettings


def run(startup: Startup) -> None:
    """Open the database and the source, and answer calls until standard input ends."""
    database, settings = open_database(startup.settings)
    source = make_source(msgspec.json.decode(settings.target, type=SourceSettings))
    engine = RemoteEngine(database, source, spill=settings.database.spill)
    database.execute("SELECT 1").fetchall()  # the first statement of a database is slow
    serve_calls(startup, engine.handle, interrupt=engine.interrupt)


def make_source(settings: SourceSettings) -> Source:
    """Make the source by the name of its class, which is called with the settings. It connects with the first call."""
    module, _, name = settings.source.partition(":")
    source: Source = getattr(import_module(module), name)(settings)
    return source
