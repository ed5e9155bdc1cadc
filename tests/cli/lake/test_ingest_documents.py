"""`lakehouse ingest` of documents and of folders, with a service that has the folder of the lake open."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote_plus

import pytest

from lakehouse.cli.lake.folders import Folder, Upload, plan
from tools.kit.command import lakehouse, lakehouse_on_a_terminal
from tools.kit.scripted_lake import ScriptedLake, scripted_lake


@pytest.fixture
async def lake(tmp_path: Path) -> AsyncIterator[ScriptedLake]:
    (tmp_path / "lakehouse.toml").write_text('[lake]\npath = "lake"\n')
    async with scripted_lake(tmp_path / "lake") as running:
        yield running


def make_folder(folder: Path) -> None:
    """Two documents, one below another folder, and files that are none or hidden."""
    (folder / "docs/sub").mkdir(parents=True)
    (folder / "docs/.git").mkdir()
    for name in ("a.md", "sub/b.txt", "sub/c.csv", "d.png", ".hidden.md", ".git/config.md"):
        (folder / "docs" / name).write_text(f"text of {name}")


async def test_a_folder_is_one_corpus(lake: ScriptedLake, tmp_path: Path) -> None:
    make_folder(tmp_path)
    ran = await lakehouse("ingest", "docs/", cwd=tmp_path)
    assert (ran.status, ran.out) == (
        0,
        "docs: 4 passages of 2 files, 4 in the corpus, embedding model wordllama-256\n",
    )
    assert ran.err == "skipped, as no documents: d.png, sub/c.csv\n"
    sent = sorted((query["source"], query["format"], query["name"]) for query in lake.queries)
    assert sent == [("a.md", "markdown", "docs"), ("sub%2Fb.txt", "text", "docs")]
    assert any(b"text of sub/b.txt" in body for body in lake.received)


async def test_a_refused_file_does_not_end_the_others(lake: ScriptedLake, tmp_path: Path) -> None:
    make_folder(tmp_path)
    lake.refused = "a.md"
    lake.warnings = [{"column": None, "line": None, "message": "page 2 without text"}]
    ran = await lakehouse("ingest", "--name", "kb", "--model", "all-minilm-l6-v2", "docs", cwd=tmp_path)
    assert ran.status == 1
    assert ran.out.startswith("kb: 2 passages of 1 file, ")
    assert "docs/a.md: ErrUnprocessable: the PDF has no text" in ran.err
    assert "warning: docs/sub/b.txt: page 2 without text" in ran.err
    assert {query["model"] for query in lake.queries} == {"all-minilm-l6-v2"}


async def test_single_documents_beside_tables(lake: ScriptedLake, tmp_path: Path) -> None:
    for name in ("Q3 report.pdf", "b.csv", "c.txt"):
        (tmp_path / name).write_text("x\n1\n")
    ran = await lakehouse("ingest", "Q3 report.pdf", "b.csv", cwd=tmp_path)
    assert ran.status == 0
    assert ran.out.splitlines()[0] == (
        "Q3_report: 2 passages from 3 pages of Q3 report.pdf, 2 in the corpus, embedding model wordllama-256"
    )
    assert ran.out.splitlines()[1].startswith("b: 1,204 rows")
    ran = await lakehouse(
        "ingest", "--json", "--format", "text", "--name", "notes", "c.txt", "-", cwd=tmp_path, stdin="x"
    )
    assert [json.loads(line)["source"] for line in ran.out.splitlines()] == ["c.txt", "standard input"]
    assert [unquote_plus(query["source"]) for query in lake.queries[-2:]] == ["c.txt", "standard input"]


async def test_parameters_of_tables_reach_the_service_which_refuses_them(lake: ScriptedLake, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("text")
    await lakehouse("ingest", "--type", "a=VARCHAR", "--skip", "1", "a.md", cwd=tmp_path)
    (sent,) = lake.queries
    assert (unquote_plus(sent["types"]), sent["skip"]) == ('{"a":"VARCHAR"}', "1")
    assert "mode" not in sent


async def test_progress_of_a_folder_on_a_terminal(lake: ScriptedLake, tmp_path: Path) -> None:
    make_folder(tmp_path)
    ran = await lakehouse_on_a_terminal("ingest", "docs", cwd=tmp_path)
    assert ran.status == 0
    assert "docs: 4 passages of 2 files" in ran.out


async def test_folders_without_documents_and_files_that_are_missing(lake: ScriptedLake, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = await lakehouse("ingest", "empty", cwd=tmp_path)
    assert (ran.status, ran.out, ran.err) == (1, "", "empty: the folder has no documents\n")
    ran = await lakehouse("ingest", "missing.md", cwd=tmp_path)
    assert (ran.status, ran.err) == (1, "missing.md: No such file or directory\n")
    ran = await lakehouse("ingest", "--format", "text", "-", cwd=tmp_path)
    assert ran.status == 2
    assert "--name" in ran.err
    assert lake.queries == []


def test_what_an_argument_means(tmp_path: Path) -> None:
    make_folder(tmp_path)
    folder = plan(str(tmp_path / "docs"), name=None, file_format=None)
    assert isinstance(folder, Folder)
    assert folder.name == "docs"
    assert [upload.source for upload in folder.uploads] == ["a.md", "sub/b.txt"]
    assert plan("x.HTML", name=None, file_format=None) == Upload("x.HTML", "x", "html", "x.HTML")
    assert plan("x.txt", name=None, file_format=None) == Upload("x.txt", "x")
    assert plan("x.md", name="t", file_format="csv") == Upload("x.md", "t")
    assert plan("-", name="n", file_format="markdown") == Upload("-", "n", "markdown", "standard input")
