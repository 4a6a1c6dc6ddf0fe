"""Checks of a batch: what extraction said, held against the rows of the table. Pure, and vectorised over rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kira.catalog.kinds import expected_schema
from kira.frames.frame import COLUMNS, ROWS
from kira.sdss import FrameId
from kira.validation import against, counting
from kira.validation.batch import Batch, ExpectedFrame
from kira.validation.comparison import Comparisons, compare
from kira.validation.figures import figures
from kira.validation.references import Reference, References
from kira.validation.report import Check, Report, Severity
from kira.validation.thresholds import Thresholds

_FLUXES = {False: ("flux_circle", "kron_radius", "flux_ellipse"), True: ("flux_iso", "flux_auto", "fluxerr_auto")}
"""Columns that have a number in nearly every row, by whether the catalogue is of kind `survey`."""


@dataclass(frozen=True, eq=False)
class Validation:
    """A report, and what it was made from: for plots.

    Parameters
    ----------
    report : Report
    comparisons : Comparisons or None
        With the batch; None where the schema is wrong.
    """

    report: Report
    comparisons: Comparisons | None


def validate(
    table: pa.Table, expected: Sequence[ExpectedFrame], thresholds: Thresholds | None = None,
    references: References | Sequence[tuple[FrameId, Reference]] = (),
) -> Report:  # fmt: skip
    """Check a batch.

    Parameters
    ----------
    table : pyarrow.Table
        All rows of the batch, in any order.
    expected : sequence of ExpectedFrame
        Every frame whose outcome is a finished extraction, also those with no sources.
    thresholds : Thresholds, optional
    references : mapping, callable or sequence of pairs, optional
        The reference of each frame, see `kira.validation.references`. A callable is asked for each frame once, in the
        order of `expected`, and returns None where there is none.

    Returns
    -------
    Report
        With the check of the schema alone where that fails: the others would not know what they read.
    """
    return examine(table, expected, thresholds, references).report


def examine(
    table: pa.Table, expected: Sequence[ExpectedFrame], thresholds: Thresholds | None = None,
    references: References | Sequence[tuple[FrameId, Reference]] = (),
) -> Validation:  # fmt: skip
    """Check a batch as `validate` does, and keep what `kira.validation.page` draws."""
    schema = _schema(table)
    if not schema.passed:
        return Validation(Report((schema,), frames=len(expected), sources=table.num_rows), None)
    batch = Batch(table, tuple(expected), thresholds or Thresholds())
    known = references if callable(references) or isinstance(references, Mapping) else dict(references)
    comparisons = compare(batch, known)
    checks = (
        schema,
        _expected_once(batch),
        _unexpected_frames(batch),
        _row_counts(batch),
        _numbers(batch),
        _positions(batch),
        _coordinates(batch),
        _finite_fluxes(batch),
        counting.unmeasured(batch),
        _noise(batch),
        _ranges(batch),
        counting.number_counts(batch),
        counting.duplicates(batch),
        counting.counted_twice(batch),
        counting.flagged(batch),
        against.references(comparisons),
        against.astrometry(comparisons),
        against.zero_point(comparisons),
        against.found(comparisons),
        against.spurious(comparisons),
        against.completeness(comparisons),
    )
    report = Report(checks, len(expected), table.num_rows, figures(comparisons))
    return Validation(report, comparisons)


def _schema(table: pa.Table) -> Check:
    expected = expected_schema(table.schema)
    if not table.schema.equals(expected, check_metadata=False):
        ours, theirs = ({(f.name, str(f.type)) for f in schema} for schema in (expected, table.schema))
        wrong = sorted(name for name, _ in ours ^ theirs) or ["their order, or which may be null"]
        return Check("schema", False, f"columns differ from the catalogue's: {', '.join(dict.fromkeys(wrong))}")
    if nulls := [name for name in table.column_names if table[name].null_count]:
        return Check("schema", False, f"empty values in columns that always have one: {', '.join(nulls)}")
    return Check("schema", True, f"{len(expected)} columns as defined")


def _expected_once(batch: Batch) -> Check:
    seen: set[FrameId] = set()
    for e in batch.expected:
        if e.frame in seen:
            return Check("expected_once", False, "the frame is expected twice", frame=str(e.frame))
        seen.add(e.frame)
    return Check("expected_once", True, "every frame is expected once")


def _unexpected_frames(batch: Batch) -> Check:
    bad = batch.index < 0
    if bad.any():
        detail = f"{int(bad.sum()):,} rows are of frames that are not part of the batch"
        return Check("unexpected_frames", False, detail, frame=batch.first_row(bad)[1])
    return Check("unexpected_frames", True, "every row is of an expected frame")


def _row_counts(batch: Batch) -> Check:
    said = np.array([e.sources for e in batch.expected], dtype=np.int64)
    bad = np.flatnonzero(batch.counts != said)
    if len(bad):
        i = int(bad[0])
        detail = f"{int(batch.counts[i]):,} rows where extraction found {int(said[i]):,} sources"
        return Check("row_counts", False, counting.and_more(detail, len(bad)), frame=str(batch.expected[i].frame))
    return Check("row_counts", True, "every frame has as many rows as extraction found sources")


def _numbers(batch: Batch) -> Check:
    """Each frame's sources are numbered from 0 without a gap: finds a row that is there twice."""
    rows = np.flatnonzero(batch.index >= 0)
    number, index = batch.column("number")[rows].astype(np.int64), batch.index[rows]
    order = np.lexsort((number, index))
    begins = np.cumsum(batch.counts) - batch.counts
    due = np.arange(len(rows)) - begins[index[order]]
    bad = np.flatnonzero(number[order] != due)
    if len(bad):
        at = order[bad[0]]
        detail = f"source {int(number[at])} stands where number {int(due[bad[0]])} is due: a row twice, or missing"
        return Check("numbers", False, detail, frame=str(batch.expected[int(index[at])].frame))
    return Check("numbers", True, "the sources of every frame are numbered from 0, each once")


