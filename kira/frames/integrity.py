"""Whole-file check and decompression of one archive file, in exactly one pass.

Half a file, an error page saved under a frame's name or a flipped byte can all open without complaint: only
decompressing to the end, with the format's own checksums, proves a file whole. `bz2` and `zlib` release the
interpreter's lock, so that threads decompress in parallel.
"""

import bz2
import zlib
from typing import Any, NoReturn

from kira.errors import CorruptUpstream

FITS_BLOCK = 2880
"""FITS files are a whole number of such blocks (FITS standard 4.0, section 3.1)."""
FITS_MAGIC = b"SIMPLE  ="
MAX_BYTES = 256 * 2**20
"""Far above the 12 MB of the largest frame; a file that unpacks to more is no frame."""

_GZIP_MAGIC, _BZIP2_MAGIC = b"\x1f\x8b", b"BZh"
# Small pieces bound what the decompressors copy for each member of a file of many members.
_PIECE = 256 * 2**10
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


def unpack(content: bytes, file_name: str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Check a whole archive file and return the plain FITS bytes.

    Parameters
    ----------
    content : bytes
        The file as the archive sent it.
    file_name : str
        Its name: `.gz` and `.bz2` are decompressed, anything else is taken as plain FITS. A path may stand before it.
    max_bytes : int, optional
        Refuse to unpack to more than this (default 256 MiB).

    Returns
    -------
    bytes
        Plain FITS: begins with `SIMPLE  =`, a whole number of 2880-byte blocks.

    Raises
    ------
    CorruptUpstream
        With one sentence that names the file and the cause: empty, another kind of file, truncated, checksum error,
        bytes after the end, larger than `max_bytes` when unpacked, or not FITS inside.
    """
    name = file_name.rsplit("/", 1)[-1]
    if name.endswith(".gz"):
        _expect(content, _GZIP_MAGIC, name, "a gzip file")
        plain = _decompress(content, name, "gzip", max_bytes)
    elif name.endswith(".bz2"):
        _expect(content, _BZIP2_MAGIC, name, "a bzip2 file")
        plain = _decompress(content, name, "bzip2", max_bytes)
    else:
        if len(content) > max_bytes:
            _refuse(name, f"larger than the {max_bytes:,} bytes allowed")
        plain = content
    _expect(plain, FITS_MAGIC, name, "a FITS file", inside="" if plain is content else "inside it, ")
    if len(plain) % FITS_BLOCK:
        _refuse(name, f"its {len(plain):,} bytes of FITS are not a whole number of {FITS_BLOCK}-byte blocks: cut short")
    return plain


def _refuse(name: str, cause: str) -> NoReturn:
    raise CorruptUpstream(f"{name}: {cause}.")


def _expect(content: bytes, magic: bytes, name: str, wanted: str, inside: str = "") -> None:
    """Refuse content that does not begin with its format's magic bytes, saying what it is instead."""
    if not content.startswith(magic):
        _refuse(name, f"{inside}{_describe(content)}, not {wanted}")


def _describe(content: bytes) -> str:
    """Say what a file is, from how it begins."""
    if not content:
        return "an empty file"
    start = content[:512].lstrip().lower()
    quoted = f"(begins with {content[:24].decode('latin-1')!a})"
    for kind, beginnings in (
        ("an HTML page", (b"<!doctype html", b"<html", b"<head", b"<!--")),
        ("an XML document", (b"<?xml",)),
        ("a git-LFS pointer", (b"version https://git-lfs",)),
    ):
        if start.startswith(beginnings):
            return f"{kind} under a frame's name {quoted}"
    for kind, magic in (("a gzip file", _GZIP_MAGIC), ("a bzip2 file", _BZIP2_MAGIC), ("plain FITS", FITS_MAGIC)):
        if content.startswith(magic):
            return kind
    return f"something else under a frame's name {quoted}"


def _decompress(content: bytes, name: str, kind: str, max_bytes: int) -> bytes:
    """Decompress all members of a gzip or bzip2 file; both formats allow several, one after the other.

    Never holds more than `max_bytes` of output: what a bomb would unpack to is not produced.
    """
    pieces: list[bytes] = []
    total = position = 0
    view = memoryview(content)
    magic = _GZIP_MAGIC if kind == "gzip" else _BZIP2_MAGIC
    while position < len(content):
        if view[position : position + len(magic)] != magic:
            _refuse(name, f"{len(content) - position:,} bytes of something else follow the end of the {kind} data")
        # Typed as Any: bz2 and zlib objects share the methods used here, and no base class.
        member: Any = zlib.decompressobj(_GZIP_WINDOW) if kind == "gzip" else bz2.BZ2Decompressor()
        while not member.eof:
            if position >= len(content):
                _refuse(name, f"truncated: the {kind} data stop after {len(content):,} bytes, before their end")
            piece = view[position : position + _PIECE]
            position += len(piece)
            try:
                out = member.decompress(piece, max_bytes - total + 1)
            except (zlib.error, OSError) as error:
                _refuse(name, f"damaged: the {kind} data fail their own check near byte {position:,} ({error})")
            total += len(out)
            if total > max_bytes:
                _refuse(name, f"unpacks to more than the {max_bytes:,} bytes allowed")
            pieces.append(out)
        position -= len(member.unused_data)
    return b"".join(pieces)
