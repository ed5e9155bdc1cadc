"""`lakehouse search` with a service that has the folder open: the request it sends, and what it prints."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lakehouse.core.errors import ErrBadRequest
from tools.kit.command import lakehouse, lakehouse_on_a_terminal
from tools.kit.scripted_lake import Document, ScriptedLake, scripted_lake

FOUND: Document = {
    "indexes": [{"name": "notes/2026"}],
    "results": [
        {"id": "n1", "distance": 0.25, "metadata": {}, "score": 0.9876, "text": "Tea is picked\nby hand."},
        {"id": "n2", "distance": None, "metadata": {"place": "Assam"}, "score": 0.5},
    ],
    "exact": True,
    "version": 3,
}


@pytest.fixture
async def lake(tmp_path: Path) -> AsyncIterator[ScriptedLake]:
    (tmp_path / "lakehouse.toml").write_text('[lake]\npath = "lake"\n')
    async with scripted_lake(tmp_path / "lake") as running:
        running.answer = FOUND
        yield running


async def test_hits_are_lines_and_the_only_index_needs_no_name(lake: ScriptedLake, tmp_path: Path) -> None:
    ran = await lakehouse_on_a_terminal("search", "who", "picks", "tea", cwd=tmp_path)
    assert ran.status == 0
    assert ran.out.splitlines() == [
        "id  score  distance  text",
        "--  -----  --------  ----------------------",
        "n1  0.988     0.250  Tea is picked by hand.",
        'n2  0.500            {"place": "Assam"}',
    ]
    assert json.loads(lake.received[-1]) == {"text": "who picks tea", "with": ["text", "metadata", "scores"]}


async def test_a_long_text_is_cut_off(lake: ScriptedLake, tmp_path: Path) -> None:
    lake.answer = FOUND | {"results": [{"id": "n1", "distance": 0.25, "text": "many words " * 40}]}
    ran = await lakehouse("search", "words", cwd=tmp_path)
    assert ran.out.splitlines()[-1].endswith("  " + ("many words " * 9)[:97].rstrip() + "...")
    ran = await lakehouse_on_a_terminal("search", "words", cwd=tmp_path)
    assert len(ran.out.splitlines()[-1]) <= 80
    assert "many words " * 40 in (await lakehouse("search", "--json", "words", cwd=tmp_path)).out


async def test_options_become_the_request_and_json_is_the_answer(lake: ScriptedLake, tmp_path: Path) -> None:
    options = ("--index", "a/b", "-k", "3", "--mode", "keyword", "--filter", '{"year": {"gte": 2020}}', "--json")
    ran = await lakehouse("search", *options, "-", cwd=tmp_path, stdin="tea\n")
    assert (ran.status, json.loads(ran.out), ran.err) == (0, FOUND, "")
    assert json.loads(lake.received[-1]) == {
        "text": "tea\n",
        "with": ["text", "metadata", "scores"],
        "k": 3,
        "mode": "keyword",
        "filter": {"year": {"gte": 2020}},
    }
    assert len(lake.received) == 1


async def test_what_cannot_be_searched_is_said(lake: ScriptedLake, tmp_path: Path) -> None:
    ran = await lakehouse("search", "--filter", "{", "tea", cwd=tmp_path)
    assert (ran.status, ran.err.startswith("lakehouse search: --filter is not JSON: ")) == (2, True)
    ran = await lakehouse("search", "-", cwd=tmp_path, stdin=" ")
    assert (ran.status, "there is no text" in ran.err) == (2, True)
    lake.answer = {"indexes": [{"name": "a"}, {"name": "b"}]}
    ran = await lakehouse("search", "tea", cwd=tmp_path)
    assert (ran.status, ran.err) == (2, "lakehouse search: --index NAME is required: the lake has a, b\n")
    lake.answer = {"indexes": []}
    assert "no index yet" in (await lakehouse("search", "tea", cwd=tmp_path)).err
    lake.answer = {"results": []}
    assert (await lakehouse("search", "--index", "a", "tea", cwd=tmp_path)).out == "nothing was found\n"


async def test_an_error_of_the_service_is_status_1(lake: ScriptedLake, tmp_path: Path) -> None:
    lake.error = ErrBadRequest("`k` must be at least 1", field="k")
    ran = await lakehouse("search", "--index", "a", "-k", "0", "tea", cwd=tmp_path)
    assert (ran.status, ran.out, ran.err) == (1, "", "lakehouse: ErrBadRequest: `k` must be at least 1\n")
