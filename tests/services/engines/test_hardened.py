"""The restrictions of every engine: what a statement that nothing has checked can and cannot do."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from lakehouse.process.calls.pool import ChildPool, open_pool
from lakehouse.process.calls.pool_policy import PoolPolicy
from lakehouse.process.spec import ChildSpec
from lakehouse.services.engines.hardened import MIB, EngineKind, EngineStarter, make_engine_spec

TESTS = Path(__file__).parents[2]
KIND = EngineKind(
    name="the engine",
    target="tests.services.engines.targets:run_statements",
    memory=256 * MIB,
    threads=2,
    read=("datasets",),
    write=("staging",),
    max_spill=64 * MIB,
)


def spec_of(lake: Path) -> ChildSpec:
    """The specification of an engine for this lake, whose target is in the tests' own folder."""
    spec = make_engine_spec(KIND, directory=lake)
    return replace(spec, sandbox=replace(spec.sandbox, read_paths=(*spec.sandbox.read_paths, str(TESTS))))


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """The folder of a lake with one data file, and a secret beside it."""
    for name in ("lake/datasets", "lake/staging", "lake/spill"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "secret.csv").write_text("a\n1\n")
    (tmp_path / "lake/catalog.db").write_text("a\n1\n")
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 42 AS answer) TO '{tmp_path}/lake/datasets/a.parquet'")
    return tmp_path / "lake"


@asynccontextmanager
async def open_engine(lake: Path) -> AsyncIterator[ChildPool]:
    """A pool of one engine."""

    @asynccontextmanager
    async def open_spill() -> AsyncIterator[Path]:
        folder = lake / "spill" / secrets.token_hex(4)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    async with open_pool(spec_of(lake), PoolPolicy(size=1), start=EngineStarter(open_spill)) as pool:
        yield pool


async def run(pool: ChildPool, statements: Sequence[str]) -> list[str]:
    """What each statement yields, or its error."""
    return [(await pool.call(statement.encode())).decode() for statement in statements]


async def test_an_engine_reads_and_writes_only_its_folders(lake: Path) -> None:
    """Data files can be read and staged files written; everything else is refused, by DuckDB or by the kernel."""
    allowed = ["FROM 'datasets/a.parquet'", "COPY (SELECT 1) TO 'staging/b.parquet'", "FROM 'staging/b.parquet'"]
    refused = [
        f"FROM '{lake.parent}/secret.csv'",
        "FROM read_text('../secret.csv')",
        "FROM read_text('datasets/../../secret.csv')",
        "FROM read_text('catalog.db')",
        "FROM glob('*')",
        "FROM glob('/etc/*')",
        "FROM read_text('/proc/self/environ')",
        "COPY (SELECT 1) TO 'datasets/a.parquet'",
        "COPY (SELECT 1) TO 'datasets/c.parquet'",
        "COPY (SELECT 1) TO 'catalog.db'",
        "ATTACH 'catalog.db' AS catalog",
        "INSTALL httpfs",
        "LOAD httpfs",
        "FROM 'http://127.0.0.1:1/a.csv'",
        "SET threads = 64",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "RESET memory_limit",
        "FROM connection",  # a variable of the program around it
    ]
    async with open_engine(lake) as pool:
        assert await run(pool, allowed) == ["[(42,)]", "[(1,)]", "[(1,)]"]
        for statement, answer in zip(refused, await run(pool, refused), strict=True):
            assert "Error" in answer, (statement, answer)
        assert pool.sandbox is not None
        assert pool.sandbox.files.startswith("enforced")
        assert pool.sandbox.network.startswith("enforced")
    assert (lake / "catalog.db").read_text() == "a\n1\n"


async def test_the_kernel_refuses_files_where_the_database_would_not(lake: Path) -> None:
    """The settings open the whole folder of the lake to DuckDB: Landlock still stops it at the folders of the kind."""
    spec = spec_of(lake)
    opened = replace(spec, settings=spec.settings.replace(b'["datasets","staging"]', b'["."]'))
    assert opened.settings != spec.settings
    async with open_pool(opened, PoolPolicy(size=1)) as pool:
        answers = await run(pool, ["FROM read_text('catalog.db')", "COPY (SELECT 1) TO 'datasets/c.parquet'"])
        assert all("Permission denied" in answer for answer in answers), answers


@pytest.mark.extended
async def test_each_engine_has_a_spill_folder_that_ends_with_it(lake: Path) -> None:
    """A sort that is larger than the memory spills; the limit of the folder is an error; nothing is left behind."""
    sort = "SELECT max(h) FROM (SELECT hash(i) AS h, i FROM range({}) t(i) ORDER BY h OFFSET 1)"
    async with open_engine(lake) as pool:
        assert (await run(pool, ["SELECT current_setting('temp_directory')"]))[0].startswith("[('spill/")
        assert len(list((lake / "spill").iterdir())) == 1
        (answer,) = await run(pool, [sort.format(30_000_000)])
        assert "OutOfMemory" in answer, answer
    assert not list((lake / "spill").iterdir())


async def test_memory_that_the_database_does_not_count_has_a_wall(lake: Path) -> None:
    """Strings of row functions are not counted by `memory_limit`; the address space ends them."""
    async with open_engine(lake) as pool:
        (answer,) = await run(pool, ["SELECT sum(length(repeat('abcdefgh', 1000 + i::INT))) FROM range(100_000) t(i)"])
        assert "OutOfMemory" in answer, answer
        (child,) = pool._children
        assert child._child is not None
        status = Path(f"/proc/{child._child.pid}/status").read_text()
        (peak,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        assert peak * 1024 <= KIND.memory + 32 * MIB


async def test_an_engine_has_no_environment(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the service's environment reaches an engine."""
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-secret")
    async with open_engine(lake) as pool:
        (answer,) = await run(pool, ["SELECT getenv('OPENROUTER_API_KEY')"])
        assert "sk-secret" not in answer
        (child,) = pool._children
        assert child._child is not None
        assert b"sk-secret" not in Path(f"/proc/{child._child.pid}/environ").read_bytes()
