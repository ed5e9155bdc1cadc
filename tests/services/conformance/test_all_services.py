"""What holds for every service, on each way to it: health, the same bytes, mistakes, and what a kill leaves."""

from __future__ import annotations

import hashlib

import httpx
import pytest

from tests.services.conformance.lakes import Lake, Route, wait_for_service
from tests.services.conformance.rooms import ROOMS, Exchange, Room

SAME = [(room, exchange) for room in ROOMS for exchange in room.same]


def rooms() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.service)


def _read(route: Route, exchange: Exchange) -> tuple[int, str, str, httpx.Response]:
    headers = {**exchange.headers, "x-request-id": "golake-003"}
    answer = route.request(exchange.method, exchange.path, content=exchange.content, headers=headers)
    return answer.status_code, answer.headers["content-type"], hashlib.sha256(answer.content).hexdigest(), answer


@rooms()
def test_golake_001_002_the_health_names_the_service(lake: Lake, room: Room) -> None:
    for route in (lake.through(room.service), lake.beside(room.service)):
        wait_for_service(route, room.health)
        answers = [route.request("GET", room.health) for _ in range(3)]
        for answer in answers:
            assert (answer.status_code, answer.json()) == (200, {"status": "ok", "service": room.service})
        assert min(answer.elapsed.total_seconds() for answer in answers) < 0.5
    host = {"embedded": "gateway", "proxied": "gateway", "daemons": room.service}[lake.name]
    answer = lake.through(room.service).http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "service": host})


@pytest.mark.parametrize(("room", "exchange"), SAME, ids=[f"{e.method} {e.path} {i}" for i, (_, e) in enumerate(SAME)])
def test_golake_003_each_way_gives_the_same_bytes(lake: Lake, room: Room, exchange: Exchange) -> None:
    *through, answer = _read(lake.through(room.service), exchange)
    *beside, _ = _read(lake.beside(room.service), exchange)
    assert through == beside
    assert through[0] == exchange.status, answer.text
    assert answer.headers["x-request-id"] == "golake-003"


@rooms()
def test_golake_080_to_082_and_084_mistakes_are_explained(lake: Lake, room: Room) -> None:
    for exchange in room.mistakes:
        exchange.send(lake, room.service)


@rooms()
def test_what_was_acknowledged_is_there(lake: Lake, room: Room) -> None:
    room.check_kept(lake)
