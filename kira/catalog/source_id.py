"""A number for each source, the same whenever the same frame is measured by the same profile."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kira.errors import InvalidInput
from kira.sdss import BANDS, FrameId, Release

BITS = (("release", 5), ("run", 14), ("rerun", 9), ("camcol", 3), ("field", 12), ("band", 3), ("number", 16))
"""Parts of a source's number, the highest first, and how many bits each takes: 62 in all, so that it is positive in
any language's 64 bits. The idea is SDSS's objID, which has no band because photo merged the bands."""

MOST = (1 << dict(BITS)["number"]) - 1
"""Highest number of a source within its frame."""


class SourceId(NamedTuple):
    """What a source's number says."""

    frame: FrameId
    number: int


def source_ids(frame: FrameId, n: int) -> npt.NDArray[np.int64]:
    """Numbers of the sources 0 to n - 1 of a frame, int64, shape (n,).

    Raises
    ------
    InvalidInput
        If a part does not fit its bits.
    """
    parts = {
        "release": frame.release.number, "run": frame.run, "rerun": frame.rerun, "camcol": frame.camcol,
        "field": frame.field, "band": BANDS.index(frame.band), "number": max(n - 1, 0),
    }  # fmt: skip
    packed = 0
    for name, bits in BITS:
        if not 0 <= parts[name] < 1 << bits:
            raise InvalidInput(f"{frame}: {name} {parts[name]:,} does not fit into a source's number.")
        packed = packed << bits | (0 if name == "number" else parts[name])
    return np.arange(n, dtype=np.int64) + packed


def parse_source_id(value: int) -> SourceId:
    """Read a source's number back.

    Raises
    ------
    InvalidInput
        If it is none.
    """
    if not 0 <= value < 1 << sum(bits for _, bits in BITS):
        raise InvalidInput(f"{value} is not the number of a source.")
    parts, rest = dict[str, int](), int(value)
    for name, bits in reversed(BITS):
        rest, parts[name] = rest >> bits, rest & ((1 << bits) - 1)
    if parts["band"] >= len(BANDS):
        raise InvalidInput(f"{value} is not the number of a source: there is no such band.")
    frame = FrameId(
        Release(parts["release"]), parts["run"], parts["rerun"], parts["camcol"], parts["field"], BANDS[parts["band"]]
    )
    return SourceId(frame, parts["number"])
