"""A provider that breaks on purpose, and a score card for the gateway in front of it.

    python -m tools.faults serve --port 9999          the provider alone
    python -m tools.faults config --port 9999         the configuration that puts Lakehouse (or LiteLLM) in front of it
    python -m tools.faults score                      provider, service and score card in one process
    python -m tools.faults score --url http://127.0.0.1:3110/v1 --provider http://127.0.0.1:9999

The name of a model selects the fault: `429-once`, `cut`, `silent`. What follows a dot in the name is free, and each
full name has its own counters. `tools.kit.faults.faults` has the table of faults, `tools.kit.faults.cases` the rows of
the card.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import trio

from tools.kit.faults.case_model import Case, Gateway, expand_cases
from tools.kit.faults.cases import ROWS
from tools.kit.faults.gateways import KEYS, lakehouse_tables, litellm, our_services, toml
from tools.kit.faults.harness import Result, open_harness, run_cases, score_document, score_table
from tools.kit.faults.profiles import PROFILES, Profile
from tools.kit.faults.provider import open_provider


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.faults", description="A provider that breaks on purpose.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--profile", choices=PROFILES, default="full", help="how long things take (default: full)")
    pick = argparse.ArgumentParser(add_help=False)
    pick.add_argument("--only", default="", help="rows whose name has this in it")
    pick.add_argument(
        "--forms",
        nargs="+",
        choices=("native", "openai", "responses", "anthropic", "ollama"),
        default=["native", "openai"],
    )
    pick.add_argument(
        "--wires",
        nargs="+",
        type=int,
        choices=(0, 1, 2),
        default=[0, 1, 2],
        help="0 Ollama's form, 1 OpenAI's, 2 Anthropic's",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", parents=[common], help="run the provider")
    serve.add_argument("--port", type=int, default=9999)
    serve.add_argument("--host", default="127.0.0.1")
    config = commands.add_parser("config", parents=[common, pick], help="print a gateway's configuration for it")
    config.add_argument("--provider", default="http://127.0.0.1:9999", help="where it runs")
    config.add_argument("--gateway", choices=("plain", "hedged"), default="plain")
    config.add_argument("--of", choices=("lakehouse", "litellm"), default="lakehouse")
    card = commands.add_parser("score", parents=[common, pick], help="print a score card")
    card.add_argument("--url", help="the gateway, /v1 included; without it, ours in this process")
    card.add_argument("--hedged-url", help="the same for the rows about hedges")
    card.add_argument("--provider", default="http://127.0.0.1:9999", help="where it runs, if there is a --url")
    card.add_argument("--token", help="to be let in at the gateway")
    card.add_argument("--json", type=Path, help="write the card as JSON as well")
    return parser.parse_args(given)


async def _serve(profile: Profile, host: str, port: int) -> None:
    async with open_provider(profile, port, host) as running:
        print(f"breaking on purpose at {running.url}", flush=True)
        await trio.sleep_forever()


async def _score(arguments: argparse.Namespace, profile: Profile, chosen: Sequence[Case]) -> list[Result]:
    if arguments.url is None:
        async with (
            open_provider(profile) as there,
            our_services(profile, there.url, chosen) as urls,
            open_harness(profile, urls, there) as stage,
        ):
            return await run_cases(stage, chosen)
    given: dict[Gateway, str] = {"plain": arguments.url.rstrip("/")}
    if arguments.hedged_url:
        given["hedged"] = arguments.hedged_url.rstrip("/")
    headers = {"authorization": f"Bearer {arguments.token}"} if arguments.token else {}
    async with open_harness(profile, given, arguments.provider, headers) as stage:
        return await run_cases(stage, chosen)


def main(given: Sequence[str] | None = None) -> int:
    """Run it; returns 1 when a case fails."""
    arguments = _arguments(given)
    profile = PROFILES[arguments.profile]
    if arguments.command == "serve":
        trio.run(_serve, profile, arguments.host, arguments.port)
        return 0
    rows = [row for row in ROWS if arguments.only in row.name]
    chosen = expand_cases(rows, arguments.forms, arguments.wires)
    if arguments.command == "config":
        if arguments.of == "litellm":
            print(litellm(profile, arguments.provider, chosen))
        else:
            print("# in the environment: " + " ".join(f"{name}={value}" for name, value in KEYS.items()))
            print(toml(lakehouse_tables(profile, arguments.provider, chosen, arguments.gateway)))
        return 0
    results = trio.run(_score, arguments, profile, chosen)
    print(score_table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(score_document(results, profile), indent=1))
    return int(any(result.problems for result in results))


if __name__ == "__main__":
    sys.exit(main())
