"""The child that reads documents: its limits, its sandbox, and what it does when the caller leaves."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest
import trio

from lakehouse.core.errors import (
    ErrBadRequest,
    ErrNotInstalled,
    ErrTooLarge,
    ErrUnavailable,
    ErrUnprocessable,
    LakehouseError,
)
from lakehouse.process.calls.rpc_child import Call, CallError
from lakehouse.services.contracts.documents import DocumentFormat, PassageSize
from lakehouse.services.documents import extractor as extractor_module
from lakehouse.services.documents import limits, messages
from lakehouse.services.documents.child import main as child_main
from lakehouse.services.documents.extractor import PooledExtractor, open_document_extractor
from tools.kit.child_processes import wait_until_idle
from tools.kit.document_files import (
    make_docx,
    make_docx_bomb,
    make_looped_pdf,
    make_pdf,
    make_pdf_bomb,
    make_pdf_of_tokens,
    make_wide_pdf,
    paragraph,
)
from tools.kit.matrices import spread

SIZE = PassageSize(minimum=200, maximum=400)


@pytest.fixture
async def extractor() -> AsyncIterator[PooledExtractor]:
    async with open_document_extractor() as opened:
        yield opened


async def extract(
    extractor: PooledExtractor, folder: Path, content: bytes, kind: DocumentFormat, encoding: str = ""
) -> list[tuple[str, int | None]]:
    """The texts of the passages with their pages."""
    file = folder / f"document{time.monotonic_ns()}"
    file.write_bytes(content)
    document = await extractor.extract(file, kind, encoding=encoding, size=SIZE)
    return [(passage.text, passage.page) for passage in document.passages]


async def test_one_child_reads_files_of_every_format(extractor: PooledExtractor, tmp_path: Path) -> None:
    assert await extract(extractor, tmp_path, b"# A\n\ntext", "markdown") == [("# A\n\ntext", None)]
    assert await extract(extractor, tmp_path, b"plain", "text") == [("plain", None)]
    assert await extract(extractor, tmp_path, b"<p>page", "html") == [("page", None)]
    assert await extract(extractor, tmp_path, make_pdf([["one"], ["two"]]), "pdf") == [("one", 1), ("two", 2)]
    assert await extract(extractor, tmp_path, make_docx(paragraph("word")), "docx") == [("word", None)]
    assert extractor.pool.started == 1
    assert extractor.pool.sandbox is not None
    assert "seccomp" in extractor.pool.sandbox.network or "namespace" in extractor.pool.sandbox.network


async def test_errors_of_a_file_and_of_a_parameter(extractor: PooledExtractor, tmp_path: Path) -> None:
    with pytest.raises(ErrBadRequest, match="encoding"):
        await extract(extractor, tmp_path, b"x", "text", encoding="no-such")
    with pytest.raises(ErrUnprocessable, match="no text") as caught:
        await extract(extractor, tmp_path, b" \n", "text")
    assert caught.value.status == 422
    with pytest.raises(ErrUnprocessable, match="not text") as caught:
        await extract(extractor, tmp_path, b"ab\0", "text")
    assert caught.value.details == {"offset": 2}
    with pytest.raises(ErrTooLarge, match="10000000 bytes"):
        await extract(extractor, tmp_path, b"x" * 10_000_001, "html")
    assert extractor.pool.started == 1


HOSTILE: dict[str, tuple[Callable[[], bytes], DocumentFormat, type[LakehouseError]]] = {
    "docx: 1 GB out of 1 MB": (lambda: make_docx_bomb(2**30), "docx", ErrTooLarge),
    "docx: 1 GB, and the directory says 1 kB": (lambda: make_docx_bomb(2**30, claimed=1000), "docx", ErrUnprocessable),
    "docx: a text of 17 million characters": (lambda: make_docx(paragraph("x" * 17 * 2**20)), "docx", ErrTooLarge),
    "pdf: 1 GB out of 1 MB": (lambda: make_pdf_bomb(2**30), "pdf", ErrUnprocessable),
    "pdf: a circle of pages": (make_looped_pdf, "pdf", ErrUnprocessable),
    "pdf: 300,000 kids": (lambda: make_wide_pdf(300_000), "pdf", ErrUnprocessable),
    "html: 300,000 elements deep": (lambda: b"<div>" * 300_000, "html", ErrUnprocessable),
    "html: 500,000 attributes": (
        lambda: b"<div " + b" ".join(b"a%d=1" % n for n in range(500_000)) + b">",
        "html",
        ErrUnprocessable,
    ),
    "text: 17 million characters": (lambda: b"x" * (17 * 2**20), "text", ErrTooLarge),
}


@pytest.mark.parametrize("name", spread(HOSTILE, 4))
async def test_a_hostile_file_is_refused_while_others_are_read(
    extractor: PooledExtractor, tmp_path: Path, name: str
) -> None:
    make, kind, error = HOSTILE[name]
    content = make()
    answered: list[float] = []
    began = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def ask_repeatedly() -> None:
            while True:
                asked = trio.current_time()
                assert await extract(extractor, tmp_path, b"canary", "markdown") == [("canary", None)]
                answered.append(trio.current_time() - asked)
                await trio.sleep(0.02)

        nursery.start_soon(ask_repeatedly)
        with pytest.raises(error):
            await extract(extractor, tmp_path, content, kind)
        assert trio.current_time() - began < 20
        with trio.fail_after(10):
            while not answered:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert max(answered) < 10


async def test_the_limit_of_processor_time(
    extractor: PooledExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of 40 kB with which pypdf is busy for half a minute; the kernel ends the child after a second."""
    short = limits.FormatLimits(size=2**20, seconds=1, max_seconds=1)
    monkeypatch.setitem(limits.LIMITS, "pdf", short)
    monkeypatch.setattr(extractor_module, "WAITING_FACTOR", 30)
    content = make_pdf_of_tokens(1_000_000)
    assert len(content) < 2**17
    began = trio.current_time()
    with pytest.raises(ErrUnprocessable, match="processor time"):
        await extract(extractor, tmp_path, content, "pdf")
    assert trio.current_time() - began < 29
    assert await extract(extractor, tmp_path, make_pdf([["next"]]), "pdf") == [("next", 1)]


