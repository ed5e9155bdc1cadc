"""Our header and path tables, run against other reverse proxies: where do we differ, and why?

    python -m tools.compare_proxies            writes docs/proxy-differences.md
    python -m tools.compare_proxies --check    fails if the page does not say what is found now

Needs nginx and Caddy (Debian: `apt-get install nginx-light caddy`); they run on loopback with configurations of their
own and end with this program. Exit status 1 if there is a difference without a reason in
`tools/proxy_differences_text.py`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import trio

from tools.kit.gateway_services import Service, ServiceRequest, answer_ok
from tools.kit.proxy_tables import PATHS, REQUESTS, RESPONSES, Case, Pairs
from tools.proxy_differences_text import FORWARDED_FIELDS, HEAD, NO_TYPE, WHY
from tools.reverse_proxies import Proxy, in_front_of_one_service

PAGE = Path(__file__).parent.parent / "docs" / "proxy-differences.md"

OF_THE_HOP = {b"host", b"content-length", b"transfer-encoding", b"connection"}
OF_ANY_SERVER = {b"date", b"server", b"x-request-id", b"server-timing"}


NOTHING = "\N{EN DASH}"


class Row(NamedTuple):
    """A case, what was given, and what each proxy made of it, ours first."""

    name: str
    given: str
    cells: list[str]

    @property
    def differs(self) -> bool:
        return len(set(self.cells)) > 1


async def paths(service: Service, found: list[Proxy]) -> list[Row]:
    """What the service is asked for, or the status of the refusal."""
    rows = []
    for case in PATHS:
        cells = []
        for proxy in found:
            service.requests.clear()
            answer = await proxy.ask(case.target)
            refusal = str(answer.status) if answer else "no answer"
            cells.append(_code(service.last.target) if service.requests else refusal)
        rows.append(Row(case.target.decode(), _code(case.target), cells))
    return rows


async def requests(service: Service, found: list[Proxy]) -> list[Row]:
    """The headers that the service sees, without those that a proxy adds to every request."""
    added: dict[str, set[tuple[bytes, bytes]]] = {}
    rows = []
    for case in (Case("no headers at all", "", ""), *FORWARDED_FIELDS, *REQUESTS):
        cells = []
        for proxy in found:
            service.requests.clear()
            answer = await proxy.ask(b"/v1/storage/x", headers=case.given, body=case.body)
            if not service.requests:
                cells.append(str(answer.status) if answer else "no answer")
                continue
            told = [_settled(pair) for pair in service.last.headers if pair[0] not in OF_THE_HOP]
            if case in REQUESTS:
                told = [pair for pair in told if pair not in added[proxy.name]]
            added.setdefault(proxy.name, set(told))
            cells.append(_lines(told))
        rows.append(Row(case.name, _given(case), cells))
    return rows


async def responses(service: Service, found: list[Proxy]) -> list[Row]:
    """The headers that the client sees, without those that any server adds."""
    rows = []
    for case in (NO_TYPE, *RESPONSES):
        given = {line.partition(":")[0].strip().lower().encode() for line in case.given.splitlines()}
        typed = case is NO_TYPE or b"content-type" in given
        service.script = _answering(case.given if typed else f"content-type: text/plain\n{case.given}")
        cells = []
        for proxy in found:
            answer = await proxy.ask(b"/v1/storage/x")
            headers = answer.headers if answer else []
            dropped = OF_THE_HOP | (OF_ANY_SERVER - given) | (set() if typed else {b"content-type"})
            told = [_settled(pair) for pair in headers if pair[0] not in dropped]
            cells.append(_lines([pair for pair in told if b"gateway;dur" not in pair[1]]))
        rows.append(Row(case.name, _given(case), cells))
    service.script = answer_ok
    return rows


def _answering(headers: str) -> Callable[[ServiceRequest], Awaitable[None]]:
    lines = "".join(f"{line.strip()}\r\n" for line in headers.splitlines())

    async def answer(visit: ServiceRequest) -> None:
        await visit.send(b"HTTP/1.1 200 OK\r\n" + lines.encode() + b"Content-Length: 2\r\n\r\nok")

    return answer


def _settled(pair: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Without what is another one every time."""
    name, value = pair
    if name == b"x-request-id" and re.fullmatch(rb"[0-9a-f]{8}-[0-9a-f]{6}", value):
        return name, b"(made up)"
    if name == b"date" and value.endswith(b"GMT"):
        return name, b"(now)"
    if name == b"x-request-timeout-ms" and value < b"9000":
        return name, b"(what is left)"
    return pair


def _code(text: bytes) -> str:
    return f"`{text.decode('utf-8', 'replace')}`"


def _lines(headers: Pairs) -> str:
    return "<br>".join(_code(name + b": " + value) for name, value in headers) or NOTHING


def _given(case: Case) -> str:
    return "<br>".join(f"`{line.strip()}`" for line in case.given.splitlines()) or NOTHING


class Section(NamedTuple):
    """A part of the page."""

    title: str
    rows: list[Row]

    def text(self, names: list[str]) -> str:
        """Markdown: the rows that differ, each with its reason."""
        differing = [row for row in self.rows if row.differs]
        alike = len(self.rows) - len(differing)
        lines = [
            f"## {self.title}",
            "",
            f"{len(self.rows)} cases, {alike} of them with the same result in all three.",
            "",
            f"| given | {' | '.join(names)} | why |",
            f"|{'---|' * (len(names) + 2)}",
        ]
        for row in differing:
            cells = [row.given, *row.cells, WHY.get((self.title, row.name), "**no reason given**")]
            lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
        return "\n".join(lines)

    def unexplained(self) -> list[str]:
        """The cases that differ for no reason that we know of."""
        return [f"{self.title}: {row.name}" for row in self.rows if row.differs and (self.title, row.name) not in WHY]


async def compare() -> tuple[str, list[str]]:
    """The page, and the differences for which there is no reason."""
    async with in_front_of_one_service() as (service, found):
        sections = [
            Section("Paths", await paths(service, found)),
            Section("Request headers", await requests(service, found)),
            Section("Response headers", await responses(service, found)),
        ]
    names = [proxy.name for proxy in found]
    page = "\n\n".join([HEAD.strip(), *(section.text(names) for section in sections)]) + "\n"
    return page, [name for section in sections for name in section.unexplained()]


def main() -> int:
    """Compare as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the page instead of writing it")
    arguments = parser.parse_args()
    page, unexplained = trio.run(compare)
    for name in unexplained:
        print(f"no reason is given for: {name}", file=sys.stderr)
    if arguments.check:
        if PAGE.read_text(encoding="utf-8") != page:
            print(f"{PAGE} is not what is found now", file=sys.stderr)
            return 1
    else:
        PAGE.write_text(page, encoding="utf-8")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
