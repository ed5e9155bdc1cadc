"""A client of the storage: puts, replacements and deletions of objects, with conditions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from random import Random

from tools.kit.lake_crashes.report import CrashReport
from tools.kit.lake_crashes.requests import LakeClient, Request
from tools.kit.lake_crashes.writer import Step, Writer

Objects = Mapping[str, tuple[int, str]]
"""Size and SHA-256 of the object of each key."""

KEYS = 8
SMALL, LARGEST = 6_000, 1_200_000
"""Bytes of bodies: those of the index, and those of files."""


class ObjectWriter(Writer[Objects]):
    """Writes the objects below `<name>/`."""

    def __init__(self, name: str, client: LakeClient, report: CrashReport, random: Random) -> None:
        super().__init__(name, client, report, random, {})

    def choose(self) -> Step[Objects]:
        """A put, with or without a condition that holds, or a deletion."""
        key = f"{self.name}/{self.random.randrange(KEYS)}"
        present = self.state.get(key)
        path = f"/v1/storage/objects/{key}"
        if present and self.random.random() < 0.25:
            rest = {each: value for each, value in self.state.items() if each != key}
            return Step("object delete", Request("DELETE", path), rest)
        limit = SMALL if self.random.random() < 0.5 else LARGEST
        content = self.random.randbytes(self.random.randrange(limit))
        after: Objects = {**self.state, key: (len(content), hashlib.sha256(content).hexdigest())}
        if self.random.random() < 0.4:
            headers = {"if-none-match": "*"}
            refused = frozenset({412})
            step = Step("object put, if absent", Request("PUT", path, content, headers), after, refused, bool(present))
        elif present:
            headers = {"if-match": f'"{present[1]}"'}
            step = Step("object put, if match", Request("PUT", path, content, headers), after)
        else:
            step = Step("object put", Request("PUT", path, content), after)
        return step

    async def observe(self) -> Objects:
        """The list, and the bytes of each object in it."""
        listed = await self.client.read(Request("GET", f"/v1/storage/list?prefix={self.name}/"))
        found: dict[str, tuple[int, str]] = {}
        for entry in listed.json()["objects"]:
            key = entry["key"]
            reply = await self.client.read(Request("GET", f"/v1/storage/get/{key}"))
            self.report.reads["objects"] += 1
            digest = hashlib.sha256(reply.body).hexdigest()
            if reply.status != 200 or (len(reply.body), f'"{digest}"') != (entry["size"], entry["etag"]):
                self.fail(f"the object {key} is not as listed: {reply.status}, {len(reply.body)} bytes, {entry}")
            found[key] = (len(reply.body), digest)
        return found
