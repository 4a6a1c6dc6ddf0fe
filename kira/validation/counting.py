"""Checks that need no reference: how many sources a frame has, what is there twice, what is flagged or has no value."""

from collections import defaultdict

import numpy as np
import numpy.typing as npt

from kira.catalog.survey import OVERLAP
from kira.extraction.flags import Flag
from kira.frames.frame import ROWS
from kira.sdss import BANDS, FrameId
from kira.validation.batch import Batch
from kira.validation.comparison import nearest_of, plane
from kira.validation.report import Check, Severity

Ints = npt.NDArray[np.int64]

_UNMEASURED = {
    False: ("fluxerr_circle", "fluxerr_ellipse", "a", "b", "theta"),
    True: ("ra_err", "dec_err", "x_err", "y_err", "a", "b", "r50", "auto_scale", "background_rms"),
}
"""Columns that have a number in nearly every row, beside those of `finite_fluxes`, by whether it is kind `survey`."""


def few(batch: Batch, number: int, of: int) -> bool:
    """Whether so many odd frames are no more than a warning: one always, however small the batch."""
    return number <= max(1, batch.thresholds.max_out_of_range * of)


def and_more(detail: str, number: int, what: str = "frame") -> str:
    """Add how many others there are to what was found of the first."""
    if number == 1:
        return detail
    others = number - 1
    return f"{detail}, and {others:,} {what}{'' if others == 1 else 's'} more"


def number_counts(batch: Batch) -> Check:
    """Sources of each frame, held against wide limits of its band and against the other frames of its run."""
    counts = batch.counts
    bad: dict[int, str] = {}
    for i, e in enumerate(batch.expected):
        low, high = batch.thresholds.counts[e.frame.band]
        if not low <= counts[i] <= high:
            bad[i] = f"{counts[i]:,} sources are outside {low:,} to {high:,}"
    for i, typical in _typical(batch).items():
        factor = batch.thresholds.count_factor
        if counts[i] * factor < typical or counts[i] > factor * typical:
            bad[i] = f"{counts[i]:,} sources, where the other frames of its strip have {typical:,.0f} (median)"
    if not bad:
        return Check("number_counts", True, "every frame has as many sources as its band and its neighbours let expect")
    first = min(bad)
    severity = Severity.WARNING if few(batch, len(bad), len(batch.expected)) else Severity.ERROR
    return Check(
        "number_counts", False, and_more(bad[first], len(bad)), severity, str(batch.expected[first].frame)
    )  # fmt: skip


def _strip(frame: FrameId) -> tuple[object, ...]:
    return frame.release, frame.run, frame.rerun, frame.camcol, frame.band


def _typical(batch: Batch) -> dict[int, float]:
    """Median number of sources of the other frames of its strip, for each frame that has enough of them."""
    strips: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for i, e in enumerate(batch.expected):
        strips[_strip(e.frame)].append(i)
    found: dict[int, float] = {}
    for members in strips.values():
        if len(members) <= batch.thresholds.min_neighbours:
            continue
        counts = batch.counts[members]
        # Without itself, the median moves by one place at most: to the mean of two of the ordered ones, or one.
        ordered = np.sort(counts)
        for i, count in zip(members, counts, strict=True):
            found[i] = float(np.median(np.delete(ordered, np.searchsorted(ordered, count))))
    return found


# -- what is there twice


def duplicates(batch: Batch) -> Check:
    """A source that is in a frame twice under unlike numbers, or an id that two sources have."""
    if batch.survey:
        ids = np.sort(batch.column("source_id"))
        if (same := ids[1:][ids[1:] == ids[:-1]]).size:
            row = int(np.flatnonzero(batch.column("source_id") == same[0])[0])
            detail = f"source_id {same[0]} is that of more than one source, and {same.size:,} ids are there too often"
            return Check("duplicates", False, detail, frame=batch.frame_of(row))
    twins = _twins(batch)
    n, distance = len(twins), batch.thresholds.duplicate_distance
    if not n:
        return Check("duplicates", True, f"no two sources of a frame are nearer than {distance:g} pixel")
    frames = np.bincount(batch.index[twins], minlength=len(batch.expected))
    worst = int(np.argmax(frames / np.maximum(batch.counts, 1)))
    detail = f"{n:,} of {batch.table.num_rows:,} sources have another one of their frame nearer than {distance:g} pixel"
    many = n > batch.thresholds.max_duplicates * batch.table.num_rows
    severity = Severity.ERROR if many else Severity.WARNING
    return Check("duplicates", False, detail, severity, str(batch.expected[worst].frame))


_MOST_IN_A_ROW = 200
"""So many sources of a frame in a line of pixels are looked at; a globular cluster has 25."""


