"""One row of the card in one form, one mode and one wire: which names it uses, what it did, what it must not do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tools.kit.faults.caller import Form, Mode, Outcome
from tools.kit.faults.profiles import Profile
from tools.kit.faults.recorded_requests import RecordedRequest

PROVIDERS = ("ollama", "openrouter", "kimi")
"""Of Lakehouse, one for each form that the provider speaks."""

Gateway = Literal["plain", "hedged"]


class CaseRunner(Protocol):
    """Where a case is played."""

    profile: Profile

    async def call(self, case: Case, *, timeout: float | None = None) -> Outcome:
        """One call; `timeout` is the caller's deadline in seconds."""

    async def recorded(self, model: str) -> list[RecordedRequest]:
        """What the provider remembers of a model."""


@dataclass(slots=True)
class CaseRun:
    """What happened: outcomes in order, and each member's visits."""

    outcomes: list[Outcome]
    recorded: list[list[RecordedRequest]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


Behaviour = Callable[[CaseRunner, "Case"], Awaitable[CaseRun]]
Evaluation = Callable[[Profile, "Case", CaseRun], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the card.

    `chain` are the faults of the routes, in order; `tries` how often each may be asked for one call, at least and at
    most; `behave` calls, `evaluate` says what was wrong with what came of it.
    """

    name: str
    chain: tuple[str, ...]
    tries: tuple[tuple[int, int], ...]
    behave: Behaviour
    evaluate: Evaluation
    modes: tuple[Mode, ...] = ("whole", "stream")
    wires: tuple[int, ...] = (0, 1, 2)
    gateway: Gateway = "plain"
    heavy: bool = False
    """So much to do that others would be late: played one at a time."""

    @property
    def slug(self) -> str:
        """The name, fit to be a part of a model's."""
        return "-".join("".join(letter if letter.isalnum() else " " for letter in self.name.lower()).split())


@dataclass(frozen=True, slots=True)
class Case:
    """A row as it is played. `wire` is the place in `PROVIDERS` of its first route; the next one speaks the next."""

    row: Row
    form: Form
    mode: Mode
    wire: int

    @property
    def alias(self) -> str:
        """What the caller asks for."""
        return f"{self.row.slug}.{self.form}.{self.mode}.{PROVIDERS[self.wire]}"

    @property
    def members(self) -> list[tuple[str, str]]:
        """What the alias stands for: providers, and the names they are asked for."""
        return [
            (PROVIDERS[(self.wire + place) % len(PROVIDERS)], f"{fault}.{place}.{self.alias}")
            for place, fault in enumerate(self.row.chain)
        ]


def expand_cases(
    rows: Sequence[Row], forms: Sequence[Form] = ("native", "openai"), wires: Sequence[int] = (0, 1, 2)
) -> list[Case]:
    """All ways to play these rows."""
    return [
        Case(row, form, mode, wire)
        for row in rows
        for form in forms
        for mode in row.modes
        for wire in row.wires
        if wire in wires
    ]
