"""The Ollama of the services: as much of one as the former daemon's tests had, with an embedding model of 768 numbers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from hashlib import sha256

from tools.kit.scripted_ollama import scripted_ollama

MODEL = "nomic-embed-text"
DIMENSION = 768


def embed(text: str) -> list[float]:
    """A vector that depends on the text only, not of unit length."""
    digest = sha256(text.encode()).digest()
    return [digest[n % 32] / 16 - 8 + n / 1024 for n in range(DIMENSION)]


def open_fake_ollama() -> AbstractContextManager[str]:
    """The URL of the server, for the length of the block."""
    return scripted_ollama(embed, MODEL, legacy=True)
