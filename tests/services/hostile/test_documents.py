"""Hostile documents over HTTP: each has its status in bounded time, and a document beside it is taken and found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import httpx
import pytest

from tests.services.hostile.service import EVERYTHING, Attacked, SharedService, canaries, check_refusal
from tools.kit.document_files import (
    make_archive,
    make_content_pdf,
    make_docx,
    make_docx_bomb,
    make_looped_pdf,
    make_objects_pdf,
    make_pdf,
    make_pdf_bomb,
    make_pdf_of_tokens,
    make_scanned_pdf,
    make_stream,
    make_wide_pdf,
    paragraph,
)

REFUSED, TOO_LARGE = (422,), (413,)
TAKEN = (200, 201)
ANY = (*TAKEN, *REFUSED)
SECONDS = 60.0
"""In which each is answered, on a machine that other tests use as well."""

LAUGHS = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
    f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(9)
) + "]>"  # fmt: skip


def page(*parts: str) -> bytes:
    return "".join(parts).encode()


ATTACKS: Mapping[str, tuple[Callable[[], bytes], str, tuple[int, ...]]] = {
    "docx: 1 GB out of 1 MB": (lambda: make_docx_bomb(2**30), "docx", TOO_LARGE),
    "docx: 1 GB, said to be 1 kB": (lambda: make_docx_bomb(2**30, claimed=1000), "docx", REFUSED),
    "docx: 60 MB of text": (lambda: make_docx_bomb(60 * 2**20), "docx", (413, 422)),
    "docx: a billion laughs": (lambda: make_docx(paragraph("&j;"), prolog=LAUGHS), "docx", REFUSED),
    "docx: a file of the host": (
        lambda: make_docx(paragraph("&a;"), prolog='<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'), "docx", REFUSED,
    ),
    "docx: 100,000 elements deep": (lambda: make_docx("<w:p>" * 100_000), "docx", REFUSED),
    "docx: 200,000 paragraphs": (lambda: make_docx(paragraph("x") * 200_000), "docx", ANY),
    "docx: an attribute of 20 MB": (lambda: make_docx(f'<w:p w:x="{"a" * 20_000_000}"/>'), "docx", REFUSED),
    "docx: 19,000 parts": (lambda: make_archive({f"f{n}": b"" for n in range(19_000)}), "docx", REFUSED),
    "docx: an archive of archives": (lambda: make_archive({"word/document.xml": make_docx_bomb(2**28)}), "docx", REFUSED),
    "docx: truncated": (lambda: make_docx(paragraph("x" * 9999))[:-30], "docx", REFUSED),
    "pdf: 1 GB out of 1 MB": (lambda: make_pdf_bomb(2**30), "pdf", REFUSED),
    "pdf: a million operators": (lambda: make_pdf_of_tokens(1_000_000), "pdf", REFUSED),
    "pdf: a circle of pages": (make_looped_pdf, "pdf", REFUSED),
    "pdf: 300,000 kids": (lambda: make_wide_pdf(300_000), "pdf", REFUSED),
    "pdf: 5,000 pages": (lambda: make_content_pdf([b"BT /F1 9 Tf (x) Tj ET"] * 5000), "pdf", ANY),
    "pdf: scanned": (lambda: make_scanned_pdf(50), "pdf", REFUSED),
    "pdf: contents that contain themselves": (
        lambda: make_objects_pdf([
            b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents [3 0 R 4 0 R] >>", b"[4 0 R 4 0 R]",
        ]), "pdf", REFUSED,
    ),
    "pdf: a form that draws itself": (
        lambda: make_objects_pdf([
            b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources << /XObject << /X 5 0 R >> >> >>",
            make_stream(b"/X Do"),
            make_stream(b"/X Do " * 1000, b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 5 0 R >> >>"),
        ]), "pdf", REFUSED,
    ),
    "pdf: dictionaries 50,000 deep": (
        lambda: make_objects_pdf([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /A " * 50_000 + b">>" * 50_000]), "pdf", REFUSED,
    ),
    "pdf: noise": (lambda: b"%PDF-1.7\n" + Random(1).randbytes(2_000_000), "pdf", REFUSED),
    "html: 300,000 elements deep": (lambda: b"<div>" * 300_000, "html", REFUSED),
    "html: 999 elements deep, 1,000 times": (lambda: (b"<i>" * 999 + b"x" + b"</i>" * 999) * 1000, "html", (*ANY, 413)),
    "html: 500,000 attributes": (lambda: b"<p " + b" ".join(b"a%d=1" % n for n in range(500_000)) + b">x", "html", REFUSED),
    "html: attributes behind a quote": (
        lambda: b'<p x=">" ' + b" ".join(b"a%d" % n for n in range(300_000)) + b">x", "html", REFUSED
    ),
    "html: 2 million paragraphs": (lambda: b"<p>x" * 2_000_000, "html", (*ANY, 413)),
    "html: unclosed formatting": (lambda: b"<p><b>x" * 900 + b"<p>y" * 100_000, "html", ANY),
    "html: an unclosed comment": (lambda: b"<p>x<!--" + b"-" * 9_000_000, "html", ANY),
    "html: 2 million entities": (lambda: b"&amp;" * 1_900_000, "html", ANY),
    "html: tables in tables": (lambda: b"<table><tr><td>" * 999 + b"x", "html", ANY),
    "html: no text": (lambda: b"<script>" + b"x" * 1_000_000, "html", REFUSED),
    "text: one word of 1 MB": (lambda: b"x" * 2**20, "text", ANY),
    "text: 8 million lines": (lambda: b"\n\n" * 4_000_000 + b"x", "text", ANY),
    "text: 4 million paragraphs": (lambda: b"x\n\n" * 4_000_000, "text", ANY),
    "text: NUL": (lambda: b"x\0" * 1000, "text", REFUSED),
    "markdown: a million headings": (lambda: b"# x\n" * 1_000_000, "markdown", ANY),
    "markdown: an open fence": (lambda: b"```\n" + b"x y\n" * 1_000_000, "markdown", ANY),
    "markdown: quadratic for some parsers": (lambda: b"[" * 500_000 + b"*a **a " * 500_000, "markdown", ANY),
}  # fmt: skip
SLOW = ("text: ", "markdown: ", "html: 2 million", "html: 999", "pdf: a million", "pdf: 5,000", "docx: 200,000")
"""How the names of attacks begin that take more than a second."""


@pytest.fixture(scope="module")
def documents(shared_service: SharedService) -> Attacked:
    """The service with a corpus that is the canary. It is there already for the second part of a divided module."""
    attacked = shared_service.get()
    answer = take(attacked, "canary_docs", b"# Owls\n\nThe owl hunts mice at night.", "markdown", "owl.md")
    assert answer.status_code in (200, 201), answer.text
    return attacked


def take(attacked: Attacked, corpus: str, body: bytes, kind: str, source: str) -> httpx.Response:
    """The response to a document."""
    return attacked.http.post(
        "/v1/ingest", params={"name": corpus, "format": kind, "source": source}, content=body, timeout=SECONDS
    )


def ingest_and_find(beside: Attacked) -> httpx.Response:
    """Put a document into the canary again, and find the other one."""
    taken = take(beside, "canary_docs", b"The heron waits for fish.", "text", "heron.txt")
    assert taken.status_code == 200, taken.text
    assert taken.json()["length"] == 2
    answer = beside.http.post("/v1/vectors/index/canary_docs/search", json={"text": "an owl at night", "k": 1})
    assert [hit["id"] for hit in answer.json()["results"]] == ["owl.md#1"], answer.text
    return taken


def pick() -> list[str]:
    """All names, or a sample in the normal suite."""
    return list(ATTACKS) if EVERYTHING else [name for name in ATTACKS if not name.startswith(SLOW)][3::14]


@pytest.mark.parametrize("name", pick())
def test_hostile_documents(documents: Attacked, name: str) -> None:
    make, kind, statuses = ATTACKS[name]
    body = make()
    with canaries(documents, ask=ingest_and_find, slowest=SECONDS / 2):
        corpus = f"hostile{next(documents.numbers)}"
        answer = take(documents, corpus, body, kind, "a")
        assert answer.status_code in statuses, (answer.status_code, answer.text[:500])
        if answer.status_code in TAKEN:
            assert answer.json()["length"] == answer.json()["passages"]
            assert documents.http.delete(f"/v1/vectors/index/{corpus}").status_code == 204
        else:
            assert len(check_refusal(documents, answer)) < 600
            assert documents.http.get(f"/v1/vectors/index/{corpus}").status_code == 404
    assert list((documents.folder / "staging").iterdir()) == []


def test_flipped_bits(documents: Attacked) -> None:
    """A damaged file is refused, or read with what is left of it; never more than that."""
    random = Random(16)
    whole = {"pdf": make_pdf([["A page of text."]] * 3), "docx": make_docx(paragraph("A paragraph of text.") * 9)}
    with canaries(documents, ask=ingest_and_find, slowest=SECONDS / 2):
        for kind, valid in whole.items():
            for number in range(60 if EVERYTHING else 6):
                body = bytearray(valid)
                for _ in range(1 + number % 4):
                    body[random.randrange(len(body))] ^= 1 << random.randrange(8)
                answer = take(documents, "flipped", bytes(body), kind, kind)
                assert answer.status_code in (*ANY, 413), (kind, number, answer.text[:300])
                if answer.status_code >= 400:
                    check_refusal(documents, answer)
