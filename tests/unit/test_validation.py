import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from real_frames import COUNTS, extraction

from kira.catalog import SCHEMA, to_table
from kira.extraction import COLUMNS, Extraction
from kira.sdss import FrameId
from kira.validation import Check, ExpectedFrame, Report, Severity, Thresholds, validate

TEXTS = ["dr12-301-000094-1-0012-r", "dr12-301-000094-1-0013-r", "dr12-301-000094-2-0012-r"]
FIRST, SECOND, THIRD = TEXTS
FEW = Thresholds(counts=dict.fromkeys("ugriz", (0, 1_000)))
"""For frames of a few made-up sources, or of none."""


def expected(text: str, sources: int = 10, background: float = 0.001, rms: float = 0.03) -> ExpectedFrame:
    return ExpectedFrame(FrameId.parse(text), sources, background, rms)


def rows(text: str, n: int = 10) -> pa.Table:
    table = np.zeros(n, dtype=COLUMNS)
    table["x"], table["y"] = 100.0 + 3 * np.arange(n), 200.0 + 2 * (np.arange(n) // 10)
    table["ra"], table["dec"] = 336.5, -1.0
    return to_table(FrameId.parse(text), Extraction(table, 0.001, 0.03, 0.1))


def batch() -> tuple[pa.Table, list[ExpectedFrame]]:
    return pa.concat_tables([rows(text) for text in TEXTS]), [expected(text) for text in TEXTS]


def changed(table: pa.Table, column: str, row: int, value: Any) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    i = SCHEMA.get_field_index(column)
    return table.set_column(i, SCHEMA.field(i), pa.array(values, SCHEMA.field(i).type, from_pandas=False))


def only_failure(report: Report) -> Check:
    assert [check.name for check in report.failed] == [report.failed[0].name]
    return report.failed[0]


@pytest.mark.integration  # with the crowded field, which takes seconds
def test_real_frames_pass(shared_sdss: Path) -> None:
    found = {text: extraction(shared_sdss, text) for text in COUNTS}
    table = pa.concat_tables([to_table(FrameId.parse(text), e) for text, e in found.items()])
    report = validate(table, [expected(text, e.n_sources, e.background, e.rms) for text, e in found.items()])
    assert report.ok, report.sentence()
    assert report.sentence() == f"All 21 checks passed (13 frames, {sum(COUNTS.values()):,} sources)."
    assert json.loads(json.dumps(report.as_dict()))["ok"] is True


def test_order_of_rows_and_empty_frames_do_not_matter() -> None:
    table, frames = batch()
    shuffled = table.take(np.random.default_rng(1).permutation(30))
    assert validate(shuffled, [*frames, expected("dr12-301-000094-3-0012-r", sources=0)]).ok
    assert validate(SCHEMA.empty_table(), [expected(FIRST, sources=0)]).ok
    assert validate(SCHEMA.empty_table(), []).ok


@pytest.mark.parametrize(
    ("name", "frame", "words", "damage"),
    [
        ("schema", None, "dec", lambda t: t.drop_columns(["dec"])),
        ("schema", None, "run", lambda t: t.set_column(1, "run", t["run"].cast("int64"))),
        ("schema", None, "their order", lambda t: t.select(SCHEMA.names[::-1])),
        ("schema", None, "empty values in .* x", lambda t: changed(t, "x", 3, None)),
        ("positions", SECOND, r"source 2 \(x nan, y 200\)", lambda t: changed(t, "x", 12, np.nan)),
        ("positions", SECOND, "outside its frame", lambda t: changed(t, "x", 12, 2047.6)),
        ("positions", THIRD, "outside its frame", lambda t: changed(t, "y", 22, -0.6)),
        ("positions", FIRST, "1 row more", lambda t: changed(changed(t, "y", 22, -1.0), "y", 3, 1500.0)),
        ("coordinates", FIRST, "coordinates of the sky", lambda t: changed(t, "ra", 0, 360.0)),
        ("coordinates", FIRST, "coordinates of the sky", lambda t: changed(t, "ra", 0, -0.1)),
        ("coordinates", THIRD, "coordinates of the sky", lambda t: changed(t, "dec", 29, 90.1)),
        ("coordinates", THIRD, "coordinates of the sky", lambda t: changed(t, "dec", 29, np.inf)),
        ("finite_fluxes", SECOND, "flux_ellipse .* 3.3% .* 1.0%", lambda t: changed(t, "flux_ellipse", 15, np.nan)),
        ("finite_fluxes", SECOND, "flux_circle", lambda t: changed(t, "flux_circle", 15, np.inf)),
        ("numbers", SECOND, "number 4 is due", lambda t: changed(t, "number", 14, 3)),
        ("numbers", FIRST, "source 10 stands where number 9 is due", lambda t: changed(t, "number", 9, 10)),
        ("numbers", FIRST, "source -1 stands where number 0 is due", lambda t: changed(t, "number", 9, -1)),
        ("row_counts", THIRD, "9 rows where extraction found 10 sources", lambda t: t.slice(0, 29)),
        ("row_counts", FIRST, "0 rows where .*, and 2 frames more", lambda t: t.slice(0, 0)),
    ],
)
def test_damage_is_found(name: str, frame: str | None, words: str, damage: Callable[[pa.Table], pa.Table]) -> None:
    table, frames = batch()
    check = only_failure(report := validate(damage(table), frames, FEW))
    assert not report.ok
    assert (check.name, check.frame, check.severity) == (name, frame, Severity.ERROR)
    assert report.sentence().startswith(f"Check {name} failed{f' on {frame}' if frame else ''}: ")
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(check.detail)


def test_a_row_that_is_there_twice() -> None:
    table, frames = batch()
    report = validate(pa.concat_tables([table, table.slice(12, 1)]), frames)
    assert {check.name for check in report.failed} == {"row_counts", "numbers", "duplicates"}
    assert {check.frame for check in report.failed} == {SECOND}
    assert "2 other checks did not pass" in report.sentence()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("release", "dr13"), ("release", "sdss"), ("release", "DR12"), ("run", 95), ("run", -94), ("run", 2**30),
        ("rerun", 302), ("camcol", 7), ("camcol", 99), ("field", 14), ("band", "g"), ("band", "x"),
    ],
)  # fmt: skip
def test_a_frame_that_is_not_expected(column: str, value: Any) -> None:
    table, frames = batch()
    report = validate(changed(table, column, 12, value), frames)
    assert {check.name for check in report.failed} == {"unexpected_frames", "row_counts", "numbers"}
    check = report.failed[0]
    assert check.detail == "1 rows are of frames that are not part of the batch"
    assert f"{value:06d}" if column == "run" else str(value) in str(check.frame)
    assert not validate(table, []).ok


