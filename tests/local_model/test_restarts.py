"""While the embedded model's process starts, requests wait for it: none fails for that, and no circuit opens.

First against a provider that does what it is told in virtual time, then over the Unix socket that tells the workers,
then against the real process, which is killed again and again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.chat.dispatch.open_dispatcher import LocalServer, open_service_dispatcher
from lakehouse.core.errors import ErrTimeout, ErrUnavailable, ErrUnreached, ErrUpstream
from lakehouse.core.provider_failures import make_failure
from lakehouse.local_model import engine as engines
from lakehouse.local_model.readiness import (
    DETECTION_TIME,
    Readiness,
    ReadinessState,
    follow_readiness,
    publish_readiness,
)
from tools.kit.fake_providers import (
    FakeProvider,
    NoJitter,
    Script,
    answer_of,
    ask,
    completion_event,
    completion_stream,
    context,
    ollama_answer,
    read,
    settings,
)
from tools.kit.in_process_service import client_of, make_config, open_service
from tools.kit.model_kills import COOLDOWN, kill_under_load
from tools.kit.model_kills import model_processes as processes
from tools.kit.serve_process import run_lakehouse

needs_llama = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("xllamacpp", "gguf", "numpy")),
    reason="the extra `local` is not installed: pip install '.[local]'",
)
MODES = pytest.mark.parametrize("mode", ["whole", "stream"])
AWAY = Script(error=ErrUnreached("local could not be connected to", error_class="upstream_error", retryable=True))
BROKEN = Script(error=make_failure("upstream_error", "local closed the connection without an answer"))
CUT = Script(
    chunks=[
        (0, completion_event({"content": "Hel"})),
        (0, make_failure("incomplete_stream", "local broke off", upstream_status=200)),
    ]
)


class Embedded(FakeProvider):
    """The embedded model, whose process ends with the answers that break."""

    def __init__(self, readiness: Readiness, *scripts: Script, restart: float = 2.0) -> None:
        super().__init__(*scripts)
        self._readiness = readiness
        self.restart = restart
        self.deaths = len(scripts) - 1
        self.nursery: trio.Nursery

    async def wait(self, seconds: float) -> None:
        if len(self.requests) <= self.deaths:
            self.nursery.start_soon(self.die)
        await super().wait(seconds)

    async def die(self) -> None:
        """The supervisor hears of it a moment later, and the successor serves after `restart` seconds."""
        await trio.sleep(0.01)
        self._readiness.set_starting()
        await trio.sleep(self.restart)
        self._readiness.set_serving()


@asynccontextmanager
async def embedded(
    readiness: Readiness, local: FakeProvider, *, ollama: FakeProvider | None = None, **chatd: Any
) -> AsyncIterator[ServiceDispatcher]:
    """A dispatcher with this embedded model; every failure that counts opens its circuit at once."""
    server = LocalServer(base_url="http://127.0.0.1:4711/v1", api_key="secret", model="demo", readiness=readiness)
    policy = {"breaker_failures": 1, "backoff": 0.1, **chatd.pop("policy", {})}
    config = settings(policy=policy, default="local", **chatd)
    transports = {"local": local, "ollama": ollama or FakeProvider(ollama_answer("Ollama."))}
    async with open_service_dispatcher(
        config, env={}, local=server, transports=transports, random=NoJitter()
    ) as dispatcher:
        yield dispatcher
        assert dispatcher.open_circuits()["local"] == 0
    assert local.open == 0


def served() -> Readiness:
    readiness = Readiness()
    readiness.set_serving()
    return readiness


class TestWaiting:
    @MODES
    async def test_a_request_waits_until_the_model_is_served(self, mode: str, autojump_clock: MockClock) -> None:
        readiness, local = Readiness(), FakeProvider(completion_stream("Hel", "lo."))
        async with embedded(readiness, local, first_token_timeout=20.0) as dispatcher, trio.open_nursery() as nursery:
            nursery.start_soon(later, 50, readiness.set_serving)
            text, said = await answer_of(dispatcher, ask("demo"), mode)
        assert text == "Hello."
        assert local.times == [50]
        assert [(entry.error, entry.ms) for entry in said.attempts] == [(None, 0)]  # the wait is no attempt

    @MODES
    async def test_the_deadline_ends_the_wait(self, mode: str, autojump_clock: MockClock) -> None:
        local = FakeProvider(completion_stream("Hello."))
        async with embedded(Readiness(), local, timeout=90.0) as dispatcher:
            with pytest.raises(ErrTimeout, match="within 90 s"):
                await answer_of(dispatcher, ask("demo"), mode)
        assert trio.current_time() == 90
        assert local.requests == []

    async def test_the_wait_ends_with_its_client(self, autojump_clock: MockClock) -> None:
        local, flown = FakeProvider(completion_stream("Hello.")), context()
        async with embedded(Readiness(), local) as dispatcher:
            with trio.move_on_after(3) as left:
                await dispatcher(ask("demo"), context=flown)
        assert left.cancelled_caught
        assert (flown.phase, flown.upstream, flown.model) == ("queued", "local", "demo")
        assert local.requests == []

    async def test_another_route_is_asked_after_first_token_timeout(self, autojump_clock: MockClock) -> None:
        local = FakeProvider(completion_stream("Hello."))
        async with embedded(Readiness(), local, first_token_timeout=20.0) as dispatcher:
            answer = await dispatcher(ask("demo", "ollama/m"))
        assert (answer.content, trio.current_time()) == ("Ollama.", 20)

    async def test_a_hedge_goes_beside_the_wait(self, autojump_clock: MockClock) -> None:
        local = FakeProvider(completion_stream("Hello."))
        async with embedded(Readiness(), local, policy={"hedge_after": 3.0}) as dispatcher:
            answer = await dispatcher(ask("demo", "ollama/m"))
        assert (answer.content, trio.current_time()) == ("Ollama.", 3)

    @MODES
    async def test_starts_that_keep_failing_end_the_wait(self, mode: str, autojump_clock: MockClock) -> None:
        readiness, local = Readiness(), FakeProvider(completion_stream("Hello."))
        async with embedded(readiness, local) as dispatcher, trio.open_nursery() as nursery:
            nursery.start_soon(later, 7, partial(readiness.set_failed, retry_after=8.0))
            for moment in (7, 7):  # who waits is told then, and who comes later at once
                with pytest.raises(ErrUnavailable, match="the embedded model cannot be started") as raised:
                    await answer_of(dispatcher, ask("demo"), mode)
                assert trio.current_time() == moment
            assert raised.value.headers() == [("retry-after", "8")]
            assert not dispatcher.providers()[-1].available
            assert (await dispatcher(ask("demo", "ollama/m"))).content == "Ollama."
            readiness.set_serving()
            assert dispatcher.providers()[-1].available
            assert (await dispatcher(ask("demo"))).content == "Hello."

    async def test_the_list_of_models_waits_for_the_process(self, autojump_clock: MockClock) -> None:
        readiness = Readiness()
        local = FakeProvider(Script(chunks=[(0, b'{"data":[{"id":"demo"}]}')]))
        async with embedded(readiness, local, ollama_url="") as dispatcher, trio.open_nursery() as nursery:
            nursery.start_soon(later, 2, readiness.set_serving)
            assert [card.id for card in await dispatcher.models()] == ["local/demo"]


class TestDeaths:
    @MODES
    async def test_a_refused_connection_is_no_attempt(self, mode: str, autojump_clock: MockClock) -> None:
        """The process has just ended and the supervisor does not know yet: nothing was sent."""
        async with dying(AWAY, completion_stream("Hello.")) as (local, dispatcher):
            text, said = await answer_of(dispatcher, ask("demo"), mode)
        assert (text, local.times) == ("Hello.", [0, 2.01])
        assert [entry.error for entry in said.attempts] == [None]

    @MODES
    @pytest.mark.parametrize("script", [BROKEN, CUT], ids=["before the answer", "within the answer"])
    async def test_what_was_sent_is_sent_again_as_the_policy_says(
        self, script: Script, mode: str, autojump_clock: MockClock
    ) -> None:
        async with dying(script, completion_stream("Hello.")) as (local, dispatcher):
            if script is CUT and mode == "stream":
                pieces, error = await read(dispatcher, "demo")
                assert len(pieces) == 1
                assert error is not None
                assert error.error_class == "incomplete_stream"
                assert local.times == [0]
                return
            text, said = await answer_of(dispatcher, ask("demo"), mode)
        assert (text, local.times) == ("Hello.", [0, 2.01])
        assert [entry.error for entry in said.attempts] == [script_class(script), None]

    @MODES
    async def test_without_retries_it_fails_at_once(self, mode: str, autojump_clock: MockClock) -> None:
        async with dying(BROKEN, completion_stream("Hello."), policy={"retries": 0}) as (local, dispatcher):
            with pytest.raises(ErrUpstream, match="without an answer"):
                await answer_of(dispatcher, ask("demo"), mode)
            assert trio.current_time() == 0
            await trio.sleep(0.05)
            assert (await dispatcher(ask("demo"))).content == "Hello."  # whoever comes next waits
        assert local.times == [0, 2.01]

    async def test_deaths_in_a_row_end_with_the_retries(self, autojump_clock: MockClock) -> None:
        async with dying(BROKEN, BROKEN, BROKEN, completion_stream("Hello.")) as (local, dispatcher):
            with pytest.raises(ErrUpstream) as raised:
                await dispatcher(ask("demo"))
        assert len(raised.value.attempts) == len(local.requests) == 3

    async def test_a_broken_connection_to_a_living_process_costs_the_detection_time(
        self, autojump_clock: MockClock
    ) -> None:
        local = FakeProvider(BROKEN, completion_stream("Hello."))
        async with embedded(served(), local) as dispatcher:
            assert (await dispatcher(ask("demo"))).content == "Hello."
        assert local.times == [0, 0.1 + DETECTION_TIME]

    async def test_a_process_that_serves_and_cannot_be_connected_to_is_a_failure(
        self, autojump_clock: MockClock
    ) -> None:
        local = FakeProvider(AWAY)
        async with embedded(served(), local, policy={"retries": 1}) as dispatcher:
            with pytest.raises(ErrUpstream, match="could not be connected to") as raised:
                await dispatcher(ask("demo"))
        assert len(raised.value.attempts) == 2
        assert len(local.requests) == 3

    async def test_what_the_model_says_itself_still_counts(self, autojump_clock: MockClock) -> None:
        """The supervisor knows of the process, and not how it answers."""
        readiness, local = served(), FakeProvider(Script(status=500, chunks=[(0, b'{"error":{"message":"no"}}')]))
        server = LocalServer(base_url="http://127.0.0.1:4711/v1", api_key="x", model="demo", readiness=readiness)
        config = settings(policy={"breaker_failures": 1}, default="local")
        async with open_service_dispatcher(config, env={}, local=server, transports={"local": local}) as dispatcher:
            with pytest.raises(ErrUpstream):
                await dispatcher(ask("demo"))
            assert dispatcher.open_circuits()["local"] == 1


class TestTold:
    async def test_followers_have_every_state_and_keep_the_last(self, tmp_path: Path) -> None:
        path, readiness = tmp_path / "engine", Readiness()
        async with publish_readiness(readiness, path), follow_readiness(path) as early:
            assert early.state == ReadinessState(phase="starting", generation=0)
            for change in (
                readiness.set_serving,
                readiness.set_starting,
                partial(readiness.set_failed, 4.5),
                readiness.set_serving,
            ):
                seen = early.state
                change()
                with trio.fail_after(20):
                    assert await early.wait_changed(seen) == readiness.state
            async with follow_readiness(path) as late:
                assert late.state == early.state == ReadinessState(phase="serving", generation=2)

    async def test_a_follower_outlives_the_publisher(self, tmp_path: Path) -> None:
        path, readiness, over = tmp_path / "engine", served(), trio.Event()
        async with trio.open_nursery() as nursery:

            async def publish(*, task_status: trio.TaskStatus[None]) -> None:
                async with publish_readiness(readiness, path):
                    task_status.started()
                    await over.wait()

            await nursery.start(publish)
            async with follow_readiness(path) as told:
                over.set()
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert await told.wait_serving() == 1

    async def test_following_needs_a_publisher(self, tmp_path: Path) -> None:
        with pytest.RaisesGroup(FileNotFoundError):
            async with follow_readiness(tmp_path / "engine"):
                pytest.fail("there is nothing to follow")


@needs_llama
class TestTheProcess:
    async def test_failed_restarts_are_reported_and_go_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lakehouse.local_model import demo  # needs the extra

        monkeypatch.setattr(engines, "FIRST_RESTART_DELAY", 0.05)
        path, away = tmp_path / "tiny.gguf", tmp_path / "away"
        demo.build(path)
        config = make_config(chatd={"default": "local", "local": {"model": str(path)}})
        asked = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
        async with open_service(config) as there, client_of(there) as client:
            assert (await client.post("/v1/chat", json=asked)).status_code == 200
            path.rename(away)
            [pid] = processes(os.getpid())
            os.kill(pid, signal.SIGKILL)
            refused = await client.post("/v1/chat", json=asked)
            assert refused.status_code == 503, refused.text
            assert "the embedded model cannot be started" in refused.json()["error"]["message"]
            assert "retry-after" in refused.headers
            away.rename(path)
            with trio.fail_after(20):
                while (await client.post("/v1/chat", json=asked)).status_code != 200:
                    await trio.sleep(0.05)

    @pytest.mark.extended
    async def test_five_kills_under_load(self) -> None:
        """`python -m tools.kills` does it a thousand times."""
        config = make_config(chatd={"default": "local", "local": {"demo": True}})
        async with open_service(config) as there:
            tally = await kill_under_load(there.urls[0], os.getpid(), kills=5, clients=4, seed=1)
        assert tally.kills == 5
        assert tally.wrong == []
        assert max(tally.seconds) < COOLDOWN

    @pytest.mark.extended
    async def test_three_kills_under_load_with_workers(self) -> None:
        tables: dict[str, dict[str, object]] = {
            "chatd": {"ollama_url": "", "default": "local"},
            "chatd.local": {"demo": True},
        }
        with run_lakehouse({**tables, "observe": {"log": "off"}}, "--workers", "2") as there:
            url = f"http://{there.host}:{there.port}"
            tally = await kill_under_load(url, there.pid, kills=3, clients=4, seed=2)
        assert tally.kills == 3
        assert tally.wrong == []
        assert max(tally.seconds) < COOLDOWN


async def later(seconds: float, what: Any) -> None:
    await trio.sleep(seconds)
    what()


def script_class(script: Script) -> str:
    """The class of the failure in a script."""
    return "upstream_error" if script is BROKEN else "incomplete_stream"


@asynccontextmanager
async def dying(*scripts: Script, **chatd: Any) -> AsyncIterator[tuple[Embedded, ServiceDispatcher]]:
    """An embedded model whose process ends with each of these answers but the last."""
    readiness = served()
    local = Embedded(readiness, *scripts)
    async with embedded(readiness, local, **chatd) as dispatcher, trio.open_nursery() as local.nursery:
        yield local, dispatcher
