"""A promotion that kills its process: `python -m tests.services.promotion.killed_run FOLDER TABLE WRITES STEP`.

It does so when the bucket has answered the WRITES-th write, or at a STEP of the switch: `marked`, when the folder has been
marked and nothing registered, or `registered`, when the tables are in the catalog and the folder does not say so yet.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import trio

from lakehouse.services.lake.promoted import Promoted, write_mark
from lakehouse.services.promotion import promoter
from lakehouse.services.warehouse.bucket import Bucket
from lakehouse.upstream.http1.response import UpstreamResponse
from tests.services.promotion.history import promote


def main(folder: Path, table: dict[str, object], writes: int, step: str) -> None:
    """Promote, until the end comes."""
    answered = 0
    send = Bucket._send

    async def send_and_count(bucket: Bucket, method: str, *arguments: Any) -> UpstreamResponse:
        nonlocal answered
        response = await send(bucket, method, *arguments)
        if method in ("PUT", "POST"):
            answered += 1
            if answered == writes:
                die()
        return response

    def mark(path: Path, content: Promoted) -> None:
        if content.state == "promoted" and step == "registered":
            die()
        write_mark(path, content)
        if step == "marked":
            die()

    Bucket._send = send_and_count  # type: ignore[assignment, method-assign]
    setattr(promoter, "write_mark", mark)  # noqa: B010 - it is not one of the names that the module exports
    trio.run(promote, folder, table)


def die() -> None:
    """End this process as nothing else does."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
