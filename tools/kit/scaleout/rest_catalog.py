"""A REST catalog of Iceberg that registers tables: its interface over HTTP, with the rules of metadata from pyiceberg.

The server of `object_storage` has one as well, which takes only tables that it has made.
https://github.com/apache/iceberg/blob/main/open-api/rest-catalog-open-api.yaml
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

import trio
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import CommitTableRequest
from pyiceberg.table.metadata import TableMetadataUtil
from pyiceberg.table.update import update_table_metadata

from lakehouse.asgi.body import read_body
from lakehouse.asgi.responses import send_json
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.services.warehouse.bucket import Bucket
from tools.kit.gateway_services import serve_ours

MAX_BODY = 2**24
NAMESPACE_SEPARATOR = "\x1f"

Name = tuple[str, ...]


class Refused(Exception):
    """An answer that is no success: its status and the type of the error."""

    def __init__(self, status: int, kind: str) -> None:
        super().__init__(kind)
        self.status = status
        self.kind = kind


class RestCatalogApp:
    """The catalog of one warehouse, as an ASGI application; its tables are in a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self.namespaces: set[Name] = set()
        self.tables: dict[Name, str] = {}
        self._bucket = bucket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        data = await read_body(receive, MAX_BODY)
        parts = scope["path"].removeprefix("/v1/").split("/")
        query = parse_qs(scope["query_string"].decode())
        try:
            document = await self._answer(scope["method"], parts, query, json.loads(data) if data else {}, data)
        except Refused as refused:
            error = {"message": refused.kind, "type": refused.kind, "code": refused.status}
            await send_json(send, refused.status, {"error": error})
        else:
            await send_json(send, 200, document)

    async def _answer(
        self, method: str, parts: list[str], query: Mapping[str, list[str]], body: dict[str, str], data: bytes
    ) -> object:
        match method, parts:
            case "GET", ["config"]:
                return {"defaults": {}, "overrides": {}}
            case "GET", ["namespaces"]:
                above = _read_name(query.get("parent", [""])[0])
                found = {each[: len(above) + 1] for each in self.namespaces if each[:-1] == above}
                return {"namespaces": sorted(found)}
            case "POST", ["namespaces"]:
                self._add_namespace(tuple(body["namespace"]))
                return {"namespace": body["namespace"], "properties": {}}
            case "GET" | "HEAD", ["namespaces", name]:
                self._check_namespace(_read_name(name))
                return {"namespace": _read_name(name), "properties": {}}
            case "GET", ["namespaces", name, "tables"]:
                above = _read_name(name)
                own = [{"namespace": each[:-1], "name": each[-1]} for each in self.tables if each[:-1] == above]
                return {"identifiers": own}
            case "POST", ["namespaces", name, "register"]:
                return await self._register((*_read_name(name), body["name"]), body["metadata-location"])
            case "GET", ["namespaces", name, "tables", table]:
                return await self._load((*_read_name(name), table))
            case "POST", ["namespaces", name, "tables", table]:
                return await self._commit((*_read_name(name), table), data)
            case "DELETE", ["namespaces", name, "tables", table]:
                return {"dropped": self.tables.pop((*_read_name(name), table))}
        raise Refused(406, "UnsupportedOperationException")

    def _add_namespace(self, name: Name) -> None:
        if name in self.namespaces:
            raise Refused(409, "AlreadyExistsException")
        self.namespaces.add(name)

    def _check_namespace(self, name: Name) -> None:
        if name not in self.namespaces:
            raise Refused(404, "NoSuchNamespaceException")

    async def _register(self, name: Name, location: str) -> object:
        self._check_namespace(name[:-1])
        if name in self.tables:
            raise Refused(409, "AlreadyExistsException")
        await self._read(location)
        self.tables[name] = location
        return await self._load(name)

    async def _load(self, name: Name) -> object:
        if name not in self.tables:
            raise Refused(404, "NoSuchTableException")
        location = self.tables[name]
        return {"metadata-location": location, "metadata": json.loads(await self._read(location)), "config": {}}

    async def _commit(self, name: Name, data: bytes) -> object:
        """Apply the updates of a commit, if the table is what they require."""
        request = CommitTableRequest.model_validate_json(data)
        before = self.tables[name]
        base = TableMetadataUtil.parse_raw((await self._read(before)).decode())
        try:
            for requirement in request.requirements:
                requirement.validate(base)
        except CommitFailedException as error:
            raise Refused(409, f"CommitFailedException: {error}") from None
        changed = update_table_metadata(base, request.updates, metadata_location=before)
        location = f"{before.rpartition('/')[0]}/{uuid.uuid4()}.metadata.json"
        await self._bucket.put(self._find_key(location), changed.model_dump_json().encode())
        if self.tables[name] != before:
            raise Refused(409, "CommitFailedException")
        self.tables[name] = location
        return await self._load(name)

    async def _read(self, location: str) -> bytes:
        data = await self._bucket.read(self._find_key(location))
        if data is None:
            raise Refused(400, f"BadRequestException: there is no {location}")
        return data

    def _find_key(self, location: str) -> str:
        return location.removeprefix(self._bucket.settings.location)


def _read_name(text: str) -> Name:
    return tuple(text.split(NAMESPACE_SEPARATOR)) if text else ()


@asynccontextmanager
async def open_rest_catalog(bucket: Bucket) -> AsyncIterator[tuple[str, RestCatalogApp]]:
    """Serve a catalog of the tables in a bucket for the length of the block: its URL, and what it has."""
    app = RestCatalogApp(bucket)
    async with trio.open_nursery() as nursery, serve_ours(app, nursery) as (host, port):
        yield f"http://{host}:{port}", app
