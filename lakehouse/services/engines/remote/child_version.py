"""The version of a server whose client runs in a child: a child asks it, and ends."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from lakehouse.core.errors import ErrNotInstalled, ErrUpstream
from lakehouse.core.extras import install_hint, missing_modules
from lakehouse.process.child import open_child
from lakehouse.process.errors import ChildStartFailed
from lakehouse.process.spec import ChildSpec, Sandbox
from lakehouse.services.engines.hardened import NETWORK_PATHS
from lakehouse.services.engines.remote.secrets import Secrets
from lakehouse.services.engines.remote_messages import SourceSettings, VersionRequest

_SPEC = ChildSpec(
    name="the question for a version",
    target="lakehouse.services.engines.remote_child.version:run",
    sandbox=Sandbox(restrict_files=True, read_paths=NETWORK_PATHS),
)


async def ask_version(settings: SourceSettings, secrets: Secrets, *, modules: tuple[str, ...], extra: str) -> str:
    """Ask the server of an engine. Raises ErrUpstream, ErrNotInstalled; a cancellation ends the child."""
    if absent := missing_modules(*modules):
        raise ErrNotInstalled(f"it {install_hint(extra, absent)}")
    request = VersionRequest(settings=settings, password=secrets.password, token=secrets.token)
    async with open_child(replace(_SPEC, settings=msgspec.json.encode(request))) as child:
        try:
            ready = await child.wait_ready()
        except ChildStartFailed as failure:
            raise ErrUpstream(str(failure)) from None
    return msgspec.json.decode(ready.facts, type=str)
