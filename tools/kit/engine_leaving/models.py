"""Models in processes of the service: the demonstration model of llama.cpp, and the embedding model."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from lakehouse.core.extras import missing_modules
from tools.kit.engine_leaving.engines import Engine, Setup
from tools.kit.engine_leaving.left_work import Work, make_request
from tools.kit.left_work import make_text

CHATS, TOKENS = 4, 30_000
BATCHES, TEXTS, WORDS = 4, 4_000, 100


def make_chat(tokens: int) -> bytes:
    """A chat that is streamed."""
    said = [{"role": "user", "content": "hello"}]
    document = {"model": "local/demo", "messages": said, "max_tokens": tokens, "stream": True}
    return make_request("/v1/chat/completions", document)


def open_llama(folder: Path, _stack: ExitStack) -> Setup:
    """The demonstration model."""
    return Setup(
        tables={
            "lake": {"path": str(folder / "lake")},
            "chatd": {"default": "local", "ollama_url": ""},
            "chatd.local": {"demo": True},
        },
        works=[Work(name=f"{CHATS} chats", requests=[make_chat(TOKENS)] * CHATS, first=0.3, last=1.0)],
        before=[make_chat(8)],
    )


def open_embedding(folder: Path, _stack: ExitStack) -> Setup:
    """The embedding model, without its cache."""

    def embed(count: int) -> bytes:
        texts = [make_text(number, WORDS) for number in range(count)]
        return make_request("/v1/embed", {"texts": texts, "encoding": "base64"})

    return Setup(
        tables={"lake": {"path": str(folder / "lake")}, "embedd": {"cache_size": 0}},
        works=[Work(name=f"{BATCHES} batches of {TEXTS:,} texts", requests=[embed(TEXTS)] * BATCHES, last=1.0)],
        before=[embed(1)],
    )


MODELS = {
    "llama": Engine(
        title="llama.cpp",
        find_missing=partial(missing_modules, "xllamacpp", "gguf", "numpy"),
        open=open_llama,
    ),
    "embedding": Engine(title="embedding model", find_missing=list, open=open_embedding),
}
