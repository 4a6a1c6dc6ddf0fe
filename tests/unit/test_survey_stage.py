"""A batch measured by the survey profile goes through the stages as one of Kira's does."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_frames import plain

from kira.catalog import digest, file_metadata, parquet_bytes, read_parts
from kira.catalog.kinds import is_survey, schema_like
from kira.catalog.survey import survey_schema
from kira.errors import InvalidInput
from kira.extraction import Parameters, Profile, SurveyProfile
from kira.ledger import Outcome
from kira.sdss import FrameId
from kira.stages.extraction import Measured, Task, extract_batch, run_task
from kira.storage import Entry, Manifest, Store, open_store
from kira.validation import ExpectedFrame, validate

PROFILE = SurveyProfile()
TEXTS = [f"dr12-301-000094-1-0012-{band}" for band in "rug"]
ABOUT = file_metadata(PROFILE, version="1", synthetic=False)


@pytest.fixture(scope="module")
def measured(shared_sdss: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Manifest, list[Measured]]:
    """Three real frames, staged and extracted as a Spark job does it, two in a task."""
    store = open_store(f"file://{tmp_path_factory.mktemp('survey')}/stage")
    entries = []
    for text in TEXTS:
        content = plain(shared_sdss, text)
        path = f"a/frames/{text}"
        store.write(path, content)
        sha = hashlib.sha256(content).hexdigest()
        entries.append(Entry(FrameId.parse(text), "http://none/x", "k", path, 1, "0" * 64, len(content), sha))
    manifest = Manifest("b", "a", "dr12", PROFILE.slug, "stage", "run-7", tuple(entries))

    def run_all(tasks: Sequence[Task]) -> list[list[Measured]]:
        return [run_task(task, "0") for task in tasks]

    # What a job reads is what a plan wrote: plain JSON.
    profile = Profile.from_dict(json.loads(json.dumps(PROFILE.as_dict())))
    return store, manifest, extract_batch(store, manifest, profile, 1, run_all)


@pytest.fixture(scope="module")
def table(measured: tuple[Store, Manifest, list[Measured]]) -> pa.Table:
    store, manifest, outcomes = measured
    return read_parts(store.read(f"{manifest.extracted}/{part}") for part in sorted({one.part for one in outcomes}))


def test_all_frames_are_measured_and_pass_the_checks(
    measured: tuple[Store, Manifest, list[Measured]], table: pa.Table
) -> None:
    _, _, outcomes = measured
    assert [one.outcome for one in outcomes] == [Outcome.OK] * 3
    assert table.num_rows == sum(one.sources for one in outcomes) > 900
    assert is_survey(table.schema)
    assert table.schema.equals(survey_schema(PROFILE.apertures), check_metadata=False)
    assert set(table["run_id"].to_pylist()) == {"run-7"}
    assert set(table["profile"].to_pylist()) == {PROFILE.slug}
    assert len(set(table["source_id"].to_pylist())) == table.num_rows
    expected = [
        ExpectedFrame(FrameId.parse(one.frame), one.sources, one.background or 0, one.rms or 0) for one in outcomes
    ]
    assert validate(table, expected).ok
    short = validate(table.slice(1), expected)
    assert not short.ok
    no_numbers = table.set_column(
        table.column_names.index("flux_auto"), table.schema.field("flux_auto"), [np.full(table.num_rows, np.nan)]
    )
    assert "flux_auto is not finite" in validate(no_numbers, expected).sentence()


def test_another_run_that_measures_the_same_has_the_same_digest(table: pa.Table) -> None:
    other = table.set_column(
        table.column_names.index("run_id"), table.schema.field("run_id"),
        pa.array(["another"] * table.num_rows).cast(table.schema.field("run_id").type),
    )  # fmt: skip
    assert digest(other) == digest(table) == digest(read_parts([parquet_bytes(table, metadata=ABOUT)]))
    moved = table.set_column(
        table.column_names.index("ra"), table.schema.field("ra"), [np.nextafter(table["ra"].to_numpy(), 400)]
    )
    assert digest(moved) != digest(table)


def test_each_band_has_row_groups_of_its_own(table: pa.Table) -> None:
    content = parquet_bytes(table, metadata=ABOUT)
    file = pq.ParquetFile(pa.BufferReader(content))
    column = table.column_names.index("band")
    groups = [file.metadata.row_group(i).column(column).statistics for i in range(file.metadata.num_row_groups)]
    assert [(group.min, group.max) for group in groups] == [("g", "g"), ("r", "r"), ("u", "u")]
    ra = file.metadata.row_group(0).column(table.column_names.index("ra"))
    assert "BYTE_STREAM_SPLIT" in ra.encodings
    assert not ra.has_dictionary_page
    assert file.metadata.row_group(0).column(column).has_dictionary_page
    about = file.schema_arrow.metadata
    assert about[b"flux_unit"] == b"nmgy"
    assert about[b"kira_parameters_hash"].decode() == PROFILE.hash
    assert file.schema_arrow.field("ra").metadata[b"unit"] == b"deg"
    assert "1 arcsec" in file.schema_arrow.field("flux_aper_1").metadata[b"description"].decode()
    shuffled = table.take(np.random.default_rng(1).permutation(table.num_rows))
    assert parquet_bytes(shuffled, metadata=ABOUT) == content


def test_kinds_are_not_mixed(table: pa.Table, shared_sdss: Path) -> None:
    survey = parquet_bytes(table, metadata=ABOUT)
    kira = parquet_bytes(read_parts([]), metadata=file_metadata(Parameters(), version="1", synthetic=False))
    with pytest.raises(InvalidInput, match="Part 1 of the catalogue has other columns"):
        read_parts([survey, kira])
    fewer = replace(PROFILE, apertures=(1.0, 2.0))
    with pytest.raises(InvalidInput, match="Part 1"):
        read_parts([survey, parquet_bytes(survey_schema(fewer.apertures).empty_table(), metadata=ABOUT)])
    with pytest.raises(InvalidInput, match="does not have the columns"):
        schema_like(table.drop_columns(["ra"]).schema)
