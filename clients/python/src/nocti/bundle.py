"""What a bundle is made of: its manifest, and where each part lies. Reads no more of it than that, except to check it."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from .content import Content

# As the host's `registry/section.rs` has them.
_PREAMBLE = b"\0asm\x0d\0\x01\0"
_PREFIX = "nocti."
_MANIFEST = "nocti.manifest"
_DIGEST = "nocti.digest"
_MODEL = "nocti.model."
_ASSET = "nocti.asset."

_MAX_MANIFEST_BYTES = 1 << 20
# More of a name is not looked at: no section of a bundle's own is called anything as long.
_NAME_CAP = 512
_SHA256 = re.compile("[0-9a-f]{64}")


class Blob(NamedTuple):
    """A part by its content."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Parts:
    """All that a bundle is made of."""

    manifest: bytes
    contents: Mapping[Blob, Content]


class _Section(NamedTuple):
    """A section of a WebAssembly file; without a name, if its kind has none."""

    name: str
    start: int
    content: int
    end: int


def parts(bundle: Content) -> Parts | None:
    """The parts of a bundle; None where it is not as its manifest says, which a host tells better that gets all of it."""
    try:
        with bundle.opened() as file:
            sections = list(_sections(file, bundle.size_bytes))
            manifest = _manifest(file, sections)
        found = _ranges(json.loads(manifest), sections[2:])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if any(sum(map(len, ranges)) != blob.size_bytes for blob, ranges in found):
        return None
    return Parts(manifest, {blob: bundle.of_ranges(ranges) for blob, ranges in found})


def fault(bundle: Content, digest: str) -> str | None:
    """What is wrong with a bundle that came; `digest` is what the host says it is, empty if nothing. Reads all of it."""
    found = parts(bundle)
    if found is None:
        return "it is not as its manifest says"
    if digest and hashlib.sha256(found.manifest).hexdigest() != digest:
        return f"its digest is not {digest:.80}"
    for blob, content in found.contents.items():
        sha256 = hashlib.sha256()
        for chunk in content.chunks():
            sha256.update(chunk)
        if sha256.hexdigest() != blob.sha256:
            return f"{blob.sha256} is not the digest of the part that has it"
    return None


def _manifest(file: BinaryIO, sections: list[_Section]) -> bytes:
    manifest, digest = sections[:2]
    if (manifest.name, digest.name) != (_MANIFEST, _DIGEST) or manifest.end - manifest.content > _MAX_MANIFEST_BYTES:
        raise ValueError("there is no manifest at its beginning")
    file.seek(manifest.content)
    text = file.read(manifest.end - manifest.content)
    file.seek(digest.content)
    if hashlib.sha256(text).hexdigest().encode() != file.read(min(digest.end - digest.content, _NAME_CAP)):
        raise ValueError("the manifest is not what its digest says")
    return text


def _ranges(manifest: Any, sections: list[_Section]) -> list[tuple[Blob, list[range]]]:
    named: dict[str, tuple[Blob, list[range]]] = {}
    for prefix, key, entries in ((_MODEL, "name", manifest["models"]), (_ASSET, "path", manifest["assets"])):
        named |= {f"{prefix}{entry[key]}": (_blob(entry["blob"]), []) for entry in entries}
    # The component is what is left without the bundle's own sections.
    component = [range(len(_PREAMBLE))]
    for name, start, content, end in sections:
        if name.startswith(_PREFIX):
            named[name][1].append(range(content, end))
        elif component[-1].stop == start:
            component[-1] = range(component[-1].start, end)
        else:
            component.append(range(start, end))
    if manifest["component"] is not None:
        return [(_blob(manifest["component"]), component), *named.values()]
    if component != [range(len(_PREAMBLE))]:
        raise ValueError("it has a component, and its manifest none")
    return list(named.values())


def _blob(said: Any) -> Blob:
    blob = Blob(said["sha256"], said["size"])
    if not _SHA256.fullmatch(blob.sha256) or not isinstance(blob.size_bytes, int):
        raise ValueError("it names a part by something else than its content")
    return blob


def _sections(file: BinaryIO, size: int) -> Iterator[_Section]:
    if file.read(len(_PREAMBLE)) != _PREAMBLE:
        raise ValueError("it is no component")
    start = file.tell()
    while start < size:
        file.seek(start)
        is_custom = file.read(1) == b"\0"
        length = _number(file)
        end = file.tell() + length
        name = file.read(min(_number(file), _NAME_CAP)).decode(errors="replace") if is_custom else ""
        if not file.tell() <= end <= size:
            raise ValueError("a section runs past its end")
        yield _Section(name, start, file.tell(), end)
        start = end


def _number(file: BinaryIO) -> int:
    """An unsigned number of at most 32 bits in base 128."""
    value = 0
    for shift in range(0, 35, 7):
        byte = file.read(1)[:1]
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("a section has no length")
