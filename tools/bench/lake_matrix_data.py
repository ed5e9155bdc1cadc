"""The data of the matrix benchmark: workers with vectors of 768 numbers, questions, and a scripted Ollama.

A vector is a function of its text: a few hidden traits, which the SHA-256 of the text seeds, projected into the 768
numbers with some noise. So the data have the low inner dimension of real embeddings, in which a graph can be searched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

DIMENSION = 768
TRAITS = 8
NORM = 21.0
"""Vectors of the original's model were not of unit length."""

MODEL = "bench-embed"
WORKERS = 5_000
QUESTIONS = 200

ROLES = ("welder", "forklift operator", "nurse", "electrician", "picker", "driver", "cook", "packer")
CITIES = ("Chicago", "Houston", "Boston", "Toledo", "Detroit", "Denver", "Austin", "Tulsa", "Reno", "Fargo")


@cache
def _projection() -> NDArray[np.float32]:
    return np.random.default_rng(768).standard_normal((TRAITS, DIMENSION)).astype(np.float32)


def embed_text(text: str) -> NDArray[np.float32]:
    """The vector of a text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    random = np.random.default_rng(seed)
    traits = random.standard_normal(TRAITS).astype(np.float32)
    vector = traits @ _projection() + random.standard_normal(DIMENSION).astype(np.float32)
    return (vector * (NORM / np.linalg.norm(vector))).astype(np.float32)


def make_metadata(number: int) -> Mapping[str, object]:
    """What is stored with a worker."""
    role, city = ROLES[number % len(ROLES)], CITIES[number % len(CITIES)]
    return {"name": f"Worker {number}", "role": role, "city": city, "years": number % 31}


def make_workers(count: int = WORKERS) -> Iterator[Mapping[str, object]]:
    """The items of an index."""
    for number in range(count):
        text = f"worker {number}: " + json.dumps(make_metadata(number))
        yield {
            "id": f"w-{number:05}",
            "vector": [float(value) for value in embed_text(text)],
            "metadata": make_metadata(number),
        }


def make_questions() -> Sequence[str]:
    """The distinct texts of the queries."""
    return [f"who can work as a {ROLES[n % 8]} in {CITIES[n % 10]} from week {n}?" for n in range(QUESTIONS)]
