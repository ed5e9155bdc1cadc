"""What an answer says beside text, reasoning and function calls reaches the caller, whole and streamed, in both forms."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import openai as sdk
import pytest
import trio
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from lakehouse.chat.dispatch.resume import DeliveredText
from lakehouse.chat.model.pieces import ContentPiece, Delta, DetailedContentPiece, SupplementPiece
from lakehouse.testing.upstreams import ReceivedRequest, respond
from tools.kit.service_with_providers import (
    ServiceWithProviders,
    chunk,
    completion,
    events,
    line,
    lines,
    message,
    ollama,
    open_service_with_providers,
    response,
    streamed_response,
)
from tools.kit.sse import sse_documents

TOKENS: list[dict[str, Any]] = [
    {"token": "Hel", "logprob": -0.5, "bytes": [72, 101, 108], "top_logprobs": [{"token": "Hel", "logprob": -0.5, "bytes": None}]},
    {"token": "lo.", "logprob": -0.25, "bytes": None, "top_logprobs": []},
]  # fmt: skip
BARE = [{"token": "Hel", "logprob": -0.5, "top_logprobs": [{"token": "Hel", "logprob": -0.5}]}, {"token": "lo.", "logprob": -0.25}]  # fmt: skip
COMPLETED = [{**TOKENS[0], "bytes": None}, TOKENS[1]]
CITED = {"url": "https://example.org", "title": "Example", "start_index": 0, "end_index": 6}
ANNOTATION = {"type": "url_citation", "url_citation": CITED}
FLAT = {"type": "url_citation", **CITED}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
OTHER_IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
AUDIO = {"id": "audio_1", "data": "UklGRg==", "expires_at": 1700000000, "transcript": "Hello."}


def with_choice(document: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A completion, or a chunk of one, with further fields of its choice."""
    return {**document, "choices": [{**document["choices"][0], **fields}]}


def of(tokens: list[dict[str, Any]], refused: Any = None) -> dict[str, Any]:
    return {"content": tokens or None, "refusal": refused}


def part(text: str = "Hello.", **fields: Any) -> dict[str, Any]:
    return {**response(), "output": [{"type": "message", "content": [{"type": "output_text", "text": text, **fields}]}]}


def said(*told: Mapping[str, Any], **end: Any) -> bytes:
    """A stream of the responses form, which goes through all that the whole one repeats."""
    return events(*told, {"type": "response.completed", "response": {**response(), **end}}, end=b"")


def delta(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text, **fields}


def block(*told: Mapping[str, Any], text: str = "Hello.") -> bytes:
    """A stream of the messages form with one block of text."""
    begun = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    texts = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
    return events(
        begun, *told, texts, {"type": "content_block_stop", "index": 0}, end, {"type": "message_stop"}, end=b""
    )