async def test_the_limit_of_waiting(
    extractor: PooledExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extractor_module, "WAITING_FACTOR", 0.05)
    with pytest.raises(ErrUnprocessable, match=r"within 0\.5 s"):
        await extract(extractor, tmp_path, make_pdf_of_tokens(1_000_000), "pdf")
    await wait_until_idle(seconds=20)


async def test_a_cancelled_call_ends_the_work_of_the_child(extractor: PooledExtractor, tmp_path: Path) -> None:
    await extract(extractor, tmp_path, make_pdf([["first"]]), "pdf")
    content = make_pdf_of_tokens(1_000_000)
    with trio.move_on_after(1.0) as scope:
        await extract(extractor, tmp_path, content, "pdf")
    assert scope.cancelled_caught
    await wait_until_idle(seconds=20)  # the rest of the file would take half a minute


async def test_files_wait_for_a_child_and_not_for_ever(
    extractor: PooledExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extractor_module, "MAX_WAITING", 1)
    monkeypatch.setattr(extractor_module, "MAX_WAIT", 0.1)
    content = make_pdf_of_tokens(1_000_000)
    async with trio.open_nursery() as nursery:
        for _ in range(extractor_module.CHILDREN):
            nursery.start_soon(extract, extractor, tmp_path, content, "pdf")
        await trio.testing.wait_all_tasks_blocked(0.2)
        with pytest.raises(ErrUnavailable, match="within") as caught:
            await extract(extractor, tmp_path, b"x", "text")
        assert caught.value.retry_after == 5
        nursery.cancel_scope.cancel()


async def test_a_child_can_open_no_file(tmp_path: Path) -> None:
    spec = extractor_module.make_spec()
    assert spec.sandbox.restrict_files
    assert spec.sandbox.read_paths == spec.sandbox.write_paths == ()
    assert not spec.sandbox.network
    assert spec.limits.address_space == 512 * 2**20
    assert set(spec.environment) == {"MALLOC_ARENA_MAX"}


@pytest.mark.parametrize(("package", "kind"), [("pypdf", "pdf"), ("selectolax", "html")])
def test_a_format_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch, package: str, kind: DocumentFormat) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package or name.endswith(f"child.{kind}")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(package), *sys.meta_path])
    monkeypatch.setattr(child_main, "_limit_processor_time", lambda _: None)
    request = messages.ExtractRequest(format=kind, encoding="", size=SIZE, processor_seconds=1)
    with pytest.raises(CallError, match=f"extra `lake`, of which {package}") as caught:
        child_main.extract(Call(1, messages.encode_request(request, b"x"), -1))
    assert extractor_module.ERRORS[caught.value.failure.kind] is ErrNotInstalled


class Missing(MetaPathFinder):
    """Finds that a package is not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {self.package!r}", name=self.package)
