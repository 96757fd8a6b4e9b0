"""What is sent, and what of it is in memory."""

import gzip
import os
import tracemalloc
from pathlib import Path

from nocti.content import Content

MIB = 1 << 20


def test_what_is_packed_is_in_memory_once(tmp_path: Path) -> None:
    file = tmp_path / "part"
    content = (os.urandom(3 * MIB) + bytes(MIB)) * 4
    file.write_bytes(content)
    tracemalloc.start()
    packed = Content.of(file).packed()
    assert packed is not None
    held_bytes, _ = tracemalloc.get_traced_memory()
    for chunk in packed.chunks():
        assert len(chunk) <= MIB
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert packed.size_bytes <= held_bytes < packed.size_bytes + 2 * MIB
    # With room for what it grows by, and for pieces.
    assert peak_bytes < packed.size_bytes * 9 // 8 + 4 * MIB
    assert gzip.decompress(b"".join(packed.chunks())) == content


def test_what_hardly_becomes_smaller_goes_as_it_is() -> None:
    assert Content.of(os.urandom(MIB)).packed() is None
    assert Content.of(b"").packed() is None
    assert Content.of(bytes(16 * MIB + 1)).packed() is None
