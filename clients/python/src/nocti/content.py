"""What is sent as it is read: ranges of a file, or of bytes. Of what is large one piece at a time is in memory."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

_PIECE_BYTES = 1 << 20

# More goes as it is: of what is so large most are numbers, which hardly become smaller.
_MAX_PACKED_BYTES = 16 << 20
_GZIP = 16 + zlib.MAX_WBITS


def _goes_on() -> None:
    pass


@dataclass(frozen=True)
class Content:
    """Ranges of what `opened` opens, one after another."""

    opened: Callable[[], BinaryIO]
    ranges: tuple[range, ...]
    before_each: Callable[[], None] = _goes_on
    """Called before each piece that is sent; what it raises ends the sending."""

    @classmethod
    def of(cls, source: bytes | Path) -> "Content":
        """All that a file holds now, or all of some bytes."""
        if isinstance(source, bytes):
            return cls(partial(BytesIO, source), (range(len(source)),))
        return cls(lambda: source.open("rb"), (range(source.stat().st_size),))

    @property
    def size_bytes(self) -> int:
        """Of all ranges together."""
        return sum(map(len, self.ranges))

    def of_ranges(self, ranges: list[range]) -> "Content":
        """Other ranges of the same."""
        return replace(self, ranges=tuple(ranges))

    def after(self, offset: int) -> "Content":
        """What is left of it behind its first bytes."""
        left = []
        for part in self.ranges:
            left.append(part[offset:])
            offset = max(0, offset - len(part))
        return self.of_ranges(left)

    def chunks(self) -> Iterator[bytes]:
        """All of it, piece by piece."""
        with self.opened() as file:
            for start, length in self._pieces():
                self.before_each()
                yield _read(file, start, length)

    async def async_chunks(self) -> AsyncIterator[bytes]:
        """The same, read on another thread."""
        # Opened on this one: nobody would close what another thread has opened for a task that is cancelled meanwhile.
        with self.opened() as file:
            for start, length in self._pieces():
                self.before_each()
                yield await asyncio.to_thread(_read, file, start, length)

    def packed(self) -> "Content | None":
        """All of it compressed by gzip, where that makes it much smaller: code, texts."""
        if not 0 < self.size_bytes <= _MAX_PACKED_BYTES:
            return None
        most = self.size_bytes * 9 // 10
        packer = zlib.compressobj(1, wbits=_GZIP)
        # What it holds becomes bytes, and those are read, without a copy.
        packed = BytesIO()
        for chunk in self.chunks():
            packed.write(packer.compress(chunk))
            if packed.tell() > most:
                return None
        packed.write(packer.flush())
        return Content.of(packed.getvalue()) if packed.tell() <= most else None

    def _pieces(self) -> Iterator[tuple[int, int]]:
        for part in self.ranges:
            for start in range(part.start, part.stop, _PIECE_BYTES):
                yield start, min(_PIECE_BYTES, part.stop - start)


def _read(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    piece = file.read(length)
    if len(piece) < length:
        raise OSError("the file became shorter while it was sent")
    return piece
