"""What becomes of the fields of OpenAI's request that only chat completions know, in a dialect that is another one.

Each dialect lists the fields that it has a place for, as data. A field that is in no list is refused with a 400 that
names it, for leaving it out could change the answer. `Changes` records every field that is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lakehouse.chat.dialects.base import Changes, Quirks
from lakehouse.chat.dialects.lenient_json import JsonObject, mapping
from lakehouse.chat.dialects.request_fields import extra_fields
from lakehouse.chat.model.request import Request
from lakehouse.core.errors import ErrBadRequest


@dataclass(frozen=True, slots=True)
class Sent:
    """The field is sent at `path` of the body. With `words`, only the values in it are, in the form's own words, and
    the field is left out with any other value."""

    path: tuple[str, ...]
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The field is left out: it says how the request is served or filed, not what is answered."""


@dataclass(frozen=True, slots=True)
class LeftOutIf:
    """The field is left out with one of the `values`, which mean the same as no field, and refused with any other."""

    values: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Read:
    """The dialect reads the field itself, together with others."""


Place = Sent | LeftOut | LeftOutIf | Read
Places = Mapping[str, Place]

WITHOUT_PLACE: Places = {
    "audio": LeftOutIf(),
    "frequency_penalty": LeftOutIf((0,)),
    "logit_bias": LeftOutIf(({},)),
    "logprobs": LeftOutIf((False,)),
    "metadata": LeftOut(),
    "modalities": LeftOutIf((["text"],)),
    "parallel_tool_calls": LeftOutIf((True,)),
    "prediction": LeftOut(),  # makes the same answer faster
    "presence_penalty": LeftOutIf((0,)),
    "prompt_cache_key": LeftOut(),
    "prompt_cache_retention": LeftOut(),
    "safety_identifier": LeftOut(),
    "service_tier": LeftOut(),
    "store": LeftOutIf((False,)),
    "stream_options": LeftOut(),  # how a stream is padded
    "think": Read(),
    "top_logprobs": LeftOutIf((0,)),
    "usage": LeftOut(),  # OpenRouter's switch for the cost
    "verbosity": LeftOutIf(("medium",)),
    "web_search_options": LeftOutIf(),
}
"""Every field that OpenAI documents and `Request` does not have, for a form that has no place for any of them. A
dialect puts its own places over these."""


def carried(request: Request, places: Places, *, model: str, quirks: Quirks, changes: Changes) -> JsonObject:
    """The extra fields of `request` as a body has them. Raises `ErrBadRequest` naming one that has no place."""
    body: JsonObject = {}
    for name, value in extra_fields(request).items():
        match places.get(name):
            case Sent(path=path, words=words):
                word = words.get(value) if isinstance(value, str) else None
                if words and word is None:
                    changes.leave_out(name)
                else:
                    _put(body, path, value if word is None else word)
            case LeftOut():
                changes.leave_out(name)
            case LeftOutIf(values=values) if any(_same(value, neutral) for neutral in values):
                changes.leave_out(name)
            case Read():
                pass
            case _:
                raise unplaced(name, model=model, quirks=quirks)
    return body


def unplaced(name: str, *, model: str, quirks: Quirks) -> ErrBadRequest:
    """The refusal of a field that cannot be left out."""
    message = f"`{name}` cannot be sent: {quirks.provider} serves {model} in a form that has no such field"
    return ErrBadRequest(message, field=name)


def note_unsent(request: Request, quirks: Quirks, changes: Changes) -> None:
    """Record the fields that the provider is never sent."""
    if not quirks.send_temperature:
        changes.leave_out("temperature", request.temperature)
        changes.leave_out("top_p", request.top_p)
    if not quirks.send_user:
        changes.leave_out("user", request.user)


def note_strict(request: Request, changes: Changes) -> None:
    """Record that arguments are to fit their schema for certain, which only OpenAI's forms have a word for."""
    for tool in request.tools or ():
        if mapping(tool.get("function")).get("strict"):
            changes.leave_out("tools.function.strict")


def _put(body: JsonObject, path: tuple[str, ...], value: Any) -> None:  # noqa: ANN401 - any JSON
    *above, name = path
    for key in above:
        body = body.setdefault(key, {})
    body[name] = value


def _same(value: object, neutral: object) -> bool:
    """Whether two values of JSON are equal; true is not 1 there."""
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)
