"""The 13 real SDSS frames, read and extracted once for all tests of a session."""

from functools import cache
from pathlib import Path

from kira.extraction import Extraction, Parameters, extract
from kira.frames import Companions, Frame, read_frame, unpack
from kira.sdss import FrameId

COUNTS = {
    "dr7-40-004192-4-0300-u": 65,
    "dr7-40-004192-4-0300-g": 410,
    "dr7-40-004192-4-0300-r": 568,
    "dr7-40-004192-4-0300-i": 569,
    "dr7-40-004192-4-0300-z": 248,
    "dr7-40-005754-3-0280-r": 272,
    "dr12-301-000094-1-0012-u": 101,
    "dr12-301-000094-1-0012-g": 344,
    "dr12-301-000094-1-0012-r": 597,
    "dr12-301-000094-1-0012-i": 569,
    "dr12-301-000094-1-0012-z": 294,
    "dr12-301-000094-1-0131-g": 238,
    "dr12-301-002583-2-0136-r": 6442,
}
"""Sources by Kira's parameters, counted with sep itself (SEP 1.4.1) by others before this code was written."""

FPC, FRAME = "dr7-40-004192-4-0300-u", "dr12-301-000094-1-0012-u"
"""One of each layout, with few sources."""
M2 = "dr12-301-002583-2-0136-r"


def archive_file(root: Path, text: str) -> Path:
    frame = FrameId.parse(text)
    return root / frame.release.service / frame.archive_path


@cache
def plain(root: Path, text: str) -> bytes:
    path = archive_file(root, text)
    return unpack(path.read_bytes(), path.name)


@cache
def frame(root: Path, text: str) -> Frame:
    return read_frame(plain(root, text), FrameId.parse(text))


@cache
def extraction(root: Path, text: str) -> Extraction:
    return extract(frame(root, text), Parameters())


def companions(root: Path, text: str) -> Companions:
    """What lies beside a frame; None what does not."""
    frame = FrameId.parse(text)
    archive = root / frame.release.service

    def read(path: str | None) -> bytes | None:
        return (archive / path).read_bytes() if path and (archive / path).is_file() else None

    return Companions(read(frame.tsfield_path), read(frame.psfield_path), read(frame.mask_path))


@cache
def full_frame(root: Path, text: str) -> Frame:
    """A frame read together with what lies beside it."""
    return read_frame(plain(root, text), FrameId.parse(text), companions(root, text))
