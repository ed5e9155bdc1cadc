"""The cases of tests/data/ingest_cases over HTTP, from the upload to SQL: forms and raw bodies in turn."""

from __future__ import annotations

import httpx
import pytest

from tests.services.ingest.case_kit import Answer, Case, Upload, load_cases
from tools.kit.matrices import spread
from tools.kit.shared_lake import SharedLake

CASES = load_cases()


def send(lake: SharedLake, upload: Upload, way: str) -> httpx.Response:
    if way == "form":
        return lake.send("t", upload.body, file=upload.file, query=upload.query)
    query = {**upload.query, **upload.raw_query}
    return lake.send("t", upload.body, content_type=upload.content_type, query=query)


@pytest.mark.parametrize(
    ("number", "case"), spread([pytest.param(number, case, id=case.name) for number, case in enumerate(CASES)], 4)
)
def test_a_case(shared: SharedLake, number: int, case: Case) -> None:
    lake, way = shared.with_new_table(), case.ways[number % len(case.ways)]
    for upload in case.before:
        assert send(lake, upload, way).status_code in (200, 201)
    answer = send(lake, case.upload, way)
    case.check(Answer(answer.status_code, answer.json(), lambda sql: lake.ask(sql.replace("{t}", lake.table))))
    if answer.status_code >= 400 and not case.before:
        assert not lake.exists()
    assert lake.staged() == []
