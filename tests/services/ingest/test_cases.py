"""Small files as people upload them, and what the write engine makes of each, as a form and as a raw body."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lakehouse.services.contracts.write_engine import ParseOptions
from tests.services.ingest.case_kit import Case, load_cases
from tests.services.ingest.engine_kit import Engine, open_engine


def options_of(case: Case, way: str) -> ParseOptions:
    """The parameters of an upload: a form has the name of the file, a raw body its content type."""
    query = {**case.upload.query, **(case.upload.raw_query if way == "raw" else {})}
    return ParseOptions(
        format=query.get("format", ""),
        file_name=case.upload.file if way == "form" else "",
        content_type="application/octet-stream" if way == "form" else case.upload.content_type,
        encoding=query.get("encoding", ""),
        delimiter=query.get("delimiter", ""),
        quote=query.get("quote", ""),
        null=query.get("null"),
        header={"true": True, "false": False}.get(query.get("header", "")),
        skip=int(query.get("skip", "0")),
        types=list(json.loads(query.get("types", "{}")).items()),
    )


async def find_problems(engine: Engine, cases: list[Case]) -> list[str]:
    """The cases that do not come out as they must, with the reason."""
    problems = []
    for case in cases:
        for way in case.ways:
            answer = await engine.answer(case.upload.body, options_of(case, way))
            try:
                case.check(answer)
            except AssertionError as error:
                problems.append(f"{way} {error}")
    return problems


@pytest.mark.extended
async def test_the_write_engine_makes_of_each_file_what_it_must(tmp_path: Path) -> None:
    """All cases of one upload: types only where every value comes back, warnings with lines, refusals with reasons."""
    cases = [case for case in load_cases() if not case.before]
    assert len(cases) > 70
    async with open_engine(tmp_path / "lake") as engine:
        problems = await find_problems(engine, cases)
    assert not problems, "\n".join(problems)
