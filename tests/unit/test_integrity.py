import bz2
import gzip
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from real_frames import COUNTS, FPC, FRAME, archive_file

from kira.errors import CorruptUpstream
from kira.frames import unpack

SMALL = b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800) + bytes(range(250)) * 23 + bytes(10)
NAMES = {".gz": "fpC-004192-r4-0300.fit.gz", ".bz2": "frame-r-000094-1-0012.fits.bz2", "": "plain.fits"}
PACK = {".gz": lambda content: gzip.compress(content, mtime=0), ".bz2": bz2.compress, "": bytes}


def refused(content: bytes, name: str, **limits: int) -> str:
    with pytest.raises(CorruptUpstream) as caught:
        unpack(content, name, **limits)
    sentence = str(caught.value)
    assert sentence.startswith(f"{name.rsplit('/', 1)[-1]}: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("kind", PACK)
def test_whole_files_come_out_as_they_went_in(kind: str) -> None:
    assert len(SMALL) % 2880 == 0
    assert unpack(PACK[kind](SMALL), "some/folder/" + NAMES[kind]) == SMALL


@pytest.mark.parametrize("kind", [".gz", ".bz2"])
def test_several_members_are_one_file(kind: str) -> None:
    pack = PACK[kind]
    assert unpack(pack(SMALL[:1000]) + pack(b"") + pack(SMALL[1000:]), NAMES[kind]) == SMALL


@pytest.mark.parametrize("kind", [".gz", ".bz2"])
def test_no_flipped_bit_gets_through(kind: str) -> None:
    """Each bit of a file in turn: refused, or, in a header's free bytes, of no consequence."""
    packed = PACK[kind](SMALL)
    harmless = 0
    for position in range(len(packed)):
        for bit in range(8):
            damaged = bytearray(packed)
            damaged[position] ^= 1 << bit
            try:
                assert unpack(bytes(damaged), NAMES[kind]) == SMALL
                harmless += 1
            except CorruptUpstream:
                pass
    assert harmless < 80  # gzip: time, system and flags of no meaning; bzip2: the block size, which is only a bound


@pytest.mark.parametrize("kind", [".gz", ".bz2"])
def test_no_truncation_gets_through(kind: str) -> None:
    packed = PACK[kind](SMALL)
    for length in range(len(packed)):
        refused(packed[:length], NAMES[kind])


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html>\n<html><title>502 Bad Gateway</title></html>", "an HTML page under a frame's name"),
        (b"\n <HTML><body>Please log in</body></html>", "an HTML page under a frame's name"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "an XML document"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a git-LFS pointer"),
        (b"\0" * 5760, "something else under a frame's name"),
    ],
)
def test_another_thing_under_a_frames_name(kind: str, content: bytes, cause: str) -> None:
    assert cause in refused(content, NAMES[kind])


def test_the_sentence_says_what_was_found() -> None:
    assert refused(b"<!DOCTYPE html><p>", NAMES[".bz2"]) == (
        "frame-r-000094-1-0012.fits.bz2: an HTML page under a frame's name (begins with '<!DOCTYPE html><p>'), "
        "not a bzip2 file."
    )
    assert "a gzip file, not a bzip2 file" in refused(gzip.compress(SMALL), NAMES[".bz2"])
    assert "plain FITS, not a gzip file" in refused(SMALL, NAMES[".gz"])
    assert "inside it, an HTML page" in refused(gzip.compress(b"<html>"), NAMES[".gz"])


@pytest.mark.parametrize("kind", [".gz", ".bz2"])
@pytest.mark.parametrize("garbage", [b"\0", b"\0" * 1000, b"garbage", b"<html>" * 1000])
def test_bytes_after_the_end(kind: str, garbage: bytes) -> None:
    sentence = refused(PACK[kind](SMALL) + garbage, NAMES[kind])
    assert f"{len(garbage):,} bytes of something else follow" in sentence


@pytest.mark.parametrize("kind", [".gz", ".bz2"])
def test_a_bomb_is_not_unpacked(kind: str) -> None:
    member = PACK[kind](SMALL + bytes(8 * 2**20))
    for bomb in (member, PACK[kind](SMALL) + member):
        tracemalloc.start()
        try:
            assert "unpacks to more than the 1,048,576 bytes allowed" in refused(bomb, NAMES[kind], max_bytes=2**20)
            assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
        finally:
            tracemalloc.stop()


def test_the_limit_itself_is_allowed() -> None:
    for kind, pack in PACK.items():
        assert unpack(pack(SMALL), NAMES[kind], max_bytes=len(SMALL)) == SMALL
        refused(pack(SMALL), NAMES[kind], max_bytes=len(SMALL) - 1)


@pytest.mark.parametrize("kind", PACK)
def test_fits_that_is_no_whole_number_of_blocks(kind: str) -> None:
    assert "not a whole number of 2880-byte blocks: cut short" in refused(PACK[kind](SMALL[:-1]), NAMES[kind])


@pytest.mark.parametrize("text", [FPC, FRAME])
def test_damage_to_a_real_file(shared_sdss: Path, text: str) -> None:
    path = archive_file(shared_sdss, text)
    content = path.read_bytes()
    assert "truncated" in refused(content[: len(content) // 2], path.name)
    assert "truncated" in refused(content[:-1], path.name)
    assert "follow the end" in refused(content + b"\0", path.name)
    for share in (0.01, 0.3, 0.99):
        damaged = bytearray(content)
        damaged[int(share * len(content))] ^= 0x10
        assert "fail their own check" in refused(bytes(damaged), path.name)


def test_threads_unpack_real_files_alike(shared_sdss: Path) -> None:
    paths = [archive_file(shared_sdss, text) for text in COUNTS if text.startswith("dr7")]
    contents = [(path.read_bytes(), path.name) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda item: unpack(*item), contents))
    assert together == [gzip.decompress(content) for content, _ in contents]
