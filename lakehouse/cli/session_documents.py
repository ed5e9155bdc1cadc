"""The documents of `/v1/sessions`, as the commands read them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call, in flight or ended."""

    id: str
    method: str
    route: str
    seconds: float
    model: str | None = None
    provider: str | None = None
    phase: str | None = None
    status: int | None = None
    outcome: str | None = None
    error: str | None = None


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """One agent, and those that it has started."""

    agent: str | None
    stopped: bool
    calls: int
    in_flight: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    calls_in_flight: tuple[Call, ...] = ()
    calls_ended: tuple[Call, ...] = ()
    agents: tuple[Agent, ...] = ()

    def iterate(self, depth: int = 0) -> Iterator[tuple[int, Agent]]:
        """The agent and all below it, each with its depth."""
        yield depth, self
        for agent in self.agents:
            yield from agent.iterate(depth + 1)


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One session; `tree` if it was asked for."""

    id: str
    state: str
    age: float
    idle: float
    agents: int
    calls: int
    in_flight: int
    failed: int
    refused: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    reason: str | None = None
    tree: Agent | None = None


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `GET /v1/sessions`."""

    sessions: tuple[Session, ...]
    total: int


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `DELETE /v1/sessions/ID`."""

    id: str
    agent: str | None
    known: bool
    calls: int
    agents: int
    silent: int

    def describe(self) -> str:
        """The receipt in one line."""
        who = self.id if self.agent is None else f"{self.agent} of {self.id}"
        ended = f"{self.calls} call{'' if self.calls == 1 else 's'} ended"
        unknown = "" if self.known else "; no call of it was seen here before"
        silent = f"; {self.silent} workers did not answer" if self.silent else ""
        return f"stopped {who}: {ended}, further ones are refused{unknown}{silent}"


def format_tokens(count: int) -> str:
    """A number of tokens in its shortest form."""
    if count < 10_000:
        return str(count)
    return f"{count / 1e3:.0f}k" if count < 1_000_000 else f"{count / 1e6:.1f}M"


def format_cost(dollars: float) -> str:
    """US dollars; empty for none."""
    return "" if not dollars else f"${dollars:.2f}" if dollars >= 0.01 else f"${dollars:.4f}"
