"""Playing the rows against a gateway, and the card that comes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import trio

from tools.kit.faults.caller import CALL_TIMEOUT, Outcome, call
from tools.kit.faults.case_model import Case, CaseRun, Gateway
from tools.kit.faults.evaluation import evaluate_run
from tools.kit.faults.profiles import Profile
from tools.kit.faults.provider import Provider
from tools.kit.faults.recorded_requests import RecordedRequest

AT_ONCE = {"fast": 40, "full": 300}
"""Cases played at once, by profile: most of them wait for something."""


RAMP = {"fast": 0.0, "full": 0.1}
"""Seconds between two starts, by profile: hundreds in one moment would make each other late."""

Recorder = Callable[[str], Awaitable[list[RecordedRequest]]]


@dataclass(frozen=True, slots=True)
class Result:
    """A case, and what was wrong with it: nothing is a pass."""

    case: Case
    problems: tuple[str, ...]


@dataclass(slots=True)
class Harness:
    """Where cases are played: the gateways' base URLs (with their `/v1`), and what the provider remembers."""

    http: httpx.AsyncClient
    profile: Profile
    gateways: Mapping[Gateway, str]
    recorder: Recorder
    headers: Mapping[str, str] = field(default_factory=dict)

    async def call(self, case: Case, *, timeout: float | None = None) -> Outcome:
        """Implements `CaseRunner`."""
        url = self.gateways[case.row.gateway]
        headers = dict(self.headers)
        if timeout is not None:
            headers["x-request-timeout-ms"] = str(round(timeout * 1000))
        return await call(self.http, url, case.form, case.mode, case.alias, headers=headers)

    async def recorded(self, model: str) -> list[RecordedRequest]:
        """Implements `CaseRunner`."""
        return await self.recorder(model)

    async def run_case(self, case: Case) -> Result:
        """One case, to its verdict."""
        before = [len(await self.recorded(model)) for _, model in case.members]  # a provider may have run for days
        try:
            played: CaseRun = await case.row.behave(self, case)
        except Exception as error:  # noqa: BLE001 - a gateway may answer what nobody can read
            return Result(case, (f"not understood: {error!r}",))
        for (_, model), old in zip(case.members, before, strict=True):
            played.recorded.append((await self.recorded(model))[old:])
        return Result(case, tuple(evaluate_run(self.profile, case, played)))


async def run_cases(harness: Harness, cases: Iterable[Case]) -> list[Result]:
    """Play the cases, many at once; those whose gateway there is not are left out."""
    results: dict[int, Result] = {}
    places = trio.CapacityLimiter(AT_ONCE[harness.profile.name])
    one = trio.CapacityLimiter(1)

    async def play(number: int, case: Case) -> None:
        await trio.sleep(number * RAMP[harness.profile.name])
        async with one if case.row.heavy else places:
            results[number] = await harness.run_case(case)

    async with trio.open_nursery() as nursery:
        for number, case in enumerate(cases):
            if case.row.gateway in harness.gateways:
                nursery.start_soon(play, number, case)
    return [results[number] for number in sorted(results)]


@asynccontextmanager
async def open_harness(
    profile: Profile,
    gateways: Mapping[Gateway, str],
    provider: Provider | str,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Harness]:
    """Open a harness for the block. `provider` is one in this process, or the base URL of one that runs elsewhere."""

    async def here(model: str) -> list[RecordedRequest]:
        assert not isinstance(provider, str)
        return provider.requests.by_model(model)

    async def elsewhere(model: str) -> list[RecordedRequest]:
        response = await http.get(f"{provider}/visits", params={"model": model})
        return [RecordedRequest(**visit) for visit in response.json()]

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    async with httpx.AsyncClient(timeout=CALL_TIMEOUT, limits=limits, trust_env=False) as http:
        memory = elsewhere if isinstance(provider, str) else here
        yield Harness(http, profile, gateways, memory, headers or {})


def score_document(results: Sequence[Result], profile: Profile) -> dict[str, object]:
    """The card as JSON."""
    rows: dict[str, dict[str, object]] = {}
    for result in results:
        case = result.case
        row = rows.setdefault(case.row.name, {"pass": True, "chain": case.row.chain, "cases": []})
        row["pass"] = bool(row["pass"]) and not result.problems
        told = {"form": case.form, "mode": case.mode, "model": case.alias, "problems": result.problems}
        row["cases"].append(told)  # type: ignore[attr-defined]
    passed = sum(bool(row["pass"]) for row in rows.values())
    return {"profile": profile.name, "passed": passed, "of": len(rows), "rows": rows}


def _column_of(result: Result) -> tuple[str, str, str]:
    return result.case.row.name, result.case.form, result.case.mode


def score_table(results: Sequence[Result]) -> str:
    """The card as a table: a row passes in a column when it does in all its wires; below it, what was wrong."""
    columns = list(dict.fromkeys((result.case.form, result.case.mode) for result in results))
    lines = [
        "| fault | " + " | ".join(f"{form}, {mode}" for form, mode in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for name in dict.fromkeys(result.case.row.name for result in results):
        cells = []
        for column in columns:
            found = [bool(result.problems) for result in results if _column_of(result) == (name, *column)]
            failed = f"**fail** ({sum(found)} of {len(found)})"
            cells.append(failed if any(found) else "pass" if found else "-")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    failures = [f"* {result.case.alias}: {problem}" for result in results for problem in result.problems]
    passed = sum(not result.problems for result in results)
    return "\n".join([*lines, "", f"{passed} of {len(results)} cases pass.", *([""] if failures else []), *failures])
