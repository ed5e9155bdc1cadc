"""The vectors of a slow embedding model, kept in a file from one run of a measurement to the next."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from lakehouse.services.contracts.embedder import Embedder
from tools.kit.retrieval_quality import Vectors

BATCH = 16
FLOAT_SIZE = 4


async def embed_cached(
    embedder: Embedder, model: str, texts: Sequence[str], file: Path, *, progress: Callable[[int, int], None]
) -> Vectors:
    """The vectors of texts. Those that the file lacks are computed and kept; an interrupted run goes on where it was."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
        keys = {text: hashlib.sha256(f"{model}\0{text}".encode()).digest() for text in texts}
        known = dict(connection.execute("SELECT key, vector FROM vectors"))
        missing = [text for text, key in keys.items() if key not in known]
        for start in range(0, len(missing), BATCH):
            progress(start, len(missing))
            part = missing[start : start + BATCH]
            answer = await embedder.embed(part, model=model, truncate=True)
            size = answer.dimension * FLOAT_SIZE
            rows = [(keys[text], answer.vectors[at * size : (at + 1) * size]) for at, text in enumerate(part)]
            with connection:
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
            known.update(rows)
    by_text = {text: bytes(known[key]) for text, key in keys.items()}
    return Vectors(model, len(next(iter(by_text.values()))) // FLOAT_SIZE, by_text)
