"""The search for rows by words: the statement in a real lake, keys, and what names and texts cannot do to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import lakehouse
from lakehouse.ask.table_search import Column, FoundRow, find_words, make_statement, read_rows, searched_columns

TEAMS = (
    "team,usual_model,daily_budget_usd,note\n"
    "search,plover-mini,0.25,Ranks results\n"
    "support,plover-large,1.80,Answers customers' letters about searching\n"
    'coding,tern-coder,2.40,"two\nlines"\n'
    "reports,heron-70b,1.10,\n"
    "Büro,heron-8b,0.00,Café\n"
)
QUEER = 'row,"say ""hi""",text,id\n1,x); DROP TABLE teams; --,alpha,k1\n2,y,alpha alpha,k2\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture
async def lake(folder: Path) -> AsyncIterator[lakehouse.Lake]:
    async with lakehouse.open_lake(folder) as opened:
        await opened.ingest("teams", TEAMS.encode(), file_name="teams.csv")
        await opened.ingest("odd/rows", QUEER.encode(), file_name="rows.csv")
        await opened.ingest("long", b"id,text\nheron," + b"still " * 200_000 + b"\n", file_name="long.csv")
        yield opened


async def search(lake: lakehouse.Lake, table: str, question: str, limit: int = 5) -> list[FoundRow]:
    described = await lake.sql(f'SELECT * FROM "{table}" LIMIT 0')
    columns = searched_columns([Column(column.name, column.type) for column in described.columns])
    statement = make_statement(table, columns, find_words(question), limit)
    found = await lake.sql(statement.sql, statement.params)
    return list(read_rows(table, columns, found.rows))


async def test_rows_are_found_by_whole_words_and_rare_words_count_more(lake: lakehouse.Lake) -> None:
    (row,) = await search(lake, "teams", "What is the budget of the team search?")
    assert row == FoundRow(
        0, "0", None, "team: search\nusual_model: plover-mini\ndaily_budget_usd: 0.25\nnote: Ranks results"
    )
    assert [row.number for row in await search(lake, "teams", "herons")] == [3, 4]
    assert [row.number for row in await search(lake, "teams", "plover, mini or large?")] == [0, 1]
    assert [row.number for row in await search(lake, "teams", "plover, mini or large?", 1)] == [0]
    assert [row.number for row in await search(lake, "teams", "BÜRO café")] == [4]
    assert [row.number for row in await search(lake, "teams", "2.40")] == [2]
    assert await search(lake, "teams", "the sear arch searched") == []
    (row,) = await search(lake, "teams", "lines")
    assert row.text.endswith("note: two\n  lines")
    (row,) = await search(lake, "teams", "reports")
    assert "note" not in row.text

    (row,) = await search(lake, "long", "herons")
    assert len(row.text) == len("id: heron\ntext: ") + 2001

    # Names with quotes, names that the statement itself uses, and texts that look like SQL.
    rows = await search(lake, "odd/rows", "alpha'; DROP TABLE x; --")
    assert [(row.number, row.key, row.key_column) for row in rows] == [(0, "k1", "id")]
    assert 'say "hi": x); DROP TABLE teams; --' in rows[0].text
    assert len((await lake.sql("FROM teams")).rows) == 5


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What is the budget of Search?", ("budget", "search")),
        ("Teams, teams and a team", ("team",)),
        ("Is it the?", ()),
        ("x y 7 ü", ("ü",)),
        ("status business", ("statu", "business")),
        ("$1 \\b .* (?i) 'a'", ()),
        (" ".join(f"w{number}" for number in range(40)), tuple(f"w{number}" for number in range(12))),
    ],
)
def test_the_words_of_a_question(question: str, words: tuple[str, ...]) -> None:
    assert find_words(question) == words


@pytest.mark.parametrize(
    ("table", "names", "key"),
    [
        ("teams", ["name", "ID"], "ID"),
        ("teams", ["team_id", "x"], "team_id"),
        ("a/orders", ["x", "order_id", "key"], "key"),
        ("orders", ["x"], None),
    ],
)
def test_the_key_of_a_row(table: str, names: list[str], key: str | None) -> None:
    columns = [Column(name, "VARCHAR") for name in names]
    (row,) = read_rows(table, columns, [[7, 1.0, *(f"value of {name}" for name in names)]])
    assert (row.key, row.key_column) == (f"value of {key}" if key else "7", key)


def test_a_row_that_matches_much_less_is_left_out_and_long_values_are_cut() -> None:
    columns = [Column("text", "VARCHAR"), Column("image", "BLOB")]
    assert searched_columns(columns) == (columns[0],)
    rows = list(read_rows("t", columns[:1], [[3, 2.0, "x" * 3000], [4, 1.0, "y"], [5, 0.9, "z"]]))
    assert [row.number for row in rows] == [3, 4]
    assert len(rows[0].text) == len("text: ") + 2001
