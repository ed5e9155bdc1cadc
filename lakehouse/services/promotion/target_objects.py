"""What the bucket of the target has: before anything is written, and after everything was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from lakehouse.config.warehouse_values import POSTGRESQL
from lakehouse.core.errors import ErrUpstream
from lakehouse.services.lake.concurrency import run_all
from lakehouse.services.promotion.copying import PROMOTION_FIELD
from lakehouse.services.promotion.journal import Journal, Stored
from lakehouse.services.promotion.plan import Plan
from lakehouse.services.promotion.process import Refused
from lakehouse.services.warehouse.bucket import Bucket
from lakehouse.services.warehouse.settings import STATE, WarehouseSettings

OWNER = f"{STATE}catalog"
AT_ONCE = 16
FORBIDDEN = 403
NAMED = 3
"""Keys that the text of a refusal names."""


class Found(NamedTuple):
    """An object of the target."""

    size: int
    etag: str


async def list_target(bucket: Bucket) -> dict[str, Found]:
    """All objects below the prefix of the warehouse, by key."""
    found: dict[str, Found] = {}
    token = ""
    while True:
        page = await bucket.list("", token=token)
        found |= {entry.key: Found(entry.size, entry.etag) for entry in page.objects}
        token = page.token
        if not token:
            return found


async def check_owner(bucket: Bucket, settings: WarehouseSettings) -> None:
    """Raise Refused if services with another catalog use the warehouse: they would delete the files as strangers'.

    Also for a bucket of tables: a server of them, which is a REST catalog as well, takes no tables from elsewhere.
    """
    try:
        data = await bucket.read(OWNER)
    except ErrUpstream as error:
        if error.upstream_status != FORBIDDEN or settings.catalog.startswith(POSTGRESQL):
            raise
        raise Refused(
            f"the bucket {settings.bucket} can be listed but refuses the key {OWNER}, as those do that take only tables"
            " which their own catalog has made: name an ordinary bucket, and a catalog that registers tables in it"
        ) from None
    owner = "" if data is None else data.decode("utf-8", "replace")
    if owner and owner != f"{settings.catalog} {settings.catalog_name}":
        raise Refused(
            f"{settings.location} belongs to the catalog {owner[:200]}, by its object {OWNER}: name that catalog, or"
            " another prefix"
        )


async def check_keys(
    bucket: Bucket, promotion: str, keys: Iterable[str], existing: Mapping[str, Found], stored: Mapping[str, Stored]
) -> None:
    """Raise Refused if keys are used by objects that are not of this promotion; `stored` are known to be."""
    foreign: list[str] = []

    async def check(key: str) -> None:
        answer = await bucket.request("HEAD", key, missing=True)
        if answer.status != 404 and (not promotion or answer.headers.get(PROMOTION_FIELD) != promotion):
            foreign.append(key)

    unknown = [key for key in keys if key in existing and not _is_stored(existing[key], stored.get(key))]
    await run_all(check, unknown, at_once=AT_ONCE)
    if foreign:
        foreign.sort()
        more = f" and {len(foreign) - NAMED} more" if len(foreign) > NAMED else ""
        raise Refused(
            f"the target has other objects with the keys of this lake ({', '.join(foreign[:NAMED])}{more}): name"
            " another prefix, or delete them"
        )


def forget_lost(journal: Journal, existing: Mapping[str, Found]) -> None:
    """Forget what is not in the target any more, or was changed there."""
    journal.forget([key for key, stored in journal.stored.items() if not _is_stored(existing.get(key), stored)])


async def remove_stale(bucket: Bucket, journal: Journal, plan: Plan) -> int:
    """Delete what an earlier run has stored and the lake does not have any more. Returns how many objects."""
    stale, removed = journal.find_begun(plan.files), 0

    async def remove(key: str) -> None:
        nonlocal removed
        answer = await bucket.request("HEAD", key, missing=True)
        if answer.headers.get(PROMOTION_FIELD) == journal.promotion:
            await bucket.delete(key, {"if-match": answer.headers["etag"]})
            removed += 1

    await run_all(remove, stale, at_once=AT_ONCE)
    journal.remove(stale)
    return removed


async def check_stored(bucket: Bucket, journal: Journal, plan: Plan) -> dict[str, int]:
    """Compare sizes and etags of all files with what was stored. Returns the sizes by key. Raises Refused."""
    found = await list_target(bucket)
    for key in plan.files:
        stored = journal.stored[key]
        if not _is_stored(found.get(key), stored):
            raise Refused(
                f"the check failed, and nothing was switched: the object {key} is missing in the target, or was changed"
                " there. Promote again, which copies it again"
            )
    return {key: found[key].size for key in plan.files}


def _is_stored(found: Found | None, stored: Stored | None) -> bool:
    return found is not None and stored is not None and (found.size, found.etag) == (stored.size, stored.etag)
