"""Images and documents in results of tools, for dialects whose results have text alone."""

from __future__ import annotations

import msgspec

from lakehouse.chat.model.parts import Part, TextPart
from lakehouse.chat.model.request import Message, TranslatedRequest

MOVED = "The tool returned this:"
"""What stands before the images of a result that are sent as a message of the user."""


def move_media(request: TranslatedRequest) -> TranslatedRequest:
    """Return the request with images and documents in results of tools moved to a message of the user after them, for
    chat completions have text alone in results."""
    if not any(message.role == "tool" and _get_media(message) for message in request.messages):
        return request
    moved: list[Part] = []
    messages: list[Message] = []
    names, names_of_messages = _split_names(request.field_names)
    for index, message in enumerate(request.messages):
        if message.role != "tool" and moved:
            messages.append(_make_user_message(moved))
            moved = []
        media = _get_media(message) if message.role == "tool" else ()
        moved += media
        for rest, path in names_of_messages.get(f"messages[{index}", ()):
            names[f"messages[{len(messages)}]{rest}"] = path
        messages.append(msgspec.structs.replace(message, content=message.text) if media else message)
    if moved:
        messages.append(_make_user_message(moved))
    return msgspec.structs.replace(request, messages=tuple(messages), field_names=names)


def _split_names(names: dict[str, str]) -> tuple[dict[str, str], dict[str, list[tuple[str, str]]]]:
    """Return the names that are about no message, and those of each message without its position."""
    others: dict[str, str] = {}
    of_messages: dict[str, list[tuple[str, str]]] = {}
    for name, path in names.items():
        position, bracket, rest = name.partition("]")
        if bracket and position.startswith("messages["):
            of_messages.setdefault(position, []).append((rest, path))
        else:
            others[name] = path
    return others, of_messages


def _get_media(message: Message) -> tuple[Part, ...]:
    parts = message.content if isinstance(message.content, tuple) else ()
    return tuple(part for part in parts if not isinstance(part, TextPart))


def _make_user_message(media: list[Part]) -> Message:
    return Message(role="user", content=(TextPart(text=MOVED), *media))
