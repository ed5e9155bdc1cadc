"""Does a request fail, or change its provider, when the configuration is reloaded under load; and does anything stay?

    python -m tools.reloads [--reloads 1000] [--connections 64] [--workers N]

Chats go over the connections, half of them streamed, while the configuration names one provider and then the other,
each with its own key; eight streams are open all the time. The service is in this process, where its tasks can be
counted, or with --workers in processes of its own. Exit status 1 if a chat failed or was not answered by one provider
as a whole, if a provider got the key of the other, or if a descriptor, a task or more than 32 MB are left.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from lakehouse.config import Config, load_config
from lakehouse.telemetry.log import Log
from lakehouse.telemetry.service_gauges import read_resident_bytes
from lakehouse.testing.upstreams import open_upstream
from tools.kit.in_process_service import open_service
from tools.kit.reload_load import KEY_NAME, NAMES, LoadProvider, key_of, open_connection, run_reloads

STAYING = 8
MAX_GROWTH = 32 * 2**20
SETTLE_TIMEOUT = 20.0

CONFIGURATION = """
[gateway]
bind = "127.0.0.1:0"
[chatd]
ollama_url = ""
[chatd.openrouter]
base_url = "{url}"
key_file = "{key_file}"
[chatd.policy]
retries = 0
[observe]
log = "off"
[observe.system_tables]
enabled = false
"""


class RunningService(NamedTuple):
    """Its port, and its processes."""

    port: int
    pids: Callable[[], list[int]]


class Files(NamedTuple):
    """The configuration, and the key that it names, in a folder."""

    folder: Path
    urls: Mapping[str, str]

    @property
    def configuration(self) -> Path:
        """The file of the configuration."""
        return self.folder / "lakehouse.toml"

    def switch(self, name: str) -> None:
        """Name the other provider in the configuration, and write its key."""
        key_file = self.folder / "key.env"
        key_file.write_text(f"{KEY_NAME}={key_of(name)}\n")
        self.configuration.write_text(CONFIGURATION.format(url=self.urls[name], key_file=key_file))


@asynccontextmanager
async def open_in_process(files: Files) -> AsyncIterator[RunningService]:
    """The service in this process, whose tasks count."""

    def read() -> Config:
        return load_config(files.configuration).config

    async with open_service(read(), log=Log("off"), read_config=read) as service:
        yield RunningService(int(service.urls[0].rpartition(":")[2]), lambda: [os.getpid()])


@contextmanager
def run_workers(files: Files, workers: int) -> Iterator[RunningService]:
    """The service in processes of its own."""
    command = [sys.executable, "-m", "lakehouse", "serve", "-c", str(files.configuration), "--workers", str(workers)]
    environment = {**os.environ, "XDG_DATA_HOME": str(files.folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rpartition(":")[2])
            yield RunningService(port, lambda: [process.pid, *_list_children(process.pid)])
        finally:
            process.terminate()


def _list_children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


class Census(NamedTuple):
    """What there is while nobody asks for anything."""

    descriptors: int
    tasks: int
    memory: int


def count(service: RunningService) -> Census:
    """Count, over all processes; the tasks are those of this process."""
    pids = service.pids()
    descriptors = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
    tasks = trio.lowlevel.current_statistics().tasks_living
    return Census(descriptors, tasks, sum(read_resident_bytes(pid) for pid in pids))


async def settle(service: RunningService, before: Census | None = None) -> Census:
    """Reload, which closes idle connections, and count; again until there is no more than before."""
    with trio.move_on_after(SETTLE_TIMEOUT):
        while True:
            async with open_connection(service.port) as connection:
                await connection.post("/v1/reload")
            await trio.sleep(0.2)
            now = count(service)
            if before is None or (now.descriptors <= before.descriptors and now.tasks <= before.tasks):
                break
    return count(service)


async def main(arguments: argparse.Namespace) -> int:
    providers = [LoadProvider(name) for name in NAMES]
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(open_upstream(provider.answer)) for provider in providers]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reloads-")))
        files = Files(folder, {name: there.url for name, there in zip(NAMES, opened, strict=True)})
        files.switch(NAMES[0])
        if arguments.workers:
            service = stack.enter_context(run_workers(files, arguments.workers))
        else:
            service = await stack.enter_async_context(open_in_process(files))

        def switch(name: str) -> None:
            files.switch(name)
            for there in opened:
                there.requests.clear()  # of which a thousand reloads would keep 100 MB in this process

        run = partial(run_reloads, service.port, providers, switch, connections=arguments.connections)
        await run(reloads=20, staying=0)  # what is loaded with the first requests
        before = await settle(service)
        began = time.monotonic()
        result = await run(reloads=arguments.reloads, staying=STAYING)
        took = time.monotonic() - began
        after = await settle(service, before)
    chats = ", ".join(f"{result.answered[name]} by {name}" for name in NAMES)
    print(f"{arguments.reloads} reloads in {took:.1f} s under {arguments.connections} connections; chats: {chats}")
    print(f"failures: {len(result.failures)}; requests with another key: {sum(one.wrong_keys for one in providers)}")
    for failure in result.failures[:10]:
        print(f"  {failure}")
    for name, first, last in zip(Census._fields, before, after, strict=True):
        print(f"{name}: {first} before, {last} after")
    left = after.descriptors > before.descriptors or after.tasks > before.tasks
    grown = after.memory > before.memory + MAX_GROWTH
    return int(bool(result.failures) or any(one.wrong_keys for one in providers) or left or grown)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=re.sub(r"\s+", " ", (__doc__ or "").partition("\n\n")[0]))
    parser.add_argument("--reloads", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0, help="processes of the service; 0: in this process")
    sys.exit(trio.run(main, parser.parse_args()))
