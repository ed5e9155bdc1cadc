"""Load on the embedded model while its process is killed at random instants, and what became of each request."""

from __future__ import annotations

import json
import os
import signal
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import trio

COOLDOWN = 15.0
"""Seconds: `[chatd.policy] breaker_cooldown`, as it is by default. A request that waited for it would take longer."""

KILL_WINDOW = 0.8
"""Seconds within which a process is killed. Loading the model takes half a second where the machine is idle."""

END_TIMEOUT = 60.0
"""Seconds until the model must have been started again, and until a request must have ended."""

HELLO = {"model": "local/demo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 60}
PATHS = ("/v1/chat", "/v1/chat/completions")


@dataclass(slots=True)
class KillReport:
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


def model_processes(parent: int) -> Iterator[int]:
    """The running processes of the embedded model that `parent` has started."""
    for task in Path(f"/proc/{parent}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            for pid in (task / "children").read_text().split():
                if b"lakehouse.local_model.child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    yield int(pid)


async def kill_often(tally: KillReport, parent: int, kills: int, random: Random) -> None:
    """Wait for the next process each time, and kill it: in two of three lives within a second after it has answered
    somebody, in the third at a random instant, its loading included. Two starts in a row are not spoiled, for a third
    would be one too many, and after that the service is right to make everybody wait."""
    last = 0
    for number in range(kills):
        before = tally.answered
        with trio.fail_after(END_TIMEOUT):
            while not (found := [pid for pid in model_processes(parent) if pid != last]):
                await trio.sleep(0.002)
            while number % 3 and tally.answered == before:
                await trio.sleep(0.002)
        (last,) = found
        await trio.sleep(random.uniform(0, KILL_WINDOW))
        with suppress(ProcessLookupError):
            os.kill(last, signal.SIGKILL)
            tally.kills += 1


async def send_requests(tally: KillReport, client: httpx.AsyncClient, random: Random, done: Callable[[], bool]) -> None:
    """One request after the other, whole and streamed, in both forms."""
    while not done():
        await send_request(tally, client, random.choice(PATHS), stream=random.random() < 0.5)


async def send_request(tally: KillReport, client: httpx.AsyncClient, path: str, *, stream: bool) -> None:
    """One request, and what becomes of it. The connection to the service itself must never break."""
    began = trio.current_time()
    kind = "stream" if stream else "whole"
    try:
        response = await client.post(path, json={**HELLO, "stream": stream})
        how = classify_ending(response, streamed=stream)
    except (httpx.HTTPError, ValueError, LookupError) as error:
        tally.wrong.append(f"{kind} at {path}: {type(error).__name__}: {error}")
        return
    took = trio.current_time() - began
    tally.seconds.append(took)
    tally.ended[f"{kind}: {how}"] += 1
    if "circuit" in response.text or took >= COOLDOWN:
        tally.wrong.append(f"{kind} at {path} took {took:.1f} s: {response.text[:300]}")


def classify_ending(response: httpx.Response, *, streamed: bool) -> str:
    """`answered`, or the error that it ended in. Raises ValueError or LookupError for anything that is neither."""
    if streamed and response.status_code == 200:
        return _stream_ending(response.text)
    document = response.json()
    if response.status_code == 200:
        return "answered" if is_complete(document) else _not_an_end(response.text)
    return _error(document, response.status_code)


def is_complete(document: dict[str, Any]) -> bool:
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


async def kill_under_load(url: str, parent: int, *, kills: int, clients: int = 8, seed: int = 1) -> KillReport:
    """Kill the model of the service at `url`, whose supervisor is the process `parent`, so often under load.

    In the end the model answers each client once more.
    """
    tally, over = KillReport(), False
    async with httpx.AsyncClient(base_url=url, timeout=END_TIMEOUT, trust_env=False) as client:
        async with trio.open_nursery() as nursery:
            for number in range(clients):
                nursery.start_soon(send_requests, tally, client, Random(f"{seed}.{number}"), lambda: over)
            await kill_often(tally, parent, kills, Random(seed))
            over = True
        with trio.fail_after(END_TIMEOUT):
            while (await client.post(PATHS[0], json=HELLO)).status_code != 200:
                await trio.sleep(0.1)
        before = tally.answered
        async with trio.open_nursery() as nursery:
            for number in range(clients):
                nursery.start_soon(lambda path: send_request(tally, client, path, stream=True), PATHS[number % 2])
        if tally.answered != before + clients:
            tally.wrong.append("in the end the model does not answer everybody")
    return tally
