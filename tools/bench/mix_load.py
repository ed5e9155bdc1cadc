"""The load of the scenario mix: so many workers run one scenario after another, and check every answer.

`python -m tools.bench.mix_load --port PORT --token TOKEN --connections 50 --seconds 300` prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import trio

from tools.bench.lake_matrix_data import ROLES, make_questions

CORPUS = "workers"
MAX_SHOWN = 5


class WrongAnswer(Exception):
    """An answer that is not what the scenario expects."""


@dataclass
class Connection:
    """One connection to the gateway, which sends one request at a time."""

    stream: trio.SocketStream
    token: str
    data: bytes = b""

    async def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """The document of a successful answer. Raises WrongAnswer for any other."""
        content = json.dumps(body).encode()
        head = (
            f"POST /v1/{path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        await self.stream.send_all(head.encode() + content)
        while b"\r\n\r\n" not in self.data:
            await self._receive()
        start, _, self.data = self.data.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in start.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(self.data) < length:
            await self._receive()
        answer, self.data = self.data[:length], self.data[length:]
        if start[9:12] != b"200":
            raise WrongAnswer(f"{path} answers {start[9:12].decode()}: {answer[:300].decode(errors='replace')}")
        document: dict[str, Any] = json.loads(answer)
        return document

    async def search(self, question: str, **more: object) -> dict[str, Any]:
        """The answer of a search."""
        return await self.post("matrix/search", {"query_text": question, "corpora": [CORPUS], "k": 10, **more})

    async def _receive(self) -> None:
        if not (data := await self.stream.receive_some(262144)):
            raise WrongAnswer("the connection was closed")
        self.data += data


def expect(truth: bool, what: str) -> None:
    """Raise WrongAnswer unless something is true."""
    if not truth:
        raise WrongAnswer(what)


def make_entry(question: str, answer: str, score: float = 1.0) -> dict[str, Any]:
    """The body that records a playbook."""
    return {"query_text": question, "answer_id": answer, "answer_corpus": CORPUS, "score": score}


async def search_and_mail(connection: Connection, question: str) -> None:
    """Find workers, and embed the mail that is sent to them."""
    answer = await connection.search(question)
    expect(len(answer["results"]) == 10, "a search has fewer than ten results")
    mail = await connection.post("embed", {"texts": [question]})
    expect(len(mail["vectors"]) == 1, "an embedding has no vector")


async def swap(connection: Connection, question: str) -> None:
    """Replace the first worker by the second one, and record that this was right."""
    first, second = (hit["id"] for hit in (await connection.search(question))["results"][:2])
    await connection.post("matrix/playbooks/record", make_entry(question, second, 0.9))
    answer = await connection.search(question, exclude_ids=[first], use_playbook=True)
    expect(first not in [hit["id"] for hit in answer["results"]], "an excluded worker is in the results")


async def five_repeats(connection: Connection, question: str) -> None:
    """The same question five times, with playbooks."""
    for _ in range(5):
        answer = await connection.search(question, use_playbook=True)
        distances = [hit["distance"] for hit in answer["results"]]
        expect(distances == sorted(distances), "the results are not in the order of their distances")


async def record_and_find(connection: Connection, question: str) -> None:
    """Record the last result as the answer, and find it brought forward by the playbook."""
    last = (await connection.search(question))["results"][-1]
    await connection.post("matrix/playbooks/record", make_entry(question, last["id"]))
    answer = await connection.search(question, use_playbook=True, playbook_top_k=10)
    found = {hit["id"]: hit["distance"] for hit in answer["results"]}
    expect(abs(found[last["id"]] - last["distance"] / 2) < 1e-6, "a recorded answer is not at half its distance")


async def search_with_filter(connection: Connection, question: str) -> None:
    """Workers of one role among a hundred candidates."""
    role = ROLES[len(question) % len(ROLES)]
    answer = await connection.search(question, per_corpus_k=100, metadata_filter={"role": role})
    expect(all(hit["metadata"]["role"] == role for hit in answer["results"]), "a result has another role")
    expect(answer["dropped_by_filter"] > 0, "the filter drops nothing")


async def record_in_bulk(connection: Connection, question: str) -> None:
    """Three playbooks, one of which is not valid."""
    entries = [
        make_entry(question, "w-00001", 0.1),
        make_entry(question, "w-00002", 7),
        make_entry(question, "w-00003", 0.1),
    ]
    answer = await connection.post("matrix/playbooks/bulk", {"entries": entries})
    expect((answer["recorded"], answer["failed"]) == (2, 1), "a batch is not recorded as it should be")


Scenario = Callable[[Connection, str], Awaitable[None]]
SCENARIOS: Sequence[Scenario] = (
    search_and_mail,
    swap,
    five_repeats,
    record_and_find,
    search_with_filter,
    record_in_bulk,
)


@dataclass
class Outcome:
    """What happened, by scenario."""

    runs: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


async def run_mix(port: int, token: str, connections: int, seconds: float) -> Outcome:
    """Run scenarios over so many connections for so long."""
    outcome, questions = Outcome(), make_questions()
    until = trio.current_time() + seconds

    async def work(number: int) -> None:
        turn = number
        while trio.current_time() < until:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                connection = Connection(stream, token)
                while trio.current_time() < until:
                    turn += 1
                    scenario = SCENARIOS[turn % len(SCENARIOS)]
                    if not await run_scenario(scenario, connection, questions[turn * 7 % len(questions)], outcome):
                        break  # with a new connection

    async with trio.open_nursery() as nursery:
        for number in range(connections):
            nursery.start_soon(work, number * 31)
    return outcome


async def run_scenario(scenario: Scenario, connection: Connection, question: str, outcome: Outcome) -> bool:
    """Run one scenario. Returns whether its answers were right."""
    name, started = scenario.__name__, perf_counter()
    try:
        await scenario(connection, question)
    except (WrongAnswer, trio.BrokenResourceError, LookupError, ValueError) as error:
        outcome.failures[name] += 1
        if len(outcome.reasons) < MAX_SHOWN:
            outcome.reasons.append(f"{name}: {type(error).__name__}: {error}"[:400])
        return False
    outcome.runs[name] += 1
    outcome.seconds.setdefault(name, []).append(perf_counter() - started)
    return True


def describe(outcome: Outcome, seconds: float) -> dict[str, Any]:
    """The figures as JSON."""
    scenarios = {}
    for name, times in outcome.seconds.items():
        times.sort()
        scenarios[name] = {
            "runs": outcome.runs[name],
            "failures": outcome.failures[name],
            "p50": times[len(times) // 2] * 1e3,
            "p99": times[len(times) * 99 // 100] * 1e3,
        }
    runs, failures = outcome.runs.total(), outcome.failures.total()
    rate = runs / seconds
    return {"rate": rate, "runs": runs, "failures": failures, "reasons": outcome.reasons, "scenarios": scenarios}


def main() -> None:
    """Parse the command line, send the load, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.mix_load", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300)
    options = parser.parse_args()
    started = perf_counter()
    outcome = trio.run(run_mix, options.port, options.token, options.connections, options.seconds)
    json.dump(describe(outcome, perf_counter() - started), sys.stdout)


if __name__ == "__main__":
    main()