def test_a_frame_that_is_expected_twice() -> None:
    table, frames = batch()
    report = validate(table, [*frames, frames[0]])
    assert report.failed[0].name == "expected_once"
    assert report.failed[0].frame == FIRST


@pytest.mark.parametrize("wrong", [{"rms": 0.0}, {"rms": -1.0}, {"rms": np.nan}, {"background": np.inf}])
def test_noise_that_is_none(wrong: dict[str, float]) -> None:
    table, frames = batch()
    report = validate(table, [frames[0], replace(frames[1], **wrong), frames[2]])
    assert report.failed[0].name == "noise"
    assert report.failed[0].frame == SECOND


@pytest.mark.parametrize("wrong", [{"rms": 5.0}, {"rms": 0.0001}, {"background": 1100.0}, {"background": -2.0}])
def test_a_frame_out_of_range(wrong: dict[str, float]) -> None:
    """Counts where nanomaggies belong, for instance."""
    table, frames = batch()
    frames[1] = replace(frames[1], **wrong)
    # One of three, or of one, must not hold back the others …
    check = only_failure(report := validate(table, frames))
    assert (check.name, check.frame, check.severity, report.ok) == ("ranges", SECOND, Severity.WARNING, True)
    assert report.sentence().startswith(f"Check ranges warns on {SECOND}: {next(iter(wrong))} ")
    assert validate(rows(SECOND), [frames[1]]).ok
    # … and two of three are no accident, unless that many are allowed.
    frames[2] = replace(frames[2], **wrong)
    check = only_failure(report := validate(table, frames))
    assert (check.name, check.frame, check.severity, report.ok) == ("ranges", SECOND, Severity.ERROR, False)
    assert check.detail.endswith(", and 1 frame more")
    lenient = validate(table, frames, Thresholds(max_out_of_range=0.7))
    assert (only_failure(lenient).severity, lenient.ok) == (Severity.WARNING, True)


def test_of_a_large_batch_as_many_may_be_out_of_range_as_the_threshold_says() -> None:
    texts = [f"dr12-301-000094-1-{field:04d}-r" for field in range(11, 111)]
    frames = [expected(text, sources=0) for text in texts]
    allowed = int(Thresholds().max_out_of_range * len(frames))
    assert allowed > 1
    for number, ok in ((allowed, True), (allowed + 1, False)):
        wrong = [replace(frame, rms=5.0) for frame in frames[:number]] + frames[number:]
        report = validate(SCHEMA.empty_table(), wrong, FEW)
        assert (only_failure(report).name, report.ok) == ("ranges", ok)


def test_errors_come_before_warnings() -> None:
    warning, error = Check("a", False, "x", Severity.WARNING), Check("b", False, "y", frame="f")
    report = Report((warning, error, Check("c", True, "z")), 1, 1)
    assert report.failed == (error, warning)
    assert report.sentence() == "Check b failed on f: y; 1 other check did not pass (1 frame, 1 source)."


def test_a_large_batch() -> None:
    fields = range(11, 411)
    texts = [f"dr12-301-000094-1-{field:04d}-r" for field in fields]
    one = rows(texts[0], 500)
    i = SCHEMA.get_field_index("field")
    many = pa.concat_tables([one] * len(texts)).combine_chunks()
    many = many.set_column(i, SCHEMA.field(i), pa.array(np.repeat(np.array(fields), 500), pa.int16()))
    report = validate(many, [expected(text, 500) for text in texts])
    assert report.ok, report.sentence()
    assert report.sources == 200_000
