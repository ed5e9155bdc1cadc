"""`lakehouse.testing`: what a program that embeds Lakehouse can test with it, by its public names alone."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest
import trio
from trio.testing import MockClock

import lakehouse
from lakehouse import testing

HELLO = [{"role": "user", "content": "Hello?"}]


def make_config(**policy: float) -> lakehouse.Config:
    return lakehouse.parse_config({"chatd": {"policy": {"backoff": 1, **policy}}}).config


@pytest.mark.parametrize("name", testing.__all__)
def test_every_name_is_documented(name: str) -> None:
    assert name in ("SILENCE", "UpstreamScript") or getattr(testing, name).__doc__


def test_it_is_not_imported_by_lakehouse() -> None:
    code = "import lakehouse; lakehouse.serve; import sys; assert 'lakehouse.testing' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_a_provider_streams_in_virtual_time(autojump_clock: MockClock) -> None:
    ollama = testing.FakeProvider(testing.ollama_stream("Hel", "lo.", gap=30.0))
    async with lakehouse.open_dispatcher(make_config(), env={}, transports={"ollama": ollama}) as chat:
        async with chat.stream(lakehouse.Request(model="m", messages=HELLO)) as pieces:
            texts = [piece.text async for piece in pieces if isinstance(piece, lakehouse.ContentPiece)]
    assert texts == ["Hel", "lo."]
    assert trio.current_time() == pytest.approx(90)
    assert ollama.requests[0].json["messages"] == HELLO
    assert ollama.open == 0


async def test_a_provider_repeats_its_last_script(autojump_clock: MockClock) -> None:
    ollama = testing.FakeProvider(testing.error_response(503), testing.ollama_answer("Hi.", tokens=(1, 2)))
    async with lakehouse.open_dispatcher(make_config(retries=1), env={}, transports={"ollama": ollama}) as chat:
        answers = [await chat(lakehouse.Request(model="m", messages=HELLO)) for _ in range(2)]
    assert [(answer.content, answer.output_tokens, len(answer.attempts)) for answer in answers] == [
        ("Hi.", 2, 2),
        ("Hi.", 2, 1),
    ]
    assert ollama.times == sorted(ollama.times)


async def test_a_silent_provider_shows_when_its_caller_left(autojump_clock: MockClock) -> None:
    ollama = testing.FakeProvider(testing.SILENCE)
    async with lakehouse.open_dispatcher(make_config(), env={}, transports={"ollama": ollama}) as chat:
        with trio.move_on_after(7):
            await chat(lakehouse.Request(model="m", messages=HELLO))
    assert ollama.requests[0].left == pytest.approx(7)
    assert ollama.open == 0


async def test_a_stream_that_is_cut_is_an_error(autojump_clock: MockClock) -> None:
    cut = testing.ollama_stream("Hel", cut=httpx.ReadError("reset"))
    ollama = testing.FakeProvider(cut)
    async with lakehouse.open_dispatcher(make_config(retries=0), env={}, transports={"ollama": ollama}) as chat:
        with pytest.raises(lakehouse.ErrUpstream) as raised:
            async with chat.stream(lakehouse.Request(model="m", messages=HELLO)) as pieces:
                async for _ in pieces:
                    pass
    assert raised.value.error_class == "incomplete_stream"


async def test_openai_s_format(autojump_clock: MockClock) -> None:
    openrouter = testing.FakeProvider(testing.completion("Hi."), testing.completion_stream("H", "i."))
    transports = {"openrouter": openrouter}
    env = {"OPENROUTER_API_KEY": "key"}
    async with lakehouse.open_dispatcher(make_config(), env=env, transports=transports) as chat:
        request = lakehouse.Request(model="openrouter/v/m", messages=HELLO)
        assert (await chat(request)).content == "Hi."
        async with chat.stream(request) as pieces:
            assert [piece.text async for piece in pieces if isinstance(piece, lakehouse.ContentPiece)] == ["H", "i."]


def test_a_provider_without_a_script_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one script"):
        testing.FakeProvider()


async def test_a_body_is_not_read_after_it_was_closed() -> None:
    body = testing.ScriptedBody([(0, b"a")])
    await body.aclose()
    with pytest.raises(RuntimeError, match="read after it was closed"):
        await anext(body)


async def test_an_upstream_answers_on_a_real_socket(nursery: trio.Nursery) -> None:
    with trio.fail_after(10):
        script = testing.answer_with(testing.respond({"rows": 1}), testing.respond(b"busy", 503))
        async with testing.open_upstream(script) as upstream:
            config = lakehouse.parse_config(
                {"gateway": {"bind": "127.0.0.1:0", "queryd_url": upstream.url}, "observe": {"log": "off"}}
            ).config
            service = await nursery.start(lakehouse.serve, config)
            async with httpx.AsyncClient(base_url=service.urls[0], trust_env=False) as client:
                answers = [await client.post("/v1/sql/run", json={"sql": "select 1"}) for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 503, 503]
            assert upstream.requests[0].target == "/sql/run"
            assert upstream.requests[0].json == {"sql": "select 1"}
            service.stop()


async def test_an_upstream_that_never_answers_ends_with_its_client() -> None:
    with trio.fail_after(10):
        async with testing.open_upstream(testing.never_answer) as upstream:
            async with httpx.AsyncClient(trust_env=False) as client:
                with pytest.raises(httpx.ReadTimeout):
                    await client.get(upstream.url, timeout=httpx.Timeout(5, read=0.05))
            while upstream.closed < upstream.opened:
                await trio.sleep(0.001)
