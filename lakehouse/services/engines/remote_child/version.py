"""The target of a child that asks a server for its version."""

from __future__ import annotations

import msgspec

from lakehouse.process.bootstrap import Startup
from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.engines.remote_child.run import make_source
from lakehouse.services.engines.remote_child.source import VersionReader
from lakehouse.services.engines.remote_messages import VersionRequest


def run(startup: Startup) -> None:
    """Ask, and report the version as the facts of a child that is ready, or the reason of a failure."""
    request = msgspec.json.decode(startup.settings, type=VersionRequest)
    source = make_source(request.settings)
    if not isinstance(source, VersionReader):
        raise TypeError(f"{request.settings.source} cannot be asked for a version")
    try:
        version = source.read_version(request)
    except CallError as error:
        startup.report_failure(str(error))
    else:
        startup.report_ready(version)
