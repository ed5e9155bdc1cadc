"""Kill the embedded model again and again under load: what becomes of the requests?

    python -m tools.kills [--kills N] [--workers N] [--clients N] [--seed N]

The service runs in processes of its own, with the demonstration model. Clients ask for whole answers and streams in
both forms, without a pause, and SIGKILL meets the model's process at random instants of its life, the loading of the
model included. Each request must be answered, or fail with an error that says so: a stream that broke has an `error`
for its last event. None may wait for the cooldown of a circuit. Prints what happened; exits with 1 when that does not
hold, or when the model does not answer in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import trio

from tools.running import service

COOLDOWN = 15.0
"""Seconds: `[chatd.policy] breaker_cooldown`, as it is by default. A request that waited for it would take longer."""

SPAN = 0.8
"""Seconds within which a process is killed. Loading the model takes half a second where the machine is idle."""

PATIENCE = 60.0
"""Seconds until the model must have been started again, and until a request must have ended."""

HELLO = {"model": "local/demo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 60}
PATHS = ("/v1/chat", "/v1/chat/completions")


@dataclass(slots=True)
class Tally:
    """What became of the requests: how each ended and how long it took, and what must not have happened."""

    kills: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """Requests with a complete answer."""
        return self.ended["whole: answered"] + self.ended["stream: answered"]

    def report(self) -> str:
        """In words and figures."""
        times = sorted(self.seconds)
        lines = [f"{self.kills} kills; {len(times)} requests, {self.answered} answered"]
        lines += [f"  {count:7}  {what}" for what, count in sorted(self.ended.items())]
        if times:
            late = times[min(len(times) - 1, len(times) * 99 // 100)]
            lines.append(f"seconds: median {statistics.median(times):.3f}, p99 {late:.3f}, longest {times[-1]:.3f}")
        return "\n".join([*lines, f"wrong: {len(self.wrong)}", *self.wrong[:10]])


def engines(parent: int) -> Iterator[int]:
    """The running processes of the embedded model that `parent` has started."""
    for task in Path(f"/proc/{parent}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            for pid in (task / "children").read_text().split():
                if b"lakehouse.local_model.child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    yield int(pid)


async def kill_often(tally: Tally, parent: int, kills: int, random: Random) -> None:
    """Wait for the next process each time, and kill it: in two of three lives within a second after it has answered
    somebody, in the third at a random instant, its loading included. Two starts in a row are not spoiled, for a third
    would be one too many, and after that the service is right to make everybody wait."""
    last = 0
    for number in range(kills):
        before = tally.answered
        with trio.fail_after(PATIENCE):
            while not (found := [pid for pid in engines(parent) if pid != last]):
                await trio.sleep(0.002)
            while number % 3 and tally.answered == before:
                await trio.sleep(0.002)
        (last,) = found
        await trio.sleep(random.uniform(0, SPAN))
        with suppress(ProcessLookupError):
            os.kill(last, signal.SIGKILL)
            tally.kills += 1


async def ask_on(tally: Tally, client: httpx.AsyncClient, random: Random, done: Callable[[], bool]) -> None:
    """One request after the other, whole and streamed, in both forms."""
    while not done():
        await ask(tally, client, random.choice(PATHS), stream=random.random() < 0.5)


async def ask(tally: Tally, client: httpx.AsyncClient, path: str, *, stream: bool) -> None:
    """One request, and what becomes of it. The connection to the service itself must never break."""
    began = trio.current_time()
    kind = "stream" if stream else "whole"
    try:
        response = await client.post(path, json={**HELLO, "stream": stream})
        how = ending(response, streamed=stream)
    except (httpx.HTTPError, ValueError, LookupError) as error:
        tally.wrong.append(f"{kind} at {path}: {type(error).__name__}: {error}")
        return
    took = trio.current_time() - began
    tally.seconds.append(took)
    tally.ended[f"{kind}: {how}"] += 1
    if "circuit" in response.text or took >= COOLDOWN:
        tally.wrong.append(f"{kind} at {path} took {took:.1f} s: {response.text[:300]}")


def ending(response: httpx.Response, *, streamed: bool) -> str:
    """`answered`, or the error that it ended in. Raises ValueError or LookupError for anything that is neither."""
    if streamed and response.status_code == 200:
        return _stream_ending(response.text)
    document = response.json()
    if response.status_code == 200:
        return "answered" if whole(document) else _not_an_end(response.text)
    return _error(document, response.status_code)


def whole(document: dict[str, Any]) -> bool:
    """Whether a document is a whole answer of either form."""
    answer = document["choices"][0] if "choices" in document else document
    text = answer["message"]["content"] if "message" in answer else answer["content"]
    return bool(text) and answer["finish_reason"] in ("stop", "length")


def _stream_ending(text: str) -> str:
    events = [row.removeprefix("data: ") for row in text.split("\n") if row.startswith("data: ")]
    if events[-1] == "[DONE]":
        return "answered"
    last = json.loads(events[-1])
    if any('"error":{' in event or '"type":"done"' in event or event == "[DONE]" for event in events[:-1]):
        return _not_an_end(text)
    return "answered" if last.get("type") == "done" else _error(last, 200)


def _error(document: dict[str, Any], status: int) -> str:
    error = document["error"]
    return f"{status} {error['code']}{' (' + error['class'] + ')' if error.get('class') else ''}"


def _not_an_end(text: str) -> str:
    raise ValueError(f"this is neither an answer nor an error: {text[-300:]!r}")


async def torment(url: str, parent: int, *, kills: int, clients: int = 8, seed: int = 1) -> Tally:
    """Kill the model of the service at `url`, whose supervisor is the process `parent`, so often under load.

    In the end the model answers each client once more.
    """
    tally, over = Tally(), False
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as client:
        async with trio.open_nursery() as nursery:
            for number in range(clients):
                nursery.start_soon(ask_on, tally, client, Random(f"{seed}.{number}"), lambda: over)
            await kill_often(tally, parent, kills, Random(seed))
            over = True
        with trio.fail_after(PATIENCE):
            while (await client.post(PATHS[0], json=HELLO)).status_code != 200:
                await trio.sleep(0.1)
        before = tally.answered
        async with trio.open_nursery() as nursery:
            for number in range(clients):
                nursery.start_soon(lambda path: ask(tally, client, path, stream=True), PATHS[number % 2])
        if tally.answered != before + clients:
            tally.wrong.append("in the end the model does not answer everybody")
    return tally


def main() -> int:
    """Read the command line, do it, print what happened."""
    parser = argparse.ArgumentParser(prog="python -m tools.kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    tables = {"chatd": {"ollama_url": "", "default": "local"}, "chatd.local": {"demo": True}, "observe": {"log": "off"}}
    with service(tables, "--workers", str(asked.workers)) as running:
        url = f"http://{running.host}:{running.port}"
        tally = trio.run(lambda: torment(url, running.pid, kills=asked.kills, clients=asked.clients, seed=asked.seed))
    print(tally.report())
    return 1 if tally.wrong or tally.kills < asked.kills else 0


if __name__ == "__main__":
    sys.exit(main())
