"""Content codings: taking gzip and deflate off a body as it arrives, within a bound.

https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1. What is known is what the standard library can decode on every
supported Python: `gzip`, `x-gzip` and `deflate`, the latter with zlib's header or, as some servers send it, without.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

MAX_CODINGS = 4
"""Codings that may be applied one over the other."""

PIECE = 256 * 1024
"""Bytes that are decoded at a time."""

GAIN = 100
"""Decoded bytes for each encoded one that are taken beyond the allowance. Deflate reaches 1,000 with constant data;
a stream of JSON with a flush after each event stays well below 50."""


class UnknownCoding(ValueError):
    """A coding, named by the text, that is not decoded here."""


class Corrupt(ValueError):
    """The data is not in the coding that it claims; the text says what is wrong."""


class Truncated(Corrupt):
    """The data ended before the end of its coding."""


class TooLarge(ValueError):
    """The data decodes to more than it may."""


def codings_of(values: Iterable[str]) -> tuple[str, ...]:
    """The codings in the values of `Content-Encoding`, in the order in which they were applied."""
    names = (name.strip().lower() for value in values for name in value.split(","))
    return tuple(name for name in names if name not in ("", "identity"))


class Decoder:
    """Takes all of `codings` off; made for one body.

    `allowance` is how many bytes may come out, beside `GAIN` for each byte that is fed; that holds
    for each coding.
    """

    def __init__(self, codings: tuple[str, ...], *, allowance: int) -> None:
        """Raises `UnknownCoding`."""
        if len(codings) > MAX_CODINGS:
            raise UnknownCoding(f"{len(codings)} codings, one over the other")
        self._layers = [_layer(name, allowance) for name in reversed(codings)]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes decode to, in parts of `PIECE` bytes at the most; to be exhausted before the next call.

        Raises `Corrupt` and `TooLarge`.
        """
        parts: Iterator[bytes] = iter((data,))
        for layer in self._layers:
            layer.left += GAIN * len(data)
            parts = _through(layer, parts)
        return parts

    def end(self) -> None:
        """The body has ended. Raises `Truncated` if the data has not; a body without a single byte is none at all."""
        for layer in self._layers:
            layer.end()


def _through(layer: _Inflating, parts: Iterable[bytes]) -> Iterator[bytes]:
    for part in parts:
        yield from layer.feed(part)


def _layer(name: str, allowance: int) -> _Inflating:
    if name in ("gzip", "x-gzip"):
        return _Gzip(allowance)
    if name == "deflate":
        return _Deflate(allowance)
    raise UnknownCoding(name[:40])


class _Inflating:
    """What both codings share: the data of one zlib stream, and the bound."""

    name = ""

    def __init__(self, allowance: int) -> None:
        self.left = allowance
        self._begun = False
        self._inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The parts that these bytes decode to."""
        raise NotImplementedError

    def end(self) -> None:
        """Raises `Truncated`."""
        if self._begun and not self._inflater.eof:
            raise Truncated(f"its {self.name} data ends early")

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        """What comes out; what follows the end of the data is in `unused_data` then."""
        inflater = self._inflater
        self._begun = True
        while True:
            try:
                decoded = inflater.decompress(data, PIECE)
            except zlib.error as error:
                raise Corrupt(f"its {self.name} data is corrupt ({error})") from None
            self.left -= len(decoded)
            if self.left < 0:
                raise TooLarge(f"its {self.name} data decodes to more than the bound")
            if decoded:
                yield decoded
            data = inflater.unconsumed_tail
            if not data and len(decoded) < PIECE:
                return


class _Gzip(_Inflating):
    """Members, one after the other. Zeros between them and behind them are padding."""

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
    """One stream, with zlib's header if the first two bytes are one. A raw stream of zlib's never begins like that."""

    name = "deflate"

    def __init__(self, allowance: int) -> None:
        super().__init__(allowance)
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
