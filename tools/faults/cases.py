"""One row of the card in one form, one mode and one wire: which names it uses, what it did, what it must not do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tools.faults.caller import Form, Mode, Outcome
from tools.faults.profiles import Profile
from tools.faults.visits import Visit

PROVIDERS = ("ollama", "openrouter", "kimi")
"""Of Lakehouse, one for each form that the provider speaks."""

Gateway = Literal["plain", "hedged"]


class Stage(Protocol):
    """Where a case is played."""

    profile: Profile

    async def ask(self, case: Case, *, timeout: float | None = None) -> Outcome:
        """One call; `timeout` is the caller's deadline in seconds."""

    async def visits(self, model: str) -> list[Visit]:
        """What the provider remembers of a model."""


@dataclass(slots=True)
class Played:
    """What happened: outcomes in order, and each member's visits."""

    outcomes: list[Outcome]
    visits: list[list[Visit]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


Play = Callable[[Stage, "Case"], Awaitable[Played]]
Judge = Callable[[Profile, "Case", Played], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the card.

    `chain` are the faults of the routes, in order; `tries` how often each may be asked for one call, at least and at
    most; `play` calls, `judge` says what was wrong with what came of it.
    """

    name: str
    chain: tuple[str, ...]
    tries: tuple[tuple[int, int], ...]
    play: Play
    judge: Judge
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


def cases(
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
