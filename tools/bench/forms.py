"""Chats in each form of clients: relayed to a provider of the same form, and rebuilt for it.

A rebuilt chat is the same request with one more member, which is changed for the provider; both go to the same provider
and get the same answer.
"""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tools.bench import load
from tools.bench.form_documents import FORMS, PATHS, PREFIX, write_answers
from tools.bench.gateways import Lakehouse
from tools.bench.load import Target
from tools.bench.peer import JSON, PORT
from tools.bench.process import Running
from tools.bench.upstream import PIECES, WORDS

CONVERSATIONS = {"small": 0, "long": 24}
"""Turns of a conversation with tools, of about 1 KB each, beside a prompt of 1 KB."""

KINDS = {
    "whole_small": "whole, 1 KB each way",
    "whole_long": "whole, an agent's 32 KB with tools",
    "stream_small": f"streams of {PIECES} pieces that arrive at once",
}
"""The kinds of chats of each form, by the ends of the names of their figures."""

REPAIRED: Mapping[str, dict[str, Any]] = {
    "chat_completions": {"user": None},
    "messages": {"stop_sequences": None},
    "responses": {"store": None},
    "ollama": {"options": {"stop": "###"}},
}
"""A member that each form may have, and that is changed for the provider, so that the request is rebuilt."""

CONFIGURATION = """
[gateway]
storaged_url = "{upstream}"
[ollama]
bind = "127.0.0.1:{ollama_port}"
[chatd]
ollama_url = "{upstream}{prefix}"
max_connections = 4096
[chatd.opencode]
base_url = "{upstream}{prefix}"
[chatd.opencode.endpoints]
completions = "chat_completions"
messages = "messages"
responses = "responses"
"""

OLLAMA_PORT = PORT + 80
"""Clients of Ollama send no token, so they have a listener of their own."""

MODELS = {
    "chat_completions": "opencode/completions",
    "messages": "opencode/messages",
    "responses": "opencode/responses",
    "ollama": "ollama/m",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request: `size` is a key of `CONVERSATIONS`."""

    form: str
    streamed: bool
    size: str
    relayed: bool

    @property
    def figure(self) -> str:
        """The name of its figure, without the way that it is answered."""
        return f"{self.form}_{'stream' if self.streamed else 'whole'}_{self.size}"


def list_cases() -> Iterator[Case]:
    """A relayed and a rebuilt chat of each kind of each form."""
    for form, kind, relayed in itertools.product(FORMS, KINDS, (True, False)):
        way, size = kind.split("_")
        yield Case(form=form, streamed=way == "stream", size=size, relayed=relayed)


class FormsGateway(Lakehouse):
    """Lakehouse in front of a provider of every form."""

    def write_configuration(self) -> Path:
        write_answers(self.directory.parent / "up" / "files")
        config = self.directory / "lakehouse.toml"
        config.write_text(CONFIGURATION.format(upstream=self.upstream, prefix=PREFIX, ollama_port=OLLAMA_PORT))
        return config

    def make_target(self, case: Case) -> Target:
        """The request of a case."""
        body = json.dumps(build_request(case)).encode()
        port = OLLAMA_PORT if case.form == "ollama" else self.port
        return Target(port=port, path=PATHS[case.form], headers=[JSON, self.TOKEN], body=body)


def build_request(case: Case) -> dict[str, Any]:
    """The document of a request."""
    document = FORMS[case.form].build_request(MODELS[case.form], WORDS[:800], CONVERSATIONS[case.size])
    document["stream"] = case.streamed
    if not case.relayed:
        document |= REPAIRED[case.form]
    return document


def measure_forms(
    directory: Path, *, gateway_cores: str, load_cores: str, seconds: float, rounds: int
) -> dict[str, float]:
    """Microseconds of the gateway's CPU time for each case, and those of a relayed one in per cent of a rebuilt one.

    The cases alternate, in both orders, and the figures are medians of `rounds`. Raises RuntimeError if a case is not
    answered in its way.
    """
    gateway, seen = FormsGateway(directory), {case: list[float]() for case in list_cases()}
    with gateway.start(cores=gateway_cores) as running:
        for case in seen:
            check_way(gateway.make_target(case), relayed=case.relayed, streamed=case.streamed)
            load.requests(gateway.make_target(case), connections=16, seconds=1, cores=load_cores, directory=directory)
        for number in range(rounds):
            order = list(seen) if number % 2 else list(reversed(seen))  # neither of a pair is always the first
            for case in order:
                seen[case].append(_measure_cost(running, gateway.make_target(case), load_cores, seconds, directory))
    medians = {case: median(costs) * 1e6 for case, costs in seen.items()}
    figures = {f"{case.figure}_{'relayed' if case.relayed else 'rebuilt'}": cost for case, cost in medians.items()}
    for figure in {case.figure for case in medians}:
        figures[f"{figure}_ratio"] = figures[f"{figure}_relayed"] / figures[f"{figure}_rebuilt"] * 100
    return figures


def _measure_cost(running: Running, target: Target, cores: str, seconds: float, directory: Path) -> float:
    before = running.cpu_seconds()
    rate = load.requests(target, connections=16, seconds=seconds, cores=cores, directory=directory)
    return (running.cpu_seconds() - before) / rate.requests


def check_way(target: Target, *, relayed: bool, streamed: bool) -> None:
    """Raise RuntimeError unless a request is answered in the way that is to be measured."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=30)
    try:
        headers = dict(line.split(": ", 1) for line in target.headers)
        connection.request("POST", target.path, target.body, headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200 or (streamed and body.count(b"token") < PIECES):
        raise RuntimeError(f"{target.path} was answered {response.status}: {body[:200]!r}")
    if (b"relay_mark" in body) is not relayed:
        raise RuntimeError(f"{target.path} was {'not ' if relayed else ''}relayed")
