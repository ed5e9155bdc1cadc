"""Hostile statements over HTTP: each has its documented status, and a query beside it is answered all the time."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.services.hostile.service import EVERYTHING, Attacked, canaries, check_refusal
from tests.services.hostile.statements import CRASHES, DEEP, EXHAUSTING, REFUSED

SAMPLE = 16
"""One of so many slow statements runs in the normal suite."""

LIMIT = "3s" if EVERYTHING else "700ms"


def pick(table: Mapping[str, str]) -> list[str]:
    names = list(table)
    return names if EVERYTHING else names[::SAMPLE]


def test_the_tables_are_long_enough() -> None:
    """A statement stands in one table only."""
    statements = [statement for table in REFUSED.values() for statement in table]
    statements += [*EXHAUSTING.values(), *DEEP.values(), *CRASHES.values()]
    assert len(statements) == len(set(statements))
    assert len(statements) >= 150


@pytest.mark.parametrize("kind", REFUSED)
def test_statements_that_do_more_than_read_tables(attacked: Attacked, kind: str) -> None:
    """403; 400 where the engine's parser or binder does not know the words."""
    statuses = []
    with canaries(attacked):
        for statement in REFUSED[kind]:
            answer = attacked.sql(statement)
            assert answer.status_code in (400, 403), (statement, answer.text)
            message = check_refusal(attacked, answer)
            assert "/etc/passwd:" not in message
            statuses.append(answer.status_code)
    attacked.check_sound()
    assert statuses.count(403) > len(statuses) / 2, statuses


@pytest.mark.parametrize("name", pick(EXHAUSTING))
def test_statements_that_use_everything_up(attacked: Attacked, name: str) -> None:
    """422 at a limit of the engine, 504 at that of time, 400 for a limit of a function; small answers are 200."""
    with canaries(attacked):
        answer = attacked.attack(EXHAUSTING[name], timeout=LIMIT, max_rows=1)
        assert answer.status_code in (200, 400, 422, 504), answer.text[:2000]
        if answer.status_code != 200:
            check_refusal(attacked, answer)
    assert answer.elapsed.total_seconds() < 20
    attacked.check_sound()


@pytest.mark.parametrize("name", pick(DEEP))
def test_statements_that_are_deep_or_long(attacked: Attacked, name: str) -> None:
    with canaries(attacked):
        answer = attacked.attack(DEEP[name], timeout=LIMIT, max_rows=1)
        assert answer.status_code in (200, 400, 422, 504), answer.text[:2000]
        if answer.status_code != 200:
            assert len(check_refusal(attacked, answer)) < 5000
    attacked.check_sound()


@pytest.mark.parametrize("name", pick(CRASHES))
def test_statements_that_crash_an_engine(attacked: Attacked, name: str) -> None:
    with canaries(attacked):
        answer = attacked.attack(CRASHES[name], timeout=LIMIT, max_rows=1)
        assert answer.status_code in (200, 400, 403, 422, 504), answer.text[:2000]
        if answer.status_code != 200:
            check_refusal(attacked, answer)
    attacked.check_sound()
