"""Deploying a bundle: first the parts that the host lacks, several at once, then the manifest that names them all.

A part whose upload breaks off or stalls goes on where the host says that it broke. A host without that takes the whole bundle,
and so does any host of one that is small: that is one request in place of several.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice

from . import bundle, calls
from .answers import Deployed
from .bundle import Blob, Parts
from .calls import Call
from .content import Content
from .errors import NoctiError
from .running import Runner

# Below, a bundle goes whole.
_SMALL_BYTES = 256 << 10
_PARTS_AT_ONCE = 4
# The most that a host takes in one question.
_ASKED_AT_ONCE = 500
# How often a part is tried again, and how long until the first time; each further one takes twice as long.
_RETRIES = 5
_FIRST_PAUSE_S = 0.2
# How long somebody who sends the same part may send nothing, and how often that is looked at. A host ends an upload that has
# broken off without a word after 30 s.
_BUSY_PATIENCE_S = 60.0
_BUSY_PAUSE_S = 1.0
# How often all is begun again where the host has lost what it had.
_ROUNDS = 3

# What a host says that cannot keep parts which are on their way, or none so large, or not beside the store.
_NO_PLACE = ("uploads_full", "uploads_failed", "storage_full", "too_large")
# What may go better another time.
_BUSY = "upload_busy"
_INCOMPLETE = "upload_incomplete"
_PASSING = ("wrong_offset", _INCOMPLETE, _BUSY, "body_timeout", "overloaded", "store_unreachable")
_BROKEN = ("unreachable", "broken", "timeout")


@dataclass
class _Failures:
    """How often a part has failed. Somebody else's upload of it is no failure while it gets on."""

    count: int = 0
    busy_until: float | None = None

    def pause_s(self, error: NoctiError, began: int) -> float:
        """How long to wait before it is tried again, of which `began` was the first byte that was sent; raises what is final."""
        if error.code == _BUSY:
            now = time.monotonic()
            self.busy_until = self.busy_until or now + _BUSY_PATIENCE_S
            if now < self.busy_until:
                return _BUSY_PAUSE_S
        else:
            self.busy_until = None
        if self.count == _RETRIES or not _may_pass(error, began):
            raise error
        self.count += 1
        return _FIRST_PAUSE_S * 2.0 ** (self.count - 1)


async def deploy(runner: Runner, whole: Call[Deployed]) -> Deployed:
    """Does what the call that sends the whole bundle does, and sends only what the host lacks if there is much of it."""
    content = whole.content if isinstance(whole.content, Content) else Content.of(whole.content)
    if content.size_bytes >= _SMALL_BYTES:
        parts = await runner.aside(partial(bundle.parts, content))
        if parts is not None:
            deployed = await _by_parts(runner, parts, whole.params or {})
            if deployed is not None:
                return deployed
    return await runner.send(whole)


async def _by_parts(runner: Runner, parts: Parts, params: Mapping[str, str]) -> Deployed | None:
    """None where the host takes nothing but whole bundles now."""

    async def send(runner: Runner, missing: tuple[Blob, int]) -> None:
        blob, offset = missing
        await _send_part(runner, blob, parts.contents[blob], offset)

    rounds_left = _ROUNDS
    while True:
        try:
            missing = await _missing(runner, parts.contents)
        except NoctiError as error:
            # What an earlier host says of a path that it does not know.
            if error.status == 404:
                return None
            raise
        try:
            await runner.each(send, missing.items(), _PARTS_AT_ONCE)
        except NoctiError as error:
            # A whole bundle goes straight to the store.
            if error.code in _NO_PLACE:
                return None
            raise
        rounds_left -= 1
        try:
            return await runner.send(calls.deploy_manifest(parts.manifest, params))
        except NoctiError as error:
            if error.code != "blobs_missing" or rounds_left == 0:
                raise


async def _send_part(runner: Runner, blob: Blob, content: Content, offset: int) -> None:
    failures = _Failures()
    began = offset
    error = await _send_once(runner, blob, content, began)
    while error is not None:
        await runner.pause(failures.pause_s(error, began))
        try:
            missing = await _missing(runner, [blob])
        except NoctiError as again:
            error = again
            continue
        if blob not in missing:
            return
        was, offset = offset, missing[blob]
        if error.code == _BUSY and offset > was:
            failures.busy_until = None
            continue
        if error.status is None and offset == was:
            # A host hangs up on who goes on sending what it has refused, and then not everybody sees why. Of nothing it tells.
            said = await _send_once(runner, blob, content.of_ranges([]), offset)
            if said is None:
                return
            if said.code != _INCOMPLETE:
                error = said
                continue
        began = offset
        error = await _send_once(runner, blob, content, began)


async def _send_once(runner: Runner, blob: Blob, content: Content, offset: int) -> NoctiError | None:
    left = content.after(offset)
    packed = await runner.aside(left.packed)
    try:
        await runner.send(calls.put_blob(blob, offset, left, packed))
    except NoctiError as error:
        if error.code == "wrong_content" and offset == 0:
            message = f"the bundle is damaged, or was changed while it was sent: {error.message}"
            return NoctiError(error.status, error.code, message, error.request_id)
        return error
    return None


async def _missing(runner: Runner, blobs: Collection[Blob]) -> dict[Blob, int]:
    missing: dict[Blob, int] = {}
    rest = iter(blobs)
    while asked := list(islice(rest, _ASKED_AT_ONCE)):
        lacking = await runner.send(calls.missing(asked))
        missing.update(lacking)
    return missing


def _may_pass(error: NoctiError, began: int) -> bool:
    """Whether it may go better another time, where the upload began at that byte."""
    if error.status is None:
        return error.code in _BROKEN
    # What others had sent before may have been something else; what comes from here alone is the same again.
    return error.code in _PASSING or (error.code == "wrong_content" and began > 0)