def _twins(batch: Batch) -> Ints:
    """Rows that have another row of their frame nearer than a distance."""
    x, y, index = batch.column("x"), batch.column("y"), batch.index
    rows = np.flatnonzero((index >= 0) & np.isfinite(x) & np.isfinite(y))
    rows = rows[np.lexsort((y[rows], index[rows]))]
    limit, twin = batch.thresholds.duplicate_distance, np.zeros(len(rows), dtype=bool)
    for step in range(1, min(len(rows), _MOST_IN_A_ROW)):
        one, other = rows[:-step], rows[step:]
        # In the order of y, those that are too far apart stay so for larger steps: the frames' rows thin out soon.
        near = (index[one] == index[other]) & (y[other] - y[one] < limit)
        if not near.any():
            break
        hit = near & (np.hypot(x[other] - x[one], y[other] - y[one]) < limit)
        twin[:-step] |= hit
        twin[step:] |= hit
    return rows[twin]


def counted_twice(batch: Batch) -> Check:
    """Sources that neighbouring fields share: of each pair one is primary."""
    if not batch.survey:
        return Check("counted_twice", True, "catalogues of this kind do not say which of two such sources is primary")
    pairs = both = neither = 0
    worst: tuple[int, int] = (0, -1)
    places = {e.frame: i for i, e in enumerate(batch.expected)}
    primary = batch.column("primary").astype(bool)
    for frame, i in places.items():
        after = places.get(_next(frame)) if frame.field < 9999 else None
        if after is None:
            continue
        one, other = _shared(batch, i, after)
        doubled = int((primary[one] & primary[other]).sum())
        pairs, both = pairs + len(one), both + doubled
        neither += int((~primary[one] & ~primary[other]).sum())
        worst = max(worst, (doubled, i))
    most = batch.thresholds.max_counted_twice
    if pairs < batch.thresholds.min_matches:
        return Check("counted_twice", True, f"{pairs} sources are shared by neighbouring fields: too few to judge")
    detail = (
        f"of {pairs:,} sources that neighbouring fields share {both:,} are primary in both and {neither:,} in neither"
    )
    frame_name = str(batch.expected[worst[1]].frame) if both > most * pairs else None
    return Check("counted_twice", both <= most * pairs, detail, Severity.ERROR, frame_name)


def _next(frame: FrameId) -> FrameId:
    return FrameId(frame.release, frame.run, frame.rerun, frame.camcol, frame.field + 1, frame.band)


def _shared(batch: Batch, frame: int, after: int) -> tuple[Ints, Ints]:
    """Rows of a field and of the next one that are the same source, in the rows that they share."""
    y, ra, dec = batch.column("y"), batch.column("ra"), batch.column("dec")
    one, other = batch.rows_of(frame), batch.rows_of(after)
    one, other = one[y[one] > ROWS - OVERLAP], other[y[other] < OVERLAP]
    if not len(one) or not len(other):
        return one[:0], other[:0]
    middle = float(ra[one[0]]), float(dec[one[0]])
    which, _ = nearest_of(
        plane(ra[one], dec[one], middle), plane(ra[other], dec[other], middle), batch.thresholds.overlap_distance
    )
    return one[which >= 0], other[which[which >= 0]]


# -- what is flagged, what has no value


def flagged(batch: Batch) -> Check:
    """Part of a band's sources that carry a flag bit."""
    worst: tuple[float, str, int, float] | None = None
    over = 0
    for k in range(len(BANDS)):
        rows = batch.row_bands == k
        n = int(rows.sum())
        if n < batch.thresholds.min_matches:
            continue
        for name, most in batch.thresholds.max_flagged.items():
            part = float(((batch.flags[rows] & int(Flag[name])) != 0).mean())
            if part > most:
                over += 1
                worst = max(worst or (0.0, "", 0, 0.0), (part - most, name, k, part))
    if worst is None:
        return Check("flagged", True, "in no band does a flag stand on more sources than is usual")
    _, name, k, part = worst
    usual = batch.thresholds.max_flagged[name]
    detail = f"{name} stands on {part:.1%} of the sources in {BANDS[k]}, {usual:.1%} are usual"
    bad = (batch.row_bands == k) & ((batch.flags & int(Flag[name])) != 0)
    frame = str(batch.expected[int(np.bincount(batch.index[bad]).argmax())].frame)
    return Check("flagged", False, and_more(detail, over, "flag or band"), Severity.WARNING, frame)


def unmeasured(batch: Batch) -> Check:
    """Part of the rows in which a number that nearly every source has is missing."""
    most = batch.thresholds.max_unmeasured
    for column in _columns_to_measure(batch):
        bad = ~np.isfinite(batch.column(column))
        part = float(bad.mean()) if len(bad) else 0.0
        if part > most:
            known = batch.index[bad & (batch.index >= 0)]
            frame = str(batch.expected[int(np.bincount(known).argmax())].frame) if len(known) else None
            detail = f"{column} is not finite in {part:.1%} of the rows where {most:.1%} are usual"
            return Check("unmeasured", False, detail, Severity.WARNING, frame)
    return Check("unmeasured", True, f"errors, shapes and circles are finite in all but {most:.1%} of the rows at most")


def _columns_to_measure(batch: Batch) -> list[str]:
    circles = [name for name in batch.table.column_names if name.startswith(("flux_aper_", "fluxerr_aper_"))]
    return [name for name in (*_UNMEASURED[batch.survey], *circles) if name in batch.table.column_names]
