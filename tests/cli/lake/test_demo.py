"""The lake of `lakehouse serve --demo`: its data, and how it gets into the service."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lakehouse.cli.lake.demo_corpus import QUESTION, demo_items
from lakehouse.cli.lake.demo_data import OUTAGE, demo_tables
from lakehouse.cli.lake.demo_lake import (
    QUERY,
    DemoLakeError,
    NoDemoLake,
    demo_lake,
    fill_demo_lake,
    format_answer,
    query_demo_lake,
    search_demo_lake,
)
from lakehouse.config import Config
from lakehouse.core.errors import ErrBadRequest
from tools.kit.page_service import PageService, page_service


def rows_of(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(demo_tables()[name].decode())))


def config() -> Config:
    plain = Config()
    here = "embedded"
    gateway = replace(plain.gateway, storaged_url=here, catalogd_url=here, ingestd_url=here, queryd_url=here)
    return replace(plain, gateway=gateway)


def test_the_data_is_always_the_same_and_fits_together() -> None:
    assert demo_tables() == demo_tables()
    requests, models, teams = (rows_of(name) for name in ("requests", "models", "teams"))
    assert (len(requests), len(models), len(teams)) == (3812, 5, 5)
    assert {row["model"] for row in requests} == {row["model"] for row in models}
    assert {row["team"] for row in requests} == {row["team"] for row in teams}
    assert [row["time"] for row in requests] == sorted(row["time"] for row in requests)


def test_there_is_an_outage_to_find() -> None:
    first, last = (moment.isoformat(sep=" ") for moment in OUTAGE)
    requests = rows_of("requests")
    failed = [row for row in requests if row["status"] == "502"]
    assert failed
    assert all(first <= row["time"] < last for row in failed)
    fallbacks = [row for row in requests if row["fallback"] == "true"]
    assert {row["model"] for row in fallbacks} == {"heron-70b"}
    assert Counter(row["status"] for row in requests)["499"] > 100


def test_the_handbook_is_about_what_is_in_the_tables() -> None:
    items = demo_items()
    assert len({item["id"] for item in items}) == len(items) == 11
    text = " ".join(str(item["text"]) for item in items)
    for named in (*(row["team"] for row in rows_of("teams")), *(row["model"] for row in rows_of("models"))):
        assert named in text or named == "coding", f"{named} is not in the handbook"


def test_the_folder_is_gone_at_the_end() -> None:
    with demo_lake(config()) as with_folder:
        folder = Path(with_folder.lake.path)
        folder.mkdir()
        (folder / "file").touch()
        assert folder.parent.name.startswith("lakehouse-demo-")
    assert not folder.parent.exists()


async def test_every_table_is_uploaded_and_the_lines_say_what_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_TOKEN", "sesame")
    async with page_service("sesame") as service:
        here = replace(config(), lake=replace(config().lake, path="/a/lake"))
        lines = await fill_demo_lake(here, service.url)
        assert sorted(query["name"] for query in service.lake.queries if query) == ["models", "requests", "teams"]
        assert any(demo_tables()["requests"] in body for body in service.lake.received)
        tables = "models (1,204 rows), requests (1,204 rows), teams (1,204 rows)"
        assert lines[0] == f"demonstration tables: {tables}; corpus: handbook"
        assert lines[1].startswith(
            f"try:  curl {service.url}/v1/sql -H 'authorization: Bearer '\"$LAKEHOUSE_TOKEN\" -H "
        )
        assert "sesame" not in "".join(lines)
        made = {"name": "handbook", "model": "default"}
        assert made in [json.loads(body) for body in service.lake.received if body.startswith(b"{")]
        assert lines[2].startswith(f"and:  curl {service.url}/v1/matrix/context -H ")
        assert lines[3] == "and:  lakehouse sql --lake /a/lake 'FROM teams'"
        found = json.loads(await search_demo_lake(config(), service.url))
        assert [passage["n"] for passage in found["passages"]] == [1, 2]
        assert json.loads(service.lake.received[-1]) == {"query_text": QUESTION, "corpora": ["handbook"], "k": 2}
        answer = await query_demo_lake(config(), service.url)
        assert json.loads(service.lake.received[-1]) == {"sql": QUERY}
    assert json.loads(format_answer(answer)) == json.loads(answer)
    assert '    ["Berlin",1820.5,null],\n' in format_answer(answer)


async def test_a_refused_upload_is_said(service: PageService) -> None:
    service.lake.error = ErrBadRequest("no")
    with pytest.raises(DemoLakeError, match="could not be stored: ErrBadRequest: no"):
        await fill_demo_lake(config(), service.url)


async def test_the_data_is_not_sent_to_a_service_elsewhere(service: PageService) -> None:
    elsewhere = replace(config(), gateway=replace(config().gateway, ingestd_url=service.url))
    with pytest.raises(NoDemoLake, match=r"gateway\.ingestd_url is a URL"):
        await fill_demo_lake(elsewhere, service.url)
    assert service.lake.received == []


@pytest.fixture
async def service():  # type: ignore[no-untyped-def] # noqa: ANN201 - pytest-trio's fixture
    async with page_service() as running:
        yield running
