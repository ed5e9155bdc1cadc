"""Corrupt files: each is accepted with the right content or refused with a sentence, and a canary beside is served."""

from __future__ import annotations

import pytest

from tests.services.hostile.corrupt_files import BOMBS, ROWS, VALID_FILES, flip, truncate, valid_bytes
from tests.services.hostile.service import EVERYTHING, Attacked, canaries, check_refusal

FLIPS, CUTS = (80, 40) if EVERYTHING else (3, 2)
FORMATS = list(VALID_FILES) if EVERYTHING else ["csv.gz", "json", "parquet", "arrow"]
"""The normal suite has one of each kind of file, and of each compression."""


def read(attacked: Attacked, name: str) -> list[list[object]]:
    """All rows of a table, in an order of their own."""
    return attacked.rows(f"SELECT t::VARCHAR AS row FROM {name} t ORDER BY row")


def upload(attacked: Attacked, body: bytes, place: str) -> tuple[str, int] | None:
    """The table of a file that was taken and the count of its rows, all of which can be read; None if refused."""
    name = f"corrupt{next(attacked.numbers)}"
    answer = attacked.upload(name, body)
    if answer.status_code == 201:
        counted = attacked.rows(f"SELECT count(*), min(length(t::VARCHAR)) >= 0 FROM {name} t")
        assert counted[0][0] == answer.json()["row_count"], place
        return name, answer.json()["row_count"]
    assert answer.status_code in (413, 415, 422), (place, answer.text)
    check_refusal(attacked, answer)
    manifest = attacked.http.get(f"/v1/catalog/manifest/{name}")
    assert manifest.status_code == 404, place
    return None


@pytest.mark.parametrize("name", FORMATS)
def test_flipped_bits(attacked: Attacked, name: str) -> None:
    valid = upload(attacked, valid_bytes(name), name)
    assert valid is not None
    assert valid[1] == ROWS
    content = read(attacked, valid[0])
    taken = 0
    with canaries(attacked, uploads=True):
        for number, body in flip(name, FLIPS):
            found = upload(attacked, body, f"{name} {number}")
            if found is not None:
                taken += 1
                if VALID_FILES[name].checked:
                    assert read(attacked, found[0]) == content, number
    assert taken < FLIPS or name in ("csv", "parquet", "parquet zstd", "parquet plain", "arrow", "arrow stream")
    attacked.check_sound()


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_files(attacked: Attacked, name: str) -> None:
    """A truncated file is refused, where the format shows it; complete lines are rows."""
    with canaries(attacked, uploads=True):
        for place, body in truncate(name, CUTS):
            found = upload(attacked, body, f"{name} cut at {place}")
            if VALID_FILES[name].ends:
                assert found is None, place
            elif found is not None:
                lines = body.splitlines()
                assert found[1] == len(lines) - (name == "csv"), place
    attacked.check_sound()


@pytest.mark.parametrize("name", list(BOMBS) if EVERYTHING else list(BOMBS)[::12])
def test_bombs(attacked: Attacked, name: str) -> None:
    make, statuses = BOMBS[name]
    body = make()
    with canaries(attacked, uploads=True):
        table = f"bomb{next(attacked.numbers)}"
        answer = attacked.upload(table, body)
        assert answer.status_code in statuses, answer.text[:1000]
        if answer.status_code >= 400:
            assert len(check_refusal(attacked, answer)) < 2000
        else:
            assert attacked.rows(f"SELECT count(*) FROM {table}") == [[answer.json()["row_count"]]]
            assert attacked.http.delete(f"/v1/catalog/tables/{table}").status_code in (200, 204)
    attacked.check_sound()
