"""The target of the process: answers one call at a time, each with one file."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable

import msgspec

from lakehouse.core.extras import install_hint
from lakehouse.process.bootstrap import Startup
from lakehouse.process.calls.rpc_child import Call, CallError, serve_calls
from lakehouse.services.contracts.documents import ExtractedDocument
from lakehouse.services.documents.child.decoding import check_encoding, decode_text
from lakehouse.services.documents.child.document import Document
from lakehouse.services.documents.child.errors import unprocessable
from lakehouse.services.documents.child.passages import make_passages
from lakehouse.services.documents.child.plain_text import read_markdown, read_text
from lakehouse.services.documents.messages import NOT_INSTALLED, ExtractRequest, decode_request


def serve_documents(startup: Startup) -> None:
    """Answer calls."""
    max_frame: int = msgspec.json.decode(startup.settings, type=int)
    serve_calls(startup, extract, max_frame=max_frame)


def extract(call: Call) -> bytes:
    """Extract one file. Raises CallError."""
    request, content = decode_request(call.payload)
    call.payload = b""
    _limit_processor_time(request.processor_seconds)
    check_encoding(request.encoding)
    try:
        document = _read(request, content, call.check_cancelled)
    except ModuleNotFoundError as error:
        message = f"documents as {request.format} {install_hint('lake', [error.name or 'a package'])}"
        raise CallError(NOT_INSTALLED, message, details={}) from error
    if not document.blocks:
        raise unprocessable("the document has no text")
    passages = []
    for passage in make_passages(document, request.size):
        call.check_cancelled()
        passages.append(passage)
    reply = ExtractedDocument(
        passages=passages,
        characters=len(document.text),
        title=document.title,
        pages=document.pages,
        warnings=document.warnings,
    )
    return msgspec.json.encode(reply)


def _read(request: ExtractRequest, content: bytes, check: Callable[[], None]) -> Document:
    if request.format == "html":
        from lakehouse.services.documents.child.html import read_html

        return read_html(content, request.encoding)
    if request.format == "pdf":
        from lakehouse.services.documents.child.pdf import read_pdf

        return read_pdf(content, check)
    if request.format == "docx":
        from lakehouse.services.documents.child.docx import read_docx

        return read_docx(content, check)
    text, warnings = decode_text(content, request.encoding)
    return read_markdown(text, warnings) if request.format == "markdown" else read_text(text, warnings)


def _limit_processor_time(seconds: int) -> None:
    """Let the kernel end this process after so many further seconds of processor time."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + seconds, hard))
