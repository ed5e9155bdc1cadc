"""Stores whose servers are killed, silent, or refuse the key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from lakehouse.core.errors import ErrUnreached, ErrUpstream
from tests.services.real_servers import skip_without
from tests.services.vector_stores.conftest import Store, make_store
from tests.services.vector_stores.store_kit import create, make_items, search, write
from tools.kit.scaleout.vector_servers import (
    OwnVectorServer,
    VectorServer,
    find_missing_stores,
    open_chroma,
    open_qdrant,
)

OPENERS = {"qdrant": open_qdrant, "chroma": open_chroma}


@pytest.fixture(scope="module", params=OPENERS)
def own(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnVectorServer]:
    """A server that no other module uses."""
    skip_without(find_missing_stores())
    with OPENERS[request.param](tmp_path_factory.mktemp("servers") / request.param) as found:
        yield found


@pytest.fixture(scope="module")
def server(own: OwnVectorServer) -> VectorServer:
    """Its address."""
    return own.address


async def test_what_was_written_survives_a_kill(store: Store, own: OwnVectorServer) -> None:
    await create(store, "kept")
    items, _ = make_items(50)
    await write(store, "kept", items=items, source_state=b'{"at":2}')
    own.kill()
    with pytest.raises(ErrUnreached):
        await search(store, "kept", nearest=3)
    own.start()
    [index] = await store.find_indexes(["kept"])
    assert (index.length, index.source) == (50, b'{"at":2}')
    assert len(await search(store, "kept", nearest=3)) == 3


async def test_a_server_that_is_killed_during_writes_has_whole_items_and_takes_the_write_again(
    store: Store, own: OwnVectorServer
) -> None:
    await create(store, "cut")
    items, _ = make_items(60)
    done = 0

    async def write_all() -> None:
        nonlocal done
        for start in range(0, 60, 2):
            await write(store, "cut", items=items[start : start + 2])
            done = start + 2

    async with trio.open_nursery() as nursery:

        async def kill() -> None:
            while done < 20:
                await trio.sleep(0.005)
            own.kill()

        nursery.start_soon(kill)
        with pytest.raises(ErrUpstream):
            await write_all()
    own.start()
    acknowledged = done
    stored = await store.get_items("cut", [item.id for item in items])
    assert {item.id for item in items[:acknowledged]} <= stored.keys()
    await write_all()
    [index] = await store.find_indexes(["cut"])
    assert index.length == 60


async def test_a_silent_server_ends_with_the_deadline_and_leaves_nothing_behind(
    store: Store, own: OwnVectorServer
) -> None:
    await create(store, "slow")
    own.pause()
    try:
        with trio.move_on_after(0.3) as scope:
            await search(store, "slow", nearest=3)
        assert scope.cancelled_caught
    finally:
        own.resume()
    with trio.fail_after(20):
        assert await search(store, "slow", nearest=3) == []


async def test_a_wrong_key_is_refused_and_not_shown(server: VectorServer) -> None:
    if not server.key:
        pytest.skip("this server knows no keys")
    store = make_store(server, "test", key="wrong-key")
    with pytest.raises(ErrUpstream, match=r"refuses the key .*lake\.key_file") as caught:
        await store.find_indexes()
    assert "wrong-key" not in str(caught.value)
    store.close()


async def test_the_server_says_what_it_is(store: Store) -> None:
    status = await store.check()
    assert status.version.split()[0] in ("Qdrant", "Chroma,")
    assert status.problem == ""
