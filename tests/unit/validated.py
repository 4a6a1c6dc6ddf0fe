"""Batches to validate: real frames, a rendered sample, and what can be wrong with them."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from real_frames import archive_file

from kira.catalog.kinds import schema_like
from kira.extraction import Parameters, Profile, SurveyProfile
from kira.laptop import measure_file
from kira.sample import SampleSpec, write_sample
from kira.sdss import FrameId, Release
from kira.validation import ExpectedFrame

FIELD = [f"dr12-301-000094-1-0012-{band}" for band in "ugriz"]
EQUATOR = [f"dr7-40-004192-4-0300-{band}" for band in "ugriz"]
SPEC = SampleSpec(fields=2, bands=("g", "r", "i"), releases=(Release(12),))
PROFILES: dict[str, Profile] = {"survey": SurveyProfile(), "kira": Parameters()}

Batch = tuple[pa.Table, list[ExpectedFrame]]


@cache
def one(path: Path, profile: str) -> tuple[pa.Table, ExpectedFrame]:
    """A file, measured: its rows, and what extraction says of it."""
    result = measure_file(path, PROFILES[profile])
    assert not result.error, result.error
    assert result.frame is not None
    assert result.frame.id is not None
    assert result.extraction is not None
    assert result.table is not None
    schema = schema_like(result.table.schema)
    found = result.extraction
    expected = ExpectedFrame(result.frame.id, found.n_sources, float(found.background), float(found.rms))
    return result.table.cast(schema).replace_schema_metadata(schema.metadata), expected


def real(root: Path, texts: Sequence[str], profile: str = "survey") -> Batch:
    return together([one(archive_file(root, text), profile) for text in texts])


def sampled(folder: Path) -> Batch:
    """The sample, in DR12's layout; written where it is not there yet."""
    write_sample(SPEC, folder, processes=1)
    return together([one(archive_file(folder, str(frame)), "survey") for frame in SPEC.frames()])


def together(parts: Sequence[tuple[pa.Table, ExpectedFrame]]) -> Batch:
    return pa.concat_tables([table for table, _ in parts]).combine_chunks(), [expected for _, expected in parts]


def with_column(table: pa.Table, name: str, change: Callable[[Any], Any]) -> pa.Table:
    """A column's values replaced."""
    i = table.schema.get_field_index(name)
    values = pa.array(np.asarray(change(table[name].to_numpy())), table.schema.field(i).type)
    return table.set_column(i, table.schema.field(i), values)


def kept(batch: Batch, chosen: Callable[[pa.Table], Any]) -> Batch:
    """Some of the rows, numbered anew, and extraction says that there are no more."""
    table, expected = batch
    return numbered(table.filter(pa.array(np.asarray(chosen(table), dtype=bool))), expected)


def numbered(table: pa.Table, expected: list[ExpectedFrame]) -> Batch:
    """Rows of each frame numbered from 0, and as many as extraction says."""
    of = {str(e.frame): i for i, e in enumerate(expected)}
    names = ("release", "rerun", "run", "camcol", "field", "band")
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    index = np.array([of[f"{a}-{b}-{c:06d}-{d}-{e:04d}-{f}"] for a, b, c, d, e, f in rows], dtype=int)
    number = np.zeros(len(index), dtype=np.int32)
    for i in range(len(expected)):
        number[index == i] = np.arange((index == i).sum())
    counts = np.bincount(index, minlength=len(expected))
    said = [ExpectedFrame(e.frame, int(n), e.background, e.rms) for e, n in zip(expected, counts, strict=True)]
    table = with_column(table, "number", lambda _: number)
    if "source_id" in table.column_names:
        table = with_column(table, "source_id", lambda _: np.arange(len(index)))
    return table, said


def strip(batch: Batch, fields: int) -> Batch:
    """A batch's frames as so many fields, all of the same sources."""
    table, expected = batch
    tables, frames = [], []
    for step in range(fields):
        tables.append(with_column(table, "field", lambda values, step=step: values + step))
        for e in expected:
            f = e.frame
            frame = FrameId(f.release, f.run, f.rerun, f.camcol, f.field + step, f.band)
            frames.append(ExpectedFrame(frame, e.sources, e.background, e.rms))
    return numbered(pa.concat_tables(tables).combine_chunks(), frames)
