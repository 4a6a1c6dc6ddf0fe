"""Frames as whole numbers: short keys whose order is that of the frames, so that a run is one range of them.

The digits can be read: run (6), rerun (4), camcol (1), field (4), band (1; 0 to 4 for u, g, r, i, z). The release is
that of the catalogue.
"""

from collections.abc import Iterator

from kira.sdss import BANDS, FrameId, Release, Selection

_FIELD, _CAMCOL, _RERUN, _RUN = 10, 10**5, 10**6, 10**10


def number_of(frame: FrameId) -> int:
    """Key of a frame, for example 940301100122 for `dr12-301-000094-1-0012-r`."""
    return (
        frame.run * _RUN + frame.rerun * _RERUN + frame.camcol * _CAMCOL + frame.field * _FIELD
        + BANDS.index(frame.band)
    )  # fmt: skip


def frame_of(number: int, release: Release) -> FrameId:
    """Frame of a key."""
    return FrameId(
        release, run_of(number), number // _RERUN % 10**4, camcol_of(number), field_of(number), BANDS[number % 10]
    )


def run_of(number: int) -> int:
    """Imaging run of a key."""
    return number // _RUN


def camcol_of(number: int) -> int:
    """Camera column of a key."""
    return number // _CAMCOL % 10


def field_of(number: int) -> int:
    """Field of a key."""
    return number // _FIELD % 10**4


def band_of(number: int) -> str:
    """Band of a key."""
    return BANDS[number % 10]


def folder_range(run: int, rerun: int, camcol: int) -> tuple[int, int]:
    """First key of a camera column of a run, and the first that is beyond it."""
    low = run * _RUN + rerun * _RERUN + camcol * _CAMCOL
    return low, low + _CAMCOL


def run_ranges(selection: Selection) -> Iterator[tuple[int, int]]:
    """Ranges of keys, first and first beyond, that hold all frames of a selection's runs."""
    for low, high in selection.runs.ranges or ((0, 999_999),):
        yield low * _RUN, (high + 1) * _RUN


def in_selection(number: int, selection: Selection) -> bool:
    """Whether a frame of the selection's release is one that the selection asks for; positions do not count."""
    return (
        run_of(number) in selection.runs
        and camcol_of(number) in selection.camcols
        and field_of(number) in selection.fields
        and band_of(number) in selection.bands
    )
