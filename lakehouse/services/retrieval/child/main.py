"""The process of the engine, a target of `process.bootstrap`. It may be killed at any moment."""

from __future__ import annotations

import logging
import os
import resource
import sys
from pathlib import Path

import msgspec

from lakehouse.process.bootstrap import Startup
from lakehouse.process.scheduling import wake_without_preemption
from lakehouse.services.retrieval.child import store
from lakehouse.services.retrieval.child.embed_worker import EmbedWorker
from lakehouse.services.retrieval.child.engine import Engine
from lakehouse.services.retrieval.child.keyword_writer import open_keyword_writer
from lakehouse.services.retrieval.child.open_indexes import OpenIndexes
from lakehouse.services.retrieval.child.products import select_pack
from lakehouse.services.retrieval.child.texts import TextModel
from lakehouse.services.retrieval.child.transactions import Transactions
from lakehouse.services.retrieval.child.transport import CallTransport
from lakehouse.services.retrieval.child.writer import Writer
from lakehouse.services.retrieval.messages import RetrievalSettings

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that runs Python lets another one run: a write must not delay searches by 5 ms each."""


def run(startup: Startup) -> None:
    """Answer calls until the client's end of the socket closes."""
    settings = msgspec.json.decode(startup.settings, type=RetrievalSettings)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    os.umask(0o077)
    wake_without_preemption()
    sys.setswitchinterval(SWITCH_INTERVAL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    engine = make_engine(settings)
    startup.report_ready()
    engine.run()


def make_engine(settings: RetrievalSettings) -> Engine:
    """Open the folder, and start the threads."""
    folder = Path(settings.directory)
    rows = folder / "rows"
    rows.mkdir(exist_ok=True, mode=0o700)
    writing = store.open_database(folder / store.DATABASE, writer=True)
    reading = store.open_database(folder / store.DATABASE, writer=False)
    model = TextModel(settings.model, settings.model_name)
    transactions = Transactions(writing, rows, model)
    keyword = open_keyword_writer(folder / "keywords", writing, transactions.sequence)
    vector_engine, pack = select_pack()
    transport = CallTransport(settings.descriptor)
    indexes = OpenIndexes(reading, rows, pack, model, keyword, transport.wake)
    writer = Writer(writing, rows, transactions, keyword, transport.report)
    embedder = EmbedWorker(transport.report)
    writer.start()
    embedder.start()
    return Engine(
        transport,
        reading,
        indexes,
        model,
        keyword,
        writer,
        embedder,
        vector_engine,
        max_batch=settings.max_batch,
    )
