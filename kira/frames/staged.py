"""How the bytes of a frame lie on the staging store: shuffled by bits and compressed with LZ4, in Blosc's format.

bz2 takes most of a second to unpack, so it is unpacked once and never again. Plain, however, a frame has 12 MB, and
what reading them from HDFS costs, with HDFS's checksums and ours, is a fifth of what measuring the frame does. Blosc's
format (c-blosc, by the package numcodecs) takes 0.44 of the bytes and 4 ms to unpack. What was packed comes out again
to the last bit, headers, tables and all.
"""

import struct

import numpy as np
from numcodecs import blosc

from kira.errors import ChecksumMismatch
from kira.frames.integrity import MAX_BYTES

SUFFIX = ".blosc"
HEAD_BYTES = 16
"""Of a packed file, which tell how long it is and what it unpacks to."""
_HEAD = struct.Struct("<4BIII")
_CODEC, _LEVEL = b"lz4", 5

# One thread: a worker has one core, and numcodecs would take all of them.
blosc.use_threads = False


def pack(plain: bytes, pixel_bytes: int) -> bytes:
    """Pack the plain bytes of a file.

    Parameters
    ----------
    plain : bytes
    pixel_bytes : int
        Of a pixel: bits are shuffled among values of this length.
    """
    values = np.frombuffer(plain, f"V{pixel_bytes}" if len(plain) % pixel_bytes == 0 else "V1")
    packed: bytes = blosc.compress(values, _CODEC, _LEVEL, blosc.BITSHUFFLE)
    return packed


def plain_of(content: bytes, path: str) -> bytes:
    """Plain bytes of a staged file; one whose name does not end in `.blosc` is plain already.

    Raises
    ------
    ChecksumMismatch
        If it is not a packed file, or not whole.
    """
    if not path.endswith(SUFFIX):
        return content
    if not is_whole(content[:HEAD_BYTES], len(content)):
        raise ChecksumMismatch(f"{path}: not a whole file in Blosc's format, of {len(content):,} bytes.")
    try:
        plain: bytes = blosc.decompress(content)
    except RuntimeError as error:
        raise ChecksumMismatch(f"{path}: in Blosc's format, but it does not unpack: {error}.") from error
    return plain


def is_whole(head: bytes, size: int, plain_size: int | None = None) -> bool:
    """Whether a file may be a whole packed one, by its first `HEAD_BYTES` and its length.

    Parameters
    ----------
    head : bytes
    size : int
        Length of the file.
    plain_size : int, optional
        What it should unpack to.
    """
    if len(head) < HEAD_BYTES:
        return False
    # c-blosc, README_CHUNK_FORMAT: versions, flags, size of a value; bytes unpacked, of a block, and packed.
    *_, unpacked, _block, packed = _HEAD.unpack(head[:HEAD_BYTES])
    return bool(packed == size and (unpacked == plain_size if plain_size is not None else unpacked <= MAX_BYTES))