def _positions(batch: Batch) -> Check:
    x, y = batch.column("x"), batch.column("y")
    inside = (x >= -0.5) & (x <= COLUMNS - 0.5) & (y >= -0.5) & (y <= ROWS - 0.5)  # NaN is not inside
    return _all_rows(batch, "positions", inside, ("x", "y"), "lies outside its frame")


def _coordinates(batch: Batch) -> Check:
    ra, dec = batch.column("ra"), batch.column("dec")
    good = (ra >= 0) & (ra < 360) & (dec >= -90) & (dec <= 90)
    return _all_rows(batch, "coordinates", good, ("ra", "dec"), "lies outside the coordinates of the sky")


def _all_rows(batch: Batch, name: str, good: npt.NDArray[np.bool_], columns: tuple[str, str], fault: str) -> Check:
    if good.all():
        return Check(name, True, f"no source {fault}")
    row, frame = batch.first_row(~good)
    values = ", ".join(f"{c} {batch.table[c][row].as_py():.6g}" for c in columns)
    detail = f"source {batch.table['number'][row].as_py()} ({values}) {fault}"
    return Check(name, False, counting.and_more(detail, int((~good).sum()), "row"), frame=frame)


def _finite_fluxes(batch: Batch) -> Check:
    allowed = batch.thresholds.max_not_finite
    for column in _FLUXES[batch.survey]:
        bad = ~np.isfinite(batch.column(column))
        fraction = float(bad.mean()) if len(bad) else 0.0
        if fraction > allowed:
            known = batch.index[bad & (batch.index >= 0)]
            worst = str(batch.expected[int(np.bincount(known).argmax())].frame) if len(known) else None
            detail = f"{column} is not finite in {fraction:.1%} of the rows where {allowed:.1%} are allowed"
            return Check("finite_fluxes", False, detail, frame=worst)
    return Check("finite_fluxes", True, f"fluxes are finite in all but {allowed:.1%} of the rows at most")


def _noise(batch: Batch) -> Check:
    for e in batch.expected:
        if not (math.isfinite(e.background) and math.isfinite(e.rms) and e.rms > 0):
            detail = f"background {e.background:g} and rms {e.rms:g} are not those of a sky"
            return Check("noise", False, detail, frame=str(e.frame))
    return Check("noise", True, "background and rms of every frame are finite, the rms above 0")


def _ranges(batch: Batch) -> Check:
    bad: list[tuple[ExpectedFrame, str]] = []
    for e in batch.expected:
        limits = batch.thresholds.ranges[e.frame.release.service, e.frame.band]
        for what, value, (low, high) in (("background", e.background, limits.background), ("rms", e.rms, limits.rms)):
            if not low <= value <= high:
                bad.append((e, f"{what} {value:g} is outside {low:g} to {high:g}"))
                break
    if not bad:
        return Check("ranges", True, "background and rms of every frame are in the range of their band")
    # One odd frame must not hold back the others, however small the batch.
    first, detail = bad[0]
    severity = Severity.WARNING if counting.few(batch, len(bad), len(batch.expected)) else Severity.ERROR
    return Check("ranges", False, counting.and_more(detail, len(bad)), severity, str(first.frame))
