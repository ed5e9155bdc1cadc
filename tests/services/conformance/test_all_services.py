"""What holds for every service, on each way to it: health, the same bytes, mistakes, and what a kill leaves."""

from __future__ import annotations

import hashlib

import httpx
import pytest

from tests.services.conformance.lakes import Lake, Route, wait_for_service
from tests.services.conformance.service_cases import SERVICE_CASES, Exchange, ServiceCase

SAME = [(case, exchange) for case in SERVICE_CASES for exchange in case.same]


def each_service() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", SERVICE_CASES, ids=lambda case: case.service)


def _read(route: Route, exchange: Exchange) -> tuple[int, str, str, httpx.Response]:
    headers = {**exchange.headers, "x-request-id": "golake-003"}
    answer = route.request(exchange.method, exchange.path, content=exchange.content, headers=headers)
    return answer.status_code, answer.headers["content-type"], hashlib.sha256(answer.content).hexdigest(), answer


def seconds(answer: httpx.Response) -> float:
    return answer.elapsed.total_seconds()


@each_service()
def test_golake_001_002_the_health_names_the_service(lake: Lake, case: ServiceCase) -> None:
    for route in (lake.through(case.service), lake.beside(case.service)):
        wait_for_service(route, case.health)
        answers = [route.request("GET", case.health) for _ in range(3)]
        while min(map(seconds, answers)) >= 0.5 and len(answers) < 30:  # a busy machine delays some
            answers.append(route.request("GET", case.health))
        for answer in answers:
            more = {name: answer.json().get(name) for name in case.more_health}
            assert (answer.status_code, answer.json()) == (200, {"status": "ok", "service": case.service, **more})
        assert min(map(seconds, answers)) < 0.5
    host = {"embedded": "gateway", "proxied": "gateway", "daemons": case.service}[lake.name]
    answer = lake.through(case.service).http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "service": host})


@pytest.mark.parametrize(("case", "exchange"), SAME, ids=[f"{e.method} {e.path} {i}" for i, (_, e) in enumerate(SAME)])
def test_golake_003_each_way_gives_the_same_bytes(lake: Lake, case: ServiceCase, exchange: Exchange) -> None:
    for _ in range(
        3
    ):  # a list of models is without those of an Ollama that a busy machine keeps from answering in time
        *through, answer = _read(lake.through(case.service), exchange)
        *beside, _ = _read(lake.beside(case.service), exchange)
        if through == beside:
            break
    assert through == beside
    assert through[0] == exchange.status, answer.text
    assert answer.headers["x-request-id"] == "golake-003"


@each_service()
def test_golake_080_to_082_and_084_mistakes_are_explained(lake: Lake, case: ServiceCase) -> None:
    for exchange in case.mistakes:
        exchange.send(lake, case.service)


@each_service()
def test_what_was_acknowledged_is_there(lake: Lake, case: ServiceCase) -> None:
    case.check_kept(lake)
