"""Ledger and catalogue of the first release, as it left them: today's Kira loses nothing of them."""

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from first_release import DAMAGED, FIRST, PLANNED, PUBLISHED, SECOND, Left, put
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from kira.catalog import read_parts
from kira.cli import app
from kira.extraction import Parameters
from kira.ledger import Ledger, Stage
from kira.ledger.database import newest
from kira.ledger.status import catalogues, check
from kira.records.record import Record
from kira.records.schema import FRAME_SCHEMA, RECORD_SCHEMA, schemas
from kira.sdss import Selection
from kira.sdss.archive import Archive
from kira.stages.catalogue import bring_into_line
from kira.stages.work import Services
from kira.storage import open_store

OLD = ("frame", "stage", "dag_run", "batch", "outcome", "reason", "size", "sha256", "sources", "seconds", "checks")
SLUG = Parameters(engine="sep").slug


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Left:
    found = put(tmp_path)
    monkeypatch.setenv("KIRA_LEDGER_URL", found.ledger_url)
    monkeypatch.setenv("KIRA_STAGE_URL", found.stage_url)
    return found


def kira(*words: str) -> str:
    done = CliRunner().invoke(app, words, env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output + str(done.exception)
    return done.stdout


def rows_of(left: Left, table: str, columns: tuple[str, ...]) -> list[Any]:
    connection = sqlite3.connect(left.database)
    try:
        return sorted(connection.execute(f"SELECT {', '.join(columns)} FROM {table}"), key=repr)  # noqa: S608
    finally:
        connection.close()


def test_the_ledger_is_brought_up_to_date_and_loses_nothing(left: Left) -> None:
    outcomes, claims = rows_of(left, "outcome", OLD), rows_of(left, "claim", ("store", "frame", "batch"))
    attempts = rows_of(left, "stage_attempt", ("batch", "stage", "dag_run", "attempt", "frames"))
    ledger = Ledger(left.ledger_url)
    try:
        assert ledger.database.version() == newest()
        now = [one for run in (FIRST, SECOND) for one in ledger.outcomes(run)]
        found = sorted((tuple(getattr(one, name) for name in OLD) for one in now), key=repr)
        assert found == outcomes
        assert len(found) == 6 + 5 + 5 + 4 + 4 + 4 + 4, "plan, missing, mirror, stage, extract, validate, publish"
        kept = [one for run in (FIRST, SECOND) for one in ledger.attempts(run)]
        assert sorted(((a.batch, a.stage, a.dag_run, a.attempt, a.frames) for a in kept), key=repr) == attempts
        (one,) = catalogues(ledger)
        assert check(ledger, one) == []
        todo = {str(frame.frame): frame.why for frame in ledger.to_do(one.id, Selection.parse("dr7"))}
        assert todo == {PLANNED: "unfinished"}
    finally:
        ledger.engine.dispose()
    assert rows_of(left, "claim", ("store", "frame", "batch")) == claims


def test_status_says_what_the_first_release_did(left: Left) -> None:
    (found,) = json.loads(kira("status", "--json", "--check", "--why"))["catalogues"]
    assert (found["archive"], found["release"], found["profile"]) == ("sample", "dr7", SLUG)
    assert (found["published"], found["to_do"], found["disagreements"]) == (4, 1, [])
    assert found["sources"] == left.expected["sources"]
    why = {one["frame"]: one["outcome"] for one in found["not_published"]}
    assert (why.pop(DAMAGED), why.pop(PLANNED)) == ("corrupt_upstream", "ok")
    assert set(why.values()) == {"not_in_archive"}
    assert len(why) == left.expected["frames"]["not_in_archive"]


def test_the_catalogue_s_folders_and_the_ledger_agree(left: Left, caplog: pytest.LogCaptureFixture) -> None:
    store, ledger = open_store(left.stage_url), Ledger(left.ledger_url)
    archive = Archive("sample", das="http://127.0.0.1:9/das", sas="http://127.0.0.1:9/sas")
    services = Services(archive, None, store, ledger)  # type: ignore[arg-type]
    before = ledger.published("sample", "dr7", SLUG)
    bring_into_line(services, "sample", "dr7", SLUG)
    assert ledger.published("sample", "dr7", SLUG) == before
    assert [set(frames) for frames in before.values()] == [set(PUBLISHED)]
    assert [one.getMessage() for one in caplog.records if one.name.startswith("kira")] == []
    ledger.engine.dispose()
    # A ledger that was lost is made from the folders.
    anew = Ledger(f"sqlite:///{left.database}.new")
    bring_into_line(Services(archive, None, store, anew), "sample", "dr7", SLUG)  # type: ignore[arg-type]
    assert anew.published("sample", "dr7", SLUG) == before
    assert {row.frame for row in anew.outcomes(FIRST, Stage.PUBLISH)} == set(PUBLISHED)
    anew.engine.dispose()


def test_every_value_of_the_catalogue_is_read_as_it_was_written(left: Left, tmp_path: Path) -> None:
    store = open_store(left.stage_url)
    parts = [path for path, file in store.walk("sample/catalog") if file.name.endswith(".parquet")]
    table = read_parts(store.read(path) for path in parts)
    assert table.num_rows == sum(left.expected["sources"].values())
    assert table.column_names == list(left.expected["columns"])
    for name, digest in left.expected["columns"].items():
        assert hashlib.sha256(json.dumps(table[name].to_pylist()).encode()).hexdigest() == digest, name
    place = f"{left.stage_url}/sample/catalog/dr7/{SLUG}"
    kira("export", str(tmp_path / "all.parquet"), "--catalogue", place)
    assert pq.read_table(tmp_path / "all.parquet").num_rows == table.num_rows
    kira("query", "run", "9001", "--bands", "r", "--catalogue", place, "--out", str(tmp_path / "r.csv"))
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 1 + left.expected["sources"]["r"]
    ra, dec = (table[name][7].as_py() for name in ("ra", "dec"))
    kira("query", "cone", str(ra), str(dec), "1arcsec", "--catalogue", place, "--out", str(tmp_path / "cone.parquet"))
    near = pq.read_table(tmp_path / "cone.parquet")
    assert (ra, dec) in zip(near["ra"].to_pylist(), near["dec"].to_pylist(), strict=True)


def test_its_runs_have_records_too(left: Left, tmp_path: Path) -> None:
    kira("record", FIRST, "-o", str(tmp_path / "record"))
    record = Record.read(tmp_path / "record")
    good = {one.frame for one in record.frames if len(one.rows_sha256) == len(one.sha256 or "") == 64}
    assert good == set(PUBLISHED)
    assert [(one.frame, one.stage, one.outcome) for one in record.frames if one.stage != "extract"] == [
        (DAMAGED, "mirror", "corrupt_upstream")
    ]
    missing = record.about["not_planned"]
    assert {(one["stage"], one["outcome"]) for one in missing} == {("plan", "not_in_archive")}
    assert len(missing) == left.expected["frames"]["not_in_archive"]
    assert record.profile == Parameters(engine="sep")
    Draft202012Validator(json.loads(schemas()[RECORD_SCHEMA])).validate(record.about)
    for line in record.frames:
        Draft202012Validator(json.loads(schemas()[FRAME_SCHEMA])).validate(vars(line))
