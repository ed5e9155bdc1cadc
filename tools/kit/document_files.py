"""Documents made in tests: PDF files written by hand, DOCX files as archives, and hostile ones of each format."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
HEADING_STYLES = "".join(
    f'<w:style w:type="paragraph" w:styleId="berschrift{level}"><w:name w:val="heading {level}"/></w:style>'
    for level in range(1, 4)
)


def make_objects_pdf(objects: Sequence[bytes], *, trailer: bytes = b"") -> bytes:
    """A PDF of some objects, numbered from 1; the first one is the catalog."""
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    for offset in offsets:
        out.write(b"%010d 00000 n \n" % offset)
    out.write(b"trailer\n<< /Size %d /Root 1 0 R %b >>\n" % (len(objects) + 1, trailer))
    out.write(b"startxref\n%d\n%%%%EOF\n" % start)
    return out.getvalue()


def make_stream(data: bytes, head: bytes = b"") -> bytes:
    """A stream object."""
    return b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(data), head, data)


def make_pdf(pages: Sequence[Sequence[str]], *, title: str = "") -> bytes:
    """A PDF with some pages, each of lines of text."""
    contents = []
    for lines in pages:
        operators = b"".join(b"(%b) Tj T*\n" % _escape(line) for line in lines)
        contents.append(b"BT /F1 11 Tf 14 TL 60 780 Td\n%bET" % operators)
    return make_content_pdf(contents, title=title)


def make_content_pdf(contents: Sequence[bytes], *, title: str = "", compress: bool = False) -> bytes:
    """A PDF with some pages, each of operators."""
    count = len(contents)
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(count))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%b] >>" % (count, kids),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, content in enumerate(contents):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % (5 + 2 * number)
        )
        packed = zlib.compress(content, 9) if compress else content
        objects.append(make_stream(packed, b"/Filter /FlateDecode" if compress else b""))
    if not title:
        return make_objects_pdf(objects)
    objects.append(b"<< /Title (%b) >>" % _escape(title))
    return make_objects_pdf(objects, trailer=b"/Info %d 0 R" % len(objects))


def _escape(text: str) -> bytes:
    return text.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def paragraph(text: str, *, style: str = "", more: str = "") -> str:
    """The XML of a paragraph of Word."""
    properties = (f'<w:pStyle w:val="{style}"/>' if style else "") + more
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def table(rows: Sequence[Sequence[str]]) -> str:
    """The XML of a table of Word."""
    cells = ("".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows)
    return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>"


def make_docx(body: str, *, parts: Mapping[str, bytes] | None = None, prolog: str = "") -> bytes:
    """A DOCX file with this XML as its body, and styles of headings with German ids, as Word has them."""
    document = f'<?xml version="1.0"?>{prolog}<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>'
    styles = f'<?xml version="1.0"?><w:styles xmlns:w="{WORD}">{HEADING_STYLES}</w:styles>'
    return make_archive(
        {"[Content_Types].xml": b"<Types/>", "word/document.xml": document.encode(), "word/styles.xml": styles.encode()}
        | dict(parts or {})
    )


def make_archive(parts: Mapping[str, bytes]) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def deflate_repeated(head: bytes, block: bytes, count: int) -> bytes:
    """Deflated data of `head` and then very many equal blocks, of which only one is compressed."""
    packer, start = zlib.compressobj(9, zlib.DEFLATED, -15), zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # after which the same bytes may follow again
    return start.compress(head) + start.flush(zlib.Z_FULL_FLUSH) + packed * count + zlib.compress(b"", 9)[2:-4]


def make_docx_bomb(size: int, *, claimed: int | None = None) -> bytes:
    """A DOCX file whose body inflates to `size` bytes of one letter; the directory says `claimed`."""
    head = f'<w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>'.encode()
    data = deflate_repeated(head, b"a" * 2**20, size // 2**20)
    checksum = 0  # is never compared: no reader may come to the end
    name = b"word/document.xml"
    total = claimed or len(head) + size
    fields = struct.pack("<HHHHHLLLHH", 20, 0, 8, 0, 0, checksum, len(data), total, len(name), 0)
    local = b"PK\x03\x04" + fields + name
    directory = b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHLL", 0, 0, 0, 0, 0) + name
    place = len(local) + len(data)
    return local + data + directory + b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 1, 1, len(directory), place, 0)


def make_pdf_bomb(size: int) -> bytes:
    """A PDF whose only page inflates to `size` bytes."""
    whole = make_content_pdf([b"PLACE"])
    data = b"\x78\xda" + deflate_repeated(b"", b" " * 2**20, size // 2**20)
    return whole.replace(make_stream(b"PLACE"), make_stream(data, b"/Filter /FlateDecode"))


def make_pdf_of_tokens(count: int) -> bytes:
    """A PDF whose small compressed page has very many operators."""
    return make_content_pdf([b"BT /F1 9 Tf " + b"(a) Tj " * count + b"ET"], compress=True)


def make_looped_pdf() -> bytes:
    """A PDF whose tree of pages contains itself."""
    return make_objects_pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Count 1000000 /Kids [3 0 R 2 0 R] >>",
            b"<< /Type /Pages /Count 1000000 /Kids [2 0 R 2 0 R] /Parent 2 0 R >>",
        ]
    )


def make_wide_pdf(kids: int) -> bytes:
    """A PDF whose tree of pages lists one missing page very often."""
    return make_objects_pdf(
        [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Count %d /Kids [%b] >>" % (kids, b"9 0 R " * kids)]
    )


def make_scanned_pdf(pages: int) -> bytes:
    """A PDF whose pages have images only."""
    return make_content_pdf([b"q 595 0 0 842 0 0 cm /Im0 Do Q"] * pages)
