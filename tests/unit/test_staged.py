"""How frames lie on the staging store: to the last bit what they were, and noticed if they are not whole."""

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
from real_frames import plain

from kira.errors import ChecksumMismatch
from kira.extraction import Parameters
from kira.frames.integrity import MAX_BYTES
from kira.frames.staged import HEAD_BYTES, is_whole, pack, plain_of
from kira.ledger import Outcome
from kira.sdss import FrameId
from kira.stages.extraction import Task, run_task
from kira.storage import Entry, open_store

R = "dr12-301-000094-1-0012-r"
DR7 = "dr7-40-004192-4-0300-r"


@pytest.mark.parametrize("name", [R, DR7])
def test_a_real_frame_comes_out_as_it_was_from_half_the_bytes(shared_sdss: Path, name: str) -> None:
    content, frame = plain(shared_sdss, name), FrameId.parse(name)
    packed = pack(content, frame.pixel_bytes)
    assert plain_of(packed, "x.fits.blosc") == content
    assert len(packed) < len(content) / 2
    assert is_whole(packed[:HEAD_BYTES], len(packed), len(content))
    assert pack(content, frame.pixel_bytes) == packed


def test_every_odd_file_comes_out_as_it_was(shared: Path) -> None:
    files = [path for path in sorted((shared / "fits").rglob("*")) if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        for pixel_bytes in (2, 4):
            assert plain_of(pack(content, pixel_bytes), "x.blosc") == content, path


@pytest.mark.parametrize("content", [b"x", bytes(7), bytes(2880), random.Random(1).randbytes(10_001)])
def test_bytes_of_any_length_come_out_as_they_were(content: bytes) -> None:
    assert plain_of(pack(content, 4), "x.blosc") == content


def test_what_is_not_packed_by_its_name_is_as_it_is() -> None:
    assert plain_of(b"SIMPLE", "x.fits") == b"SIMPLE"


def test_what_is_not_whole_is_refused() -> None:
    whole = pack(np.arange(3000, dtype="f4").tobytes(), 4)
    bomb = whole[:4] + (MAX_BYTES + 1).to_bytes(4, "little") + whole[8:]
    for content in (b"", whole[:15], whole[:-1], whole + b"x", bytes(len(whole)), bomb, b"SIMPLE  = " * 100):
        with pytest.raises(ChecksumMismatch, match=r"x\.blosc: not a whole file in Blosc's format"):
            plain_of(content, "x.blosc")
        assert not is_whole(content[:HEAD_BYTES], len(content), 12_000)
    assert not is_whole(whole[:HEAD_BYTES], len(whole), 12_004)


def test_damage_inside_is_never_taken_for_the_frame(shared_sdss: Path) -> None:
    content = plain(shared_sdss, DR7)[: 2880 * 200]
    packed, chance = bytearray(pack(content, 2)), random.Random(7)
    for _ in range(300):
        at, bit = chance.randrange(HEAD_BYTES, len(packed)), 1 << chance.randrange(8)
        packed[at] ^= bit
        try:
            found = plain_of(bytes(packed), "x.blosc")
        except ChecksumMismatch:
            found = b""
        packed[at] ^= bit
        # A length that is right is all that the format itself promises: hence the SHA-256 of what was staged.
        assert len(found) in {0, len(content)}


@pytest.mark.parametrize("how", ["as staged", "packed otherwise", "plain, by an earlier version"])
def test_extraction_takes_the_frame_however_it_was_packed(tmp_path: Path, shared_sdss: Path, how: str) -> None:
    frame, store, content = FrameId.parse(DR7), open_store(f"file://{tmp_path}"), plain(shared_sdss, DR7)
    packed = pack(content, 2)
    lies = {"as staged": packed, "packed otherwise": pack(content, 4)}.get(how, content)
    staged, known = ("a/x.fits", None) if lies is content else ("a/x.fits.blosc", hashlib.sha256(packed).hexdigest())
    store.write(staged, lies)
    sha = hashlib.sha256(content).hexdigest()
    entry = Entry(frame, "", "", staged, 1, "0" * 64, len(content), sha, staged_sha256=known)
    (one,) = run_task(Task(store.url, "a/attempt", 0, Parameters(), (entry,)), "0")
    assert (one.outcome, one.size) == (Outcome.OK, len(content))