def citation(**fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": fields}}


WEB = {"type": "web_search_result_location", "url": "https://example.org", "title": "Example", "cited_text": "Hello", "encrypted_index": "E"}  # fmt: skip
CITED_WEB = {"type": "url_citation", "url_citation": {**CITED, "cited_text": "Hello", "encrypted_index": "E"}}
PAGE = {"type": "page_location", "document_index": 0, "document_title": "A", "start_page_number": 1, "end_page_number": 2, "cited_text": "H"}  # fmt: skip
CITED_PAGE = {"type": "page_location", "page_location": {**{key: PAGE[key] for key in PAGE if key != "type"}, "start_index": 0, "end_index": 6}}  # fmt: skip
IMAGE_ITEM = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="}

MODERATED = {name: {"type": "error", "code": "x", "message": "y"} for name in ("input", "output")}
HELLO_CHUNKS = (chunk(role="assistant", content="Hel"), chunk(content="lo."))

CASES: dict[str, tuple[str, dict[str, Any], bytes, dict[str, Any]]] = {
    # logprobs
    "logprobs": (
        "openrouter",
        with_choice(completion(), logprobs=of(TOKENS)),
        events(
            with_choice(HELLO_CHUNKS[0], logprobs=of(TOKENS[:1])),
            with_choice(HELLO_CHUNKS[1], logprobs=of(TOKENS[1:])),
            chunk("stop"),
        ),
        {"logprobs": of(TOKENS)},
    ),
    "logprobs without what clients count on": (
        "openrouter",
        with_choice(completion(), logprobs={"content": BARE}),
        events(*(with_choice(each, logprobs={"content": [token]}) for each, token in zip(HELLO_CHUNKS, BARE, strict=True)), chunk("stop")),
        {"logprobs": of(COMPLETED)},
    ),
    "logprobs that are null and empty": (
        "openrouter",
        with_choice(completion(), logprobs={"content": [], "refusal": None}),
        events(with_choice(HELLO_CHUNKS[0], logprobs={"content": []}), with_choice(HELLO_CHUNKS[1], logprobs=None), chunk("stop")),
        {},
    ),
    "logprobs in a chunk of their own": (
        "openrouter",
        with_choice(completion(), logprobs=of(TOKENS)),
        events(*HELLO_CHUNKS, with_choice(chunk(), logprobs=of(TOKENS)), chunk("stop")),
        {"logprobs": of(TOKENS)},
    ),
    "logprobs of a model whose reasoning leaks": (
        "opencode",
        with_choice(completion(), logprobs=of(TOKENS)),
        events(*(with_choice(each, logprobs=of([token])) for each, token in zip(HELLO_CHUNKS, TOKENS, strict=True)), chunk("stop")),
        {"logprobs": of(TOKENS)},
    ),
    "logprobs of a refusal": (
        "openrouter",
        with_choice(completion(None, refusal="Hello."), logprobs=of([], TOKENS)),
        events(
            *(with_choice(chunk(refusal=token["token"]), logprobs=of([], [token])) for token in TOKENS),
            chunk("stop"),
        ),
        {"refusal": "Hello.", "logprobs": of([], TOKENS)},
    ),
    "logprobs of the responses form": (
        "responses",
        part(logprobs=BARE),
        said(delta("Hel", logprobs=BARE[:1]), delta("lo.", logprobs=BARE[1:])),
        {"logprobs": of(COMPLETED)},
    ),
    "logprobs of Ollama": (
        "ollama",
        {**ollama(), "logprobs": BARE},
        lines({**line("Hel"), "logprobs": BARE[:1]}, {**line("lo."), "logprobs": BARE[1:]}, line(done=True)),
        {"logprobs": of(COMPLETED)},
    ),
    # annotations
    "annotations": (
        "openrouter",
        completion(annotations=[ANNOTATION]),
        events(*HELLO_CHUNKS, chunk(annotations=[ANNOTATION]), chunk("stop")),
        {"annotations": [ANNOTATION]},
    ),
    "annotations beside text, again and again": (
        "openrouter",
        completion(annotations=[ANNOTATION, ANNOTATION]),
        events(chunk(content="Hel", annotations=[ANNOTATION]), chunk("stop", content="lo.", annotations=[ANNOTATION])),
        {"annotations": [ANNOTATION]},
    ),
    "annotations in the flat form": (
        "opencode",
        completion(annotations=[FLAT]),
        events(*HELLO_CHUNKS, chunk("stop", annotations=[FLAT])),
        {"annotations": [ANNOTATION]},
    ),
    "annotations of another kind": (
        "openrouter",
        completion(annotations=[{"type": "file", "file": {"hash": "x"}}]),
        events(*HELLO_CHUNKS, chunk("stop", annotations=[{"type": "file", "file": {"hash": "x"}}])),
        {"annotations": [{"type": "file", "file": {"hash": "x"}}]},
    ),
    "annotations of the responses form": (
        "responses",
        part(annotations=[FLAT]),
        said(
            delta("Hello."),
            {"type": "response.output_text.annotation.added", "output_index": 0, "content_index": 0, "annotation": FLAT},
        ),
        {"annotations": [ANNOTATION]},
    ),
    "citations of the web": (
        "kimi",
        {**message(""), "content": [{"type": "text", "text": "Hello.", "citations": [WEB]}]},
        block(citation(**WEB)),
        {"annotations": [CITED_WEB]},
    ),
    "citations of a document": (
        "kimi",
        {**message(""), "content": [{"type": "text", "text": "Hello.", "citations": [PAGE]}]},
        block(citation(**PAGE)),
        {"annotations": [CITED_PAGE]},
    ),
    "addresses of sources": (
        "openrouter",
        {**completion(), "citations": ["https://a", "https://b"], "search_results": [{"url": "https://a"}]},
        events({**HELLO_CHUNKS[0], "citations": ["https://a"]}, {**HELLO_CHUNKS[1], "citations": ["https://a", "https://b"], "search_results": [{"url": "https://a"}]}, chunk("stop")),
        {"citations": ["https://a", "https://b"], "search_results": [{"url": "https://a"}]},
    ),
    # refusal, images, audio
    "a refusal": (
        "openrouter",
        completion(None, refusal="I will not."),
        events(chunk(refusal="I will"), chunk(refusal=" not."), chunk("stop")),
        {"refusal": "I will not."},
    ),
    "a refusal behind some text": (
        "openrouter",
        completion("Hello.", refusal="I will not."),
        events(*HELLO_CHUNKS, chunk(refusal="I will not."), chunk("stop")),
        {"content": "Hello.", "refusal": "I will not."},
    ),
    "a refusal among the parts of the content": (
        "openrouter",
        {**completion(), "choices": [{"message": {"content": [{"type": "refusal", "refusal": "No."}]}, "finish_reason": "stop"}]},
        events(chunk(content=[{"type": "refusal", "refusal": "No."}]), chunk("stop")),
        {"refusal": "No."},
    ),
    "a refusal of the responses form": (
        "responses",
        {**response(), "output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]},
        said({"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "delta": "No."}),
        {"refusal": "No."},
    ),
    "an image": (
        "openrouter",
        completion(images=[IMAGE]),
        events(*HELLO_CHUNKS, chunk(images=[IMAGE]), chunk("stop")),
        {"images": [IMAGE]},
    ),
    "nothing but an image": (
        "openrouter",
        completion("", images=[IMAGE]),
        events(chunk(role="assistant", content=""), chunk(images=[IMAGE]), chunk("stop")),
        {"content": None, "images": [IMAGE]},
    ),
    "nothing but an image, beside the end": (
        "openrouter",
        completion(None, images=[IMAGE, OTHER_IMAGE]),
        events(chunk("stop", content=None, images=[IMAGE, OTHER_IMAGE])),
        {"content": None, "images": [IMAGE, OTHER_IMAGE]},
    ),
    "an image among the parts of the content": (
        "opencode",
        {**completion(), "choices": [{"message": {"content": [{"type": "text", "text": "Hello."}, OTHER_IMAGE]}, "finish_reason": "stop"}]},
        events(chunk(content=[{"type": "text", "text": "Hello."}]), chunk("stop", content=[OTHER_IMAGE])),
        {"images": [OTHER_IMAGE]},
    ),
    "an image of Ollama": (
        "ollama",
        ollama("", images=["iVBORw0KGgo="]),
        lines(line(images=["iVBORw0KGgo="]), line(done=True)),
        {"content": None, "images": [IMAGE]},
    ),
    "an image of the responses form": (
        "responses",
        {**response(), "output": [IMAGE_ITEM]},
        said({"type": "response.output_item.done", "output_index": 0, "item": IMAGE_ITEM}, output=[IMAGE_ITEM]),
        {"content": None, "images": [IMAGE]},
    ),
    "audio": (
        "openrouter",
        completion(None, audio=AUDIO),
        events(
            chunk(role="assistant", audio={"id": "audio_1"}),
            chunk(audio={"transcript": "Hel"}),
            chunk(audio={"transcript": "lo.", "data": base64.b64encode(b"RI").decode()}),
            chunk(audio={"data": base64.b64encode(b"FF").decode()}),
            chunk("stop", audio={"expires_at": 1700000000}),
        ),
        {"content": None, "audio": AUDIO},
    ),
    "audio that is cut within its base64": (
        "openrouter",
        completion(None, audio=AUDIO),
        events(
            chunk(audio={"id": "audio_1", "transcript": "Hello.", "data": "UklG"}),
            chunk(audio={"data": "Rg==", "expires_at": 1700000000}),
            chunk("stop"),
        ),
        {"content": None, "audio": AUDIO},
    ),
    # facts
    "facts": (
        "openrouter",
        {**completion(), "service_tier": "default", "system_fingerprint": "fp_1"},
        events(*({**each, "service_tier": "default", "system_fingerprint": "fp_1"} for each in (*HELLO_CHUNKS, chunk("stop")))),
        {"service_tier": "default", "system_fingerprint": "fp_1"},
    ),
    "facts in one chunk": (
        "openrouter",
        {**completion(), "system_fingerprint": "fp_1", "service_tier": None},
        events(HELLO_CHUNKS[0], {**HELLO_CHUNKS[1], "system_fingerprint": "fp_1", "service_tier": None}, chunk("stop")),
        {"system_fingerprint": "fp_1"},
    ),
    "the tier of the responses form": (
        "responses",
        {**response(), "service_tier": "flex"},
        said(delta("Hello."), service_tier="flex"),
        {"service_tier": "flex"},
    ),
    "moderation": (
        "openrouter",
        {**completion(), "moderation": MODERATED},
        events(*HELLO_CHUNKS, {**chunk("stop"), "moderation": MODERATED}),
        {"moderation": MODERATED},
    ),
    "nothing beside the text": (
        "openrouter",
        completion(refusal=None, annotations=[], images=[], audio=None),
        events(*HELLO_CHUNKS, chunk("stop", refusal=None, annotations=[], images=[], audio=None)),
        {},
    ),
}  # fmt: skip

MODELS = {"openrouter": "openrouter/v/m", "opencode": "opencode/m", "kimi": "kimi/m", "responses": "opencode/gpt-5.4", "ollama": "ollama/m"}  # fmt: skip
OF_MESSAGE = ("refusal", "annotations", "images", "audio")
OF_DOCUMENT = ("service_tier", "system_fingerprint", "moderation", "citations", "search_results")


def speaking(provider: str, whole: Mapping[str, Any], stream: bytes) -> Any:
    async def script(asked: ReceivedRequest, wire: trio.SocketStream) -> None:
        kind = "application/x-ndjson" if provider == "ollama" else "Text/Event-Stream;Charset=UTF-8"
        await wire.send_all(streamed_response(stream, kind) if asked.json.get("stream") else respond(dict(whole)))
        await wire.aclose()

    return {"opencode" if provider == "responses" else provider: script}


def added(told: list[dict[str, Any]]) -> dict[str, Any]:
    """The supplements of a stream's deltas, put together as a client would."""
    found: dict[str, Any] = {}
    for event in told:
        for name in ("annotations", "images"):
            if event.get(name):
                found.setdefault(name, []).extend(event[name])
        if audio := event.get("audio"):
            whole = found.setdefault("audio", {})
            for name, value in audio.items():
                whole[name] = value if name in ("id", "expires_at") else whole.get(name, "") + value
        if logprobs := event.get("logprobs"):
            whole = found.setdefault("logprobs", {"content": None, "refusal": None})
            for name, tokens in logprobs.items():
                whole[name] = (whole[name] or []) + tokens if tokens else whole[name]
    if "data" in found.get("audio", {}):
        pieces_of = [event["audio"]["data"] for event in told if "data" in event.get("audio", {})]
        if any(piece.endswith("=") for piece in pieces_of[:-1]):
            found["audio"]["data"] = base64.b64encode(b"".join(map(base64.b64decode, pieces_of))).decode()
    return found


async def asked_in_all_ways(there: ServiceWithProviders, model: str) -> tuple[Any, list[Any], Any, list[Any]]:
    native = await there.chat(model)
    told = await there.chat(model, stream=True)
    whole = await there.complete(model)
    chunks = await there.complete(model, stream=True, stream_options={"include_usage": True})
    for answered in (native, told, whole, chunks):
        assert answered.status_code == 200, answered.text
    return native.json(), sse_documents(told.text), whole.json(), sse_documents(chunks.text)


@pytest.mark.parametrize(("provider", "whole", "stream", "expected"), CASES.values(), ids=CASES)
async def test_it_reaches_the_caller(
    provider: str, whole: dict[str, Any], stream: bytes, expected: dict[str, Any]
) -> None:
    refused = expected.get("refusal", "")
    text = expected.get("content", None if refused else "Hello.")
    of_message = {name: expected[name] for name in OF_MESSAGE if name in expected}
    of_document = {name: expected[name] for name in OF_DOCUMENT if name in expected}
    async with open_service_with_providers(scripts=speaking(provider, whole, stream)) as there:
        native, told, completed, chunks = await asked_in_all_ways(there, MODELS[provider])

    said_natively = {**of_message, **of_document, **{n: expected[n] for n in ("logprobs",) if n in expected}}
    assert native["content"] == (text or "") + refused
    assert {n: native[n] for n in (*OF_MESSAGE, *OF_DOCUMENT, "logprobs") if n in native} == said_natively
    assert native["finish_reason"] == ("content_filter" if refused else "stop")

    *deltas, done = told
    assert done["type"] == "done"
    assert "".join(event["text"] for event in deltas if event["type"] == "content") == (text or "") + refused
    assert "".join(event["text"] for event in deltas if event.get("refusal")) == refused
    beside = {n: said_natively[n] for n in ("annotations", "images", "audio", "logprobs") if n in said_natively}
    assert added(deltas) == beside
    assert {n: done[n] for n in (*OF_MESSAGE, *OF_DOCUMENT, "logprobs") if n in done} == of_document

    (choice,) = completed["choices"]
    if all(each["type"] == "url_citation" for each in expected.get("annotations", ())):  # the one type that is known
        ChatCompletion.model_validate(completed)
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, "stop")
    assert choice["logprobs"] == expected.get("logprobs")
    assert {n: choice["message"][n] for n in OF_MESSAGE if choice["message"].get(n) is not None} == of_message
    assert {n: completed[n] for n in OF_DOCUMENT if n in completed} == of_document

    choices = [choice for each in chunks for choice in each["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == (text or "")
    assert "".join(choice["delta"].get("refusal") or "" for choice in choices) == refused
    assert added([{**choice["delta"], "logprobs": choice.get("logprobs")} for choice in choices]) == beside
    assert choices[-1]["finish_reason"] == "stop"
    for each in (last for last in chunks if not last["choices"] or last["choices"][0]["finish_reason"]):
        assert {n: each[n] for n in OF_DOCUMENT if n in each} == of_document
    for each in chunks:
        ChatCompletionChunk.model_validate(each)


@pytest.mark.parametrize(("provider", "whole", "stream", "expected"), CASES.values(), ids=CASES)
async def test_it_does_so_in_the_other_mode(
    provider: str, whole: dict[str, Any], stream: bytes, expected: dict[str, Any]
) -> None:
    """A stream where a whole answer was asked for, and the other way round."""

    async def script(asked: ReceivedRequest, wire: trio.SocketStream) -> None:
        await wire.send_all(respond(whole) if asked.json.get("stream") else streamed_response(stream))
        await wire.aclose()

    name = "opencode" if provider == "responses" else provider
    names = [n for n in ("annotations", "images", "audio", "logprobs", "refusal") if n in expected]
    async with open_service_with_providers(scripts={name: script}) as there:
        native, told, _, _ = await asked_in_all_ways(there, MODELS[provider])
    assert {n: native.get(n) for n in names} == {n: expected[n] for n in names}
    assert added(told) == {n: expected[n] for n in names if n != "refusal"}


COUNTS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "OpenAI's": (
        "openrouter",
        {
            "prompt_tokens": 7,
            "completion_tokens": 3,
            "total_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1, "cache_write_tokens": 2, "text_tokens": 5, "image_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": 0, "accepted_prediction_tokens": 2, "rejected_prediction_tokens": 1, "text_tokens": 3},
        },
        {
            "prompt_tokens": 7,
            "completion_tokens": 3,
            "total_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1, "cache_write_tokens": 2, "text_tokens": 5, "image_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": 0, "accepted_prediction_tokens": 2, "rejected_prediction_tokens": 1, "text_tokens": 3},
        },
    ),
    "details that are null, or no counts": (
        "openrouter",
        {
            "prompt_tokens": 7,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": None, "audio_tokens": -1, "x": "y", "z": {}},
            "completion_tokens_details": None,
        },
        {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    ),
    "Kimi's cached tokens": (
        "openrouter",
        {"prompt_tokens": 7, "completion_tokens": 3, "cached_tokens": 4},
        {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_tokens_details": {"cached_tokens": 4}},
    ),
    "DeepSeek's cached tokens": (
        "opencode",
        {"prompt_tokens": 7, "completion_tokens": 3, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 3},
        {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_tokens_details": {"cached_tokens": 4}},
    ),
    "the messages form's": (
        "kimi",
        {"input_tokens": 7, "output_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2},
        {
            "prompt_tokens": 13,
            "completion_tokens": 3,
            "total_tokens": 16,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        },
    ),
    "the responses form's": (
        "responses",
        {
            "input_tokens": 7,
            "output_tokens": 3,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
            "output_tokens_details": {"reasoning_tokens": 1},
        },
        {
            "prompt_tokens": 7,
            "completion_tokens": 3,
            "total_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
    ),
    "a part of them": ("openrouter", {"prompt_tokens": 7}, {}),
    "none": ("openrouter", {}, {}),
}  # fmt: skip


def counted(provider: str, usage: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """An answer that is counted so, whole and streamed."""
    if provider == "kimi":
        told = ({"type": "message_start", "message": {"usage": usage}},)
        return {**message(), "usage": usage}, block(*told)
    if provider == "responses":
        return {**response(), "usage": usage}, said(delta("Hello."), usage=usage)
    return {**completion(), "usage": usage}, events(*HELLO_CHUNKS, chunk("stop"), {"choices": [], "usage": usage})


@pytest.mark.parametrize(("provider", "usage", "expected"), COUNTS.values(), ids=COUNTS)
async def test_all_counts_are_passed_on(provider: str, usage: dict[str, Any], expected: dict[str, Any]) -> None:
    async with open_service_with_providers(scripts=speaking(provider, *counted(provider, usage))) as there:
        native, told, whole, chunks = await asked_in_all_ways(there, MODELS[provider])
    assert whole.get("usage", {}) == expected
    assert [each["usage"] for each in chunks if each.get("usage")] == ([expected] if expected else [])
    if "total_tokens" in expected:
        CompletionUsage.model_validate(whole["usage"], strict=True)
        assert ChatCompletion.model_validate(whole).usage == CompletionUsage.model_validate(expected)
    for answered in (native, told[-1]):
        assert answered["input_tokens"] == expected.get("prompt_tokens", usage.get("prompt_tokens"))
        assert answered["output_tokens"] == expected.get("completion_tokens")
        others = {"input_details": "prompt_tokens_details", "output_details": "completion_tokens_details"}
        for name, theirs in others.items():
            details = expected.get(theirs, {}).items()
            left = {key: value for key, value in details if key not in ("cached_tokens", "reasoning_tokens")}
            assert answered.get(name, {}) == left


async def test_openais_client_sees_it_all() -> None:
    whole = {
        **with_choice(completion(annotations=[ANNOTATION]), logprobs=of(TOKENS)),
        "service_tier": "default",
        "system_fingerprint": "fp_1",
    }
    stream = events(*({**with_choice(each, logprobs=of([token])), "system_fingerprint": "fp_1"} for each, token in zip(HELLO_CHUNKS, TOKENS, strict=True)), {**chunk("stop"), "system_fingerprint": "fp_1"})  # fmt: skip
    asked: Any = [{"role": "user", "content": "?"}]

    def talk(url: str) -> None:
        with sdk.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            answer = client.chat.completions.create(model="openrouter/v/m", messages=asked, logprobs=True)
            with client.chat.completions.stream(model="openrouter/v/m", messages=asked, logprobs=True) as told:
                for _ in told:
                    pass
                final = told.get_final_completion()
        assert answer.choices[0].message.annotations is not None
        assert answer.choices[0].message.annotations[0].url_citation.url == "https://example.org"
        assert (answer.service_tier, answer.system_fingerprint) == ("default", "fp_1")
        assert final.system_fingerprint == "fp_1"
        for seen in (answer, final):
            logprobs = seen.choices[0].logprobs
            assert logprobs is not None
            assert logprobs.content is not None
            assert [token.token for token in logprobs.content] == ["Hel", "lo."]

    async with open_service_with_providers(scripts=speaking("openrouter", whole, stream)) as there:
        await trio.to_thread.run_sync(talk, str(there.client.base_url))


async def test_structured_answers_keep_their_logprobs() -> None:
    tokens = [{**TOKENS[1], "token": text} for text in ("{", "}")]
    whole = with_choice(completion("{}"), logprobs=of(tokens))
    stream = events(*(with_choice(chunk(content=token["token"]), logprobs=of([token])) for token in tokens), chunk("stop"))  # fmt: skip
    for provider in ("openrouter", "opencode"):
        async with open_service_with_providers(scripts=speaking(provider, whole, stream)) as there:
            assert (await there.chat(MODELS[provider], format="json")).json()["logprobs"] == of(tokens)
            told = sse_documents((await there.chat(MODELS[provider], format="json", stream=True)).text)
            assert added(told) == {"logprobs": of(tokens)}
            assert "".join(event.get("text", "") for event in told) == "{}"


TOLD: list[Delta] = [DetailedContentPiece("Hel", logprobs=of(TOKENS[:1])), SupplementPiece(annotations=(ANNOTATION,))]
RESUMED: dict[str, tuple[list[Delta], list[Delta], list[Delta] | None]] = {
    "details of what was repeated are not new": (TOLD, [*TOLD, ContentPiece("lo.")], [ContentPiece("lo.")]),
    "in other pieces": (
        TOLD,
        [ContentPiece("H"), *TOLD[1:], DetailedContentPiece("ello.", logprobs=of(TOKENS))],
        [ContentPiece("lo.")],
    ),
    "details of what is new": (
        [ContentPiece("Hel")],
        [ContentPiece("Hel"), DetailedContentPiece("lo.", logprobs=of(TOKENS[1:])), SupplementPiece(images=(IMAGE,))],
        [DetailedContentPiece("lo.", logprobs=of(TOKENS[1:])), SupplementPiece(images=(IMAGE,))],
    ),
    "an image cannot be compared": ([SupplementPiece(images=(IMAGE,))], [], None),
    "sound cannot be compared": ([SupplementPiece(audio=AUDIO)], [], None),
}


@pytest.mark.parametrize(("handed", "again", "new"), RESUMED.values(), ids=RESUMED)
def test_a_stream_is_resumed_from_its_text(handed: list[Delta], again: list[Delta], new: list[Delta] | None) -> None:
    there = DeliveredText()
    there.add(handed)
    repetition = there.prefix_matcher()
    assert (None if repetition is None else repetition.remove_delivered(again)) == new
