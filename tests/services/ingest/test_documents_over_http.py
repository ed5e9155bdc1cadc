"""Documents over HTTP: formats and how they are found, the same file again, errors, keys, and a client that leaves."""

from __future__ import annotations

from functools import partial
from typing import Any

import httpx
import pytest
import trio

from tools.kit.child_processes import children, processor_seconds, wait_until_idle
from tools.kit.document_files import (
    make_docx,
    make_docx_bomb,
    make_pdf,
    make_pdf_of_tokens,
    make_scanned_pdf,
    paragraph,
)
from tools.kit.shared_lake import SharedLake

MARKDOWN = b"# Birds\n\nThe heron stands in shallow water.\n\n# Fish\n\nThe pike waits between reeds.\n"


def error(answer: httpx.Response) -> tuple[int, str]:
    document = answer.json()["error"]
    assert document["status"] == answer.status_code
    return answer.status_code, document["message"]


def remove(lake: SharedLake, source: str) -> httpx.Response:
    return lake.http.delete("/ingest", params={"name": lake.table, "source": source})


def test_a_document_is_a_corpus(lake: SharedLake) -> None:
    answer = lake.send("t", MARKDOWN, format="markdown", source="notes/a.md")
    assert answer.status_code == 201
    assert answer.json() == {
        "corpus": lake.table,
        "source": "notes/a.md",
        "format": "markdown",
        "existing": False,
        "passages": 1,
        "added": 1,
        "replaced": 0,
        "deleted": 0,
        "length": 1,
        "model": "wordllama-256",
        "pages": None,
        "characters": len(MARKDOWN),
        "bytes_in": len(MARKDOWN),
        "warnings": [],
    }
    assert lake.staged() == []
    assert not lake.exists()  # it is no table


def test_the_same_file_replaces_its_own_passages(lake: SharedLake) -> None:
    long = b"# A\n\n" + b"One sentence of six words here. " * 190
    first = lake.send("t", long, file="a.md").json()
    assert first["added"] == first["passages"] == 3
    assert lake.send("t", MARKDOWN, file="b.md").json()["length"] == 4
    again = lake.send("t", MARKDOWN, file="a.md")
    assert again.status_code == 200
    assert {name: again.json()[name] for name in ("added", "replaced", "deleted", "length")} == {
        "added": 0,
        "replaced": 1,
        "deleted": 2,
        "length": 2,
    }
    assert remove(lake, "a.md").json() == {"corpus": lake.table, "source": "a.md", "deleted": 1, "length": 1}
    assert error(remove(lake, "a.md")) == (404, f"the corpus '{lake.table}' has no passages of 'a.md'")


FOUND: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "by the name": (b"<p>page", {"file": "a.HTM"}, "html"),
    "by the type of the part": (make_pdf([["one"]]), {"file": "a", "content_type": "application/pdf"}, "pdf"),
    "by the type of the body": (b"text", {"content_type": "text/markdown; charset=utf-8", "source": "a"}, "markdown"),
    "by the parameter": (b"a,b\n1,2\n", {"file": "a.csv", "format": "text"}, "text"),
    "an archive by its name": (make_docx(paragraph("word")), {"file": "b.docx"}, "docx"),
}


@pytest.mark.parametrize("way", FOUND)
def test_how_a_format_is_found(lake: SharedLake, way: str) -> None:
    body, options, found = FOUND[way]
    answer = lake.send("t", body, **options)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["format"], answer.json()["passages"]) == (found, 1)


def test_tables_stay_tables(lake: SharedLake) -> None:
    assert lake.send("t", b"a\n1\n", file="a.txt").json()["row_count"] == 1
    assert lake.send("t", b"a\n1\n", content_type="text/plain").json()["row_count"] == 1
    assert lake.send("t", b"a\n1\n", file="a.md", format="csv").json()["row_count"] == 1
    assert error(lake.send("t", b"%PDF-1.7\n"))[0] == 415  # told by its bytes, as ever
    assert error(lake.send("t", b"a\n1\n", file="a.csv", source="x")) == (
        400,
        "`source` is for documents: `format` is text, markdown, html, pdf or docx",
    )


def test_pages_and_warnings(lake: SharedLake) -> None:
    answer = lake.send("t", make_pdf([["Page one."], [], ["Page three."]]), file="scan.pdf").json()
    assert (answer["pages"], answer["passages"]) == (3, 2)
    assert answer["warnings"] == [
        {
            "column": None,
            "line": None,
            "message": "page 2 without text, such as a scanned image: nothing of it is found",
        }
    ]


REFUSED: dict[str, tuple[bytes, dict[str, Any], int, str]] = {
    "a scanned PDF": (make_scanned_pdf(2), {"file": "a.pdf"}, 422, "no text"),
    "a bomb": (make_docx_bomb(2**30), {"file": "a.docx"}, 413, "MiB"),
    "nested HTML": (b"<div>" * 300_000, {"file": "a.html"}, 422, "nested"),
    "no text": (b" \n", {"file": "a.md"}, 422, "no text"),
    "no text in an encoding": (b"a\0b", {"format": "text", "source": "a"}, 422, "not text"),
    "an unknown encoding": (b"a", {"file": "a.md", "encoding": "none"}, 400, "encoding"),
    "no name of the file": (b"a", {"format": "text"}, 400, "source"),
    "a parameter of tables": (b"a", {"file": "a.md", "mode": "append"}, 400, "`mode` is for tables"),
    "a format that is none": (b"a", {"file": "a.md", "format": "rtf"}, 400, "markdown"),
    "compressed": (b"a", {"file": "a.md", "headers": {"Content-Encoding": "gzip"}}, 415, "Content-Encoding"),
    "too long": (b"x" * 10_000_001, {"file": "a.html"}, 413, "10000000"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_documents_that_are_refused(lake: SharedLake, name: str) -> None:
    body, options, status, word = REFUSED[name]
    found, message = error(lake.send("t", body, **options))
    assert found == status, message
    assert word in message
    assert str(lake.directory) not in message
    assert lake.staged() == []
    assert error(remove(lake, "a.md"))[0] == 404  # nothing has been made


def test_an_idempotency_key(lake: SharedLake) -> None:
    headers = {"Idempotency-Key": f"documents-{lake.table}"}
    first = lake.send("t", MARKDOWN, file="a.md", headers=headers)
    again = lake.send("t", MARKDOWN, file="a.md", headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert error(lake.send("t", MARKDOWN, file="b.md", headers=headers))[0] == 409


def test_the_parameters_of_a_deletion(lake: SharedLake) -> None:
    for query, field in (
        ("name=a", "source"),
        ("source=a", "name"),
        ("name=a&source=b&x=1", "x"),
        ("name=a&name=b", "name"),
    ):
        answer = lake.http.delete(f"/ingest?{query}")
        assert answer.status_code == 400, query
        assert f"`{field}`" in error(answer)[1]


def test_a_client_that_leaves_ends_the_reading(lake: SharedLake) -> None:
    content = make_pdf_of_tokens(1_000_000)
    before = used()
    with pytest.raises(httpx.ReadTimeout):
        lake.http.post(f"/ingest?name={lake.table}&format=pdf&source=a", content=content, timeout=2)
    assert used() - before > 0.2  # it has been read, and is not any more
    trio.run(partial(wait_until_idle, seconds=10, windows=3))
    assert lake.staged() == []
    assert lake.send("t", MARKDOWN, file="a.md").status_code == 201


def used() -> float:
    """The processor time of all processes of the lake."""
    return sum(map(processor_seconds, children()))
