"""Content codings: decoding gzip and deflate as a body arrives, within a bound.

https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1. Supported are the codings that the standard library decodes
on every supported Python: `gzip`, `x-gzip` and `deflate`, the latter with
zlib's header or, as some servers send it, without.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

MAX_CODINGS = 4
"""Codings that may be applied one over the other."""

CHUNK_SIZE = 256 * 1024
"""Bytes decoded at a time."""

MAX_EXPANSION_RATIO = 100
"""Decoded bytes for each encoded one that are accepted beyond `max_output`. Deflate reaches 1,000 with constant data;
a stream of JSON with a flush after each event stays well below 50."""


class UnknownCoding(ValueError):
    """A coding that is not supported; the text is its name."""


class Corrupt(ValueError):
    """The data is not in its declared coding; the text has the problem."""


class Truncated(Corrupt):
    """The data ended before the end of its coding."""


class TooLarge(ValueError):
    """The data decodes to more bytes than the bound."""


def codings_of(values: Iterable[str]) -> tuple[str, ...]:
    """The codings in the values of `Content-Encoding`, in the order in which they were applied."""
    names = (name.strip().lower() for value in values for name in value.split(","))
    return tuple(name for name in names if name not in ("", "identity"))


class Decoder:
    """Decodes all of `codings`; made for one body.

    Each coding may produce `max_output` bytes, and `MAX_EXPANSION_RATIO` more for each byte that is fed to it.
    """

    def __init__(self, codings: tuple[str, ...], *, max_output: int) -> None:
        """Raises `UnknownCoding`."""
        if len(codings) > MAX_CODINGS:
            raise UnknownCoding(f"{len(codings)} codings, one over the other")
        self._layers = [_layer(name, max_output) for name in reversed(codings)]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode bytes, into parts of `CHUNK_SIZE` bytes at most. Exhaust the iterator before the next call.

        Raises `Corrupt` and `TooLarge`.
        """
        parts: Iterator[bytes] = iter((data,))
        for layer in self._layers:
            layer.left += MAX_EXPANSION_RATIO * len(data)
            parts = _through(layer, parts)
        return parts

    def end(self) -> None:
        """The body has ended. Raises `Truncated` if the data has not; a body without a single byte is accepted."""
        for layer in self._layers:
            layer.end()


def _through(layer: _Inflating, parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield from layer.feed(part)


def _layer(name: str, max_output: int) -> _Inflating:
    if name in ("gzip", "x-gzip"):
        return _Gzip(max_output)
    if name == "deflate":
        return _Deflate(max_output)
    raise UnknownCoding(name[:40])


class _Inflating:
    """The part that both codings share: decoding a zlib stream within the bound."""

    name = ""

    def __init__(self, max_output: int) -> None:
        self.left = max_output
        self._begun = False
        self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode bytes, into parts."""
        raise NotImplementedError

    def end(self) -> None:
        """Raises `Truncated`."""
        if self._begun and not self._inflater.eof:
            raise Truncated(f"its {self.name} data ends early")

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        """Decode bytes of the present zlib stream; bytes behind its end are left in `unused_data`."""
        inflater = self._inflater
        self._begun = True
        while True:
            try:
                decoded = inflater.decompress(data, CHUNK_SIZE)
            except zlib.error as error:
                raise Corrupt(f"its {self.name} data is corrupt ({error})") from None
            self.left -= len(decoded)
            if self.left < 0:
                raise TooLarge(f"its {self.name} data decodes to more than the bound")
            if decoded:
                yield decoded
            data = inflater.unconsumed_tail
            if not data and len(decoded) < CHUNK_SIZE:
                return


class _Gzip(_Inflating):
    """Members in sequence. Zeros between them and behind them are padding."""

    name = "gzip"

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflater.eof:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
            yield from self._inflate(data)
            data = self._inflater.unused_data


class _Deflate(_Inflating):
    """One stream, with zlib's header if the first two bytes are one; no raw deflate stream begins with such bytes."""

    name = "deflate"

    def __init__(self, max_output: int) -> None:
        super().__init__(max_output)
        self._start: bytes | None = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._begun = self._begun or bool(data)
        if self._start is not None:
            data = self._start + data
            if len(data) < 2:
                self._start = data
                return
            self._start = None
            headed = data[0] & 0x0F == zlib.DEFLATED and not int.from_bytes(data[:2], "big") % 31
            self._inflater = zlib.decompressobj(zlib.MAX_WBITS if headed else -zlib.MAX_WBITS)
        if not self._inflater.eof:
            yield from self._inflate(data)
