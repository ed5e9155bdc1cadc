"""What of a Responses request only a provider of the same form can be sent, and the types of its objects."""

from __future__ import annotations

import msgspec

from lakehouse.chat.model.parts import JsonObject
from lakehouse.core.errors import ErrBadRequest


class Unsent:
    """Collects the paths of `TranslatedRequest`: those that other dialects refuse, and hints."""

    def __init__(self) -> None:
        self.unmapped: dict[str, None] = {}
        self.types: dict[str, str] = {}  # the types of objects among `unmapped`
        self.hints: dict[str, None] = {}

    def refuse(self, path: str) -> None:
        """Record a field that other dialects refuse."""
        self.unmapped[path] = None

    def refuse_type(self, where: str, kind: str) -> None:
        """Record an object of a type that other dialects do not have."""
        self.unmapped[f"{where}.type"] = None
        self.types[f"{where}.type"] = kind

    def leave_out(self, path: str) -> None:
        """Record a hint."""
        self.hints[path] = None

    def leave_out_unknown(self, given: JsonObject, known: type[msgspec.Struct], where: str) -> None:
        """Record the fields of an object that its type does not have as hints. Null is the same as no field."""
        for name, value in given.items():
            if name != "type" and name not in known.__struct_fields__ and value is not None:
                self.leave_out(f"{where}.{name}")


def get_type(given: JsonObject, where: str) -> str:
    """Return the type of an object. Raises `ErrBadRequest` if it has none."""
    kind = given.get("type")
    if not isinstance(kind, str) or not kind:
        raise ErrBadRequest(f"`{where}.type` is required", field=f"{where}.type")
    return kind[:64]
