"""Checks of a batch against its references: positions, zero-point, what was found, and how deep."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kira.validation.comparison import Compared, Comparisons, bright_found, depth, recoveries
from kira.validation.counting import and_more, few
from kira.validation.reference import Offset, offset
from kira.validation.report import Check, Severity

_NOTHING = "there is no reference for any frame"


@dataclass(frozen=True)
class _Fault:
    """What is wrong with a band, or with one frame, and how much of the limit that is."""

    detail: str
    severity: Severity
    frame: str | None = None


def references(comparisons: Comparisons) -> Check:
    """Whether each reference could be read, and is of the frame that it was given for."""
    unusable = comparisons.unusable
    if not unusable:
        n = len(comparisons.frames)
        return Check("references", True, f"{n:,} frames have a reference" if n else _NOTHING)
    i, told = unusable[0]
    detail = and_more(told.rstrip("."), len(unusable))
    return Check("references", False, detail, Severity.WARNING, str(comparisons.batch.expected[i].frame))


def east_north(frames: Iterable[Compared]) -> tuple[Offset, Offset]:
    """Median offsets of some frames, east and north, arcsec."""
    frames = list(frames)
    return offset(_together(frames, lambda one: one.east)), offset(_together(frames, lambda one: one.north))


def zero_point_of(frames: Iterable[Compared]) -> Offset:
    """Median magnitude of some frames minus that of their references."""
    return offset(_together(list(frames), lambda one: one.difference))


def _together(
    frames: list[Compared], values: Callable[[Compared], npt.NDArray[np.float64]]
) -> npt.NDArray[np.float64]:  # fmt: skip
    return np.concatenate([values(one) for one in frames]) if frames else np.empty(0)


def astrometry(comparisons: Comparisons) -> Check:
    """Median offset on the sky, of each band and of each frame."""
    limits = comparisons.batch.thresholds

    def size(frames: Sequence[Compared]) -> tuple[float, int, str, float]:
        east, north = east_north(frames)
        scatter = max(east.scatter, north.scatter)
        text = f'{east.median:+.2f}" east and {north.median:+.2f}" north of the reference ({east.number} sources)'
        return float(np.hypot(east.median, north.median)), east.number, text, scatter

    faults, judged = _judge(
        comparisons, lambda frames: size(frames)[:3], limits.warn_offset, limits.max_offset, "positions lie "
    )
    for band, frames in comparisons.bands.items():
        _, number, _, scatter = size(frames)
        if number >= limits.min_matches and scatter > limits.warn_offset_scatter:
            detail = f'positions in {band} scatter by {scatter:.2f}" about their offset from the reference'
            faults.append(_Fault(detail, Severity.WARNING))
    return _check("astrometry", faults, judged, f'median offsets are within {limits.warn_offset:g}"', comparisons)


def zero_point(comparisons: Comparisons) -> Check:
    """Median difference of magnitudes, of each band and of each frame."""
    if comparisons.frames and not comparisons.column:
        return Check("zero_point", True, "the catalogue has no calibrated flux to compare: not judged")
    limits = comparisons.batch.thresholds

    def size(frames: Sequence[Compared]) -> tuple[float, int, str]:
        one = zero_point_of(frames)
        text = f"{one.median:+.3f} mag off the reference in {comparisons.column} ({one.number} stars)"
        return abs(one.median), one.number, text

    faults, judged = _judge(comparisons, size, limits.warn_zero_point, limits.max_zero_point, "stars are ")
    return _check("zero_point", faults, judged, f"zero-points are within {limits.warn_zero_point:g} mag", comparisons)


def found(comparisons: Comparisons) -> Check:
    """Part of the bright stars of the reference that was found, of each band and of each frame."""
    limits = comparisons.batch.thresholds

    def size(frames: Sequence[Compared]) -> tuple[float, int, str]:
        got, there = bright_found(tuple(frames))
        missed = 1 - got / there if there else float("nan")
        return missed, there, f"{got:,} of {there:,} stars that should be found are there"

    faults, judged = _judge(comparisons, size, 1 - limits.warn_found, 1 - limits.min_found, "")
    return _check("found", faults, judged, f"at least {limits.warn_found:.0%} of the bright stars are found",
                  comparisons)  # fmt: skip


def spurious(comparisons: Comparisons) -> Check:
    """Part of the sources that the reference does not have, of each band and of each frame: noise.

    No more than a warning: photo itself gave up in crowded fields, and lists a part of what there is.
    """
    limits = comparisons.batch.thresholds

    def size(frames: Sequence[Compared]) -> tuple[float, int, str]:
        known, asked = sum(one.known for one in frames), sum(one.asked for one in frames)
        unknown = asked - known
        return unknown / asked if asked else float("nan"), asked, f"{unknown:,} of {asked:,} sources are unknown to it"

    faults, judged = _judge(comparisons, size, limits.warn_spurious, limits.warn_spurious_frame, "")
    faults = [replace(fault, severity=Severity.WARNING) for fault in faults]
    return _check("spurious", faults, judged, f"at most {limits.warn_spurious:.0%} of the sources are unknown to it",
                  comparisons)  # fmt: skip


def completeness(comparisons: Comparisons) -> Check:
    """Magnitude at which half of the stars are found, of each band."""
    limits, faults, told = comparisons.batch.thresholds, [], []
    for band, frames in comparisons.bands.items():
        half = depth(recoveries(frames, band), 0.5)
        if not np.isfinite(half):
            continue
        told.append(f"{band} {half:.2f}")
        if half < (least := limits.limits[band] - limits.warn_depth):
            detail = f"half of the stars in {band} are found to {half:.2f} mag only, {least:.2f} is expected at least"
            faults.append(_Fault(detail, Severity.WARNING))
    return _check("completeness", faults, len(told), f"half of the stars are found to {', '.join(told)}", comparisons)


def _judge(
    comparisons: Comparisons, size: Callable[[Sequence[Compared]], tuple[float, int, str]], warn: float, most: float,
    begin: str,
) -> tuple[list[_Fault], int]:  # fmt: skip
    """What is off by more than a limit: bands first; and in how many bands and frames that could be told.

    A band that is off holds the batch back. Frames do where they are many; a single one is for a person to look at.
    """
    batch = comparisons.batch
    faults, judged, off = [], 0, []
    for band, frames in comparisons.bands.items():
        value, number, text = size(frames)
        if number >= batch.thresholds.min_matches:
            judged += 1
            if not value <= warn:
                severity = Severity.WARNING if value <= most else Severity.ERROR
                faults.append(_Fault(f"in {band} {begin}{text}", severity, _name(comparisons, _worst(frames, size))))
    seen = 0
    for one in comparisons.frames:
        value, number, text = size([one])
        if number >= batch.thresholds.min_matches:
            seen += 1
            if not value <= most:
                off.append((one, text))
    if off and not any(fault.severity is Severity.ERROR for fault in faults):
        severity = Severity.WARNING if few(batch, len(off), seen) else Severity.ERROR
        one, text = off[0]
        faults.insert(0, _Fault(and_more(f"{begin}{text}", len(off)), severity, _name(comparisons, one)))
    return faults, judged


def _worst(
    frames: Sequence[Compared], size: Callable[[Sequence[Compared]], tuple[float, int, str]]
) -> Compared:  # fmt: skip
    """The frame that is off most."""
    return max(frames, key=lambda one: float(np.nan_to_num(size([one])[0], nan=-1.0)))


def _name(comparisons: Comparisons, one: Compared) -> str:
    return str(comparisons.batch.expected[one.frame].frame)


def _check(name: str, faults: list[_Fault], judged: int, good: str, comparisons: Comparisons) -> Check:
    if not comparisons.frames:
        return Check(name, True, f"{_NOTHING}: not judged")
    if faults:
        worst = min(faults, key=lambda fault: fault.severity is Severity.WARNING)
        return Check(name, False, and_more(worst.detail, len(faults), "finding"), worst.severity, worst.frame)
    if not judged:
        return Check(name, True, "the references have too few sources for a judgement")
    return Check(name, True, good)
