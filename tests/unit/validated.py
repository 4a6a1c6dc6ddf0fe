"""Batches to validate: real frames, a rendered sample, and what can be wrong with them.

`python tests/unit/validated.py SHARED/sdss` prints the tables of docs/validation.md.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from real_frames import archive_file

from kira.catalog.kinds import schema_like
from kira.extraction import Flag, Parameters, Profile, SurveyProfile
from kira.laptop import measure_file
from kira.sample import SampleSpec, write_sample
from kira.sample.truth import truth_bytes
from kira.sdss import FrameId, Release
from kira.validation import ExpectedFrame, Thresholds, examine
from kira.validation import batch as batches
from kira.validation.references import References, read_catalogue, read_photo_obj, read_truth

FIELD = [f"dr12-301-000094-1-0012-{band}" for band in "ugriz"]
EQUATOR = [f"dr7-40-004192-4-0300-{band}" for band in "ugriz"]
SPEC = SampleSpec(fields=2, bands=("g", "r", "i"), releases=(Release(12),))
PROFILES: dict[str, Profile] = {"survey": SurveyProfile(), "kira": Parameters()}

ODD = ["dr7-40-005754-3-0280-r", "dr12-301-000094-1-0131-g"]
CLUSTER = ["dr12-301-002583-2-0136-r"]

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


def sampled(folder: Path, spec: SampleSpec = SPEC, profile: str = "survey") -> Batch:
    """A sample's frames; written where they are not there yet."""
    write_sample(spec, folder, processes=1)
    return together([one(archive_file(folder, str(frame)), profile) for frame in spec.frames()])


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


def main(root: Path) -> None:
    """Print what each check measures on the real frames and on a sample."""
    photo = read_photo_obj((root / "sas/dr12/boss/photoObj/301/94/1/photoObj-000094-1-0012.fits").read_bytes())
    stars = read_catalogue((root / "reference/stripe82-stars.fits").read_bytes())
    spec = SampleSpec(fields=3, releases=(Release(12),))
    truth = truth_bytes(spec, spec.camcols[0])
    print("| profile | frames | band | sources | east, north [\"] | scatter | zero-point | stars | bright stars found "
          "| unknown | 95 % to | 50 % to |\n" + "|---" * 12 + "|")  # fmt: skip
    flagged = [
        "| profile | frames | twins within 1 px | " + " | ".join(Thresholds().max_flagged) + " |",
        "|---" * 10 + "|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for profile in PROFILES:
            against: list[tuple[str, Batch, References]] = [
                ("run 94, photoObj", real(root, FIELD, profile), lambda _: photo),
                ("run 4192, Stripe 82", real(root, EQUATOR, profile), lambda _: stars),
                ("sample, truth", sampled(Path(folder), spec, profile), lambda frame: read_truth(truth, frame)),
                ("runs 94, 5754", real(root, ODD, profile), {}),
                ("M2", real(root, CLUSTER, profile), {}),
            ]
            for name, batch, references in against:
                _print(profile, name, batch, references)
                flagged.append(_flagged(profile, name, batch))
    print("\n" + "\n".join(flagged))


def _print(profile: str, name: str, batch: Batch, references: References) -> None:
    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    for f in examine(*batch, references=references).report.figures:
        east, north = number(f.east, "+.3f"), number(f.north, "+.3f")
        spread = f"{number(f.east_scatter, '.3f')}, {number(f.north_scatter, '.3f')}"
        if f.reference:
            print(f"| {profile} | {name} | {f.band} | {f.sources} | {east}, {north} | {spread} | "
                  f"{number(f.zero_point, '+.3f')} | {f.zero_point_stars} | {f.bright_found} of {f.bright} | "
                  f"{number(f.spurious, '.1%')} | "
                  f"{number(f.depth_95, '.2f')} | {number(f.depth_50, '.2f')} |", flush=True)  # fmt: skip


def _flagged(profile: str, name: str, batch: Batch) -> str:
    """Largest part of a band with each flag, and how many sources are two."""
    from kira.validation.counting import duplicates

    held = batches.Batch(batch[0], tuple(batch[1]), Thresholds())
    told = duplicates(held)
    parts = [
        max(float(((held.flags[held.row_bands == k] & int(Flag[flag])) != 0).mean()) for k in set(held.bands.tolist()))
        for flag in Thresholds().max_flagged
    ]
    twins = "0" if told.passed else told.detail.split()[0]
    return f"| {profile} | {name} | {twins} | " + " | ".join(f"{part:.1%}" for part in parts) + " |"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
