"""The paths of functions, versions and aliases. What is no name is refused: it would lead to somewhere else."""

import re
from urllib.parse import quote, unquote

from . import given

# As the host's `registry/name.rs` has it.
_ALIAS = re.compile("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def parted(function: str, version: str | None) -> tuple[str, str | None]:
    """The name of a function, and of the version or alias that is behind it or beside it."""
    name, at, named = given.text("function", function).partition("@")
    if at and version is not None:
        raise ValueError(f"'{function}' names a version already, and so does version='{version}'")
    # Dots alone would be another path.
    if not name.strip(".") or (at and not named.strip(".")):
        raise ValueError(f"'{function}' is not the name of a function: NAME or NAME@VERSION is needed")
    if version is not None and not given.text("version", version).strip("."):
        raise ValueError(f"version='{version}' is not the name of a version")
    return name, named if at else version


def of_version(root: str, function: str, version: str | None) -> str:
    """The path of a function or, if one is named, of its version."""
    name, version = parted(function, version)
    path = f"{root}/{quote(name, '')}"
    return path if version is None else f"{path}/versions/{quote(version, '')}"


def of_function(function: str) -> str:
    """The path of what a function has beside its versions."""
    name, version = parted(function, None)
    if version is not None:
        raise ValueError(f"'{function}' names a version or an alias, but this is about the whole function: '{name}' is needed")
    return f"/api/functions/{quote(name, '')}"


def of_alias(function: str, alias: str) -> str:
    """The path of a function's alias."""
    return f"{of_function(function)}/aliases/{checked_alias(alias)}"


def checked_alias(alias: str) -> str:
    """An alias that there may be: a host may hear of it only when a large bundle has come."""
    if not _ALIAS.fullmatch(given.text("alias", alias)):
        rule = "1 to 63 of a-z, 0-9 and '-', with a letter or digit first and last"
        raise ValueError(f"alias '{alias:.80}' is not the name of an alias: {rule}")
    return alias


def inside(path: str) -> str:
    """A path that stays below where it begins, without the slash in front.

    httpx takes `..` for the way up, and so may proxies, also if it is encoded, or behind a backslash. What follows a `?` is free.
    """
    segments = re.split(r"[/\\]", unquote(re.split("[?#]", given.text("path", path), maxsplit=1)[0]))
    if not {".", ".."}.isdisjoint(segments):
        raise ValueError(f"path '{path:.80}' leads out of the function: it has a segment '.' or '..'")
    return path.removeprefix("/")
