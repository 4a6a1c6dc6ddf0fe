"""What a record of a run holds, and what two of them differ in."""

import json
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from real_frames import FPC, extraction, frame, full_frame

from kira.catalog import parquet_bytes, read_parts, source_table
from kira.catalog.rows_digest import rows_sha256
from kira.catalog.writing import file_metadata
from kira.extraction import Profile
from kira.records import facts
from kira.records.differences import compare_facts, compare_rows

TABLE = pa.table(
    {"run_id": ["a", "a", "a"], "band": ["u", "r", "r"], "number": np.array([1, 2, 3], dtype=np.int32),
     "flux": [1.5, np.nan, -0.0], "primary": [True, False, True], "seeing": pa.array([None, 1.25, 1.5])}
)  # fmt: skip


def changed(name: str, values: pa.Array) -> pa.Table:
    return TABLE.set_column(TABLE.column_names.index(name), name, values)


def test_the_same_rows_have_one_digest_however_they_lie() -> None:
    known = rows_sha256(TABLE)
    assert len(known) == 64
    assert rows_sha256(pa.concat_tables([TABLE[:1], TABLE[1:]])) == known
    assert rows_sha256(changed("band", TABLE["band"].dictionary_encode())) == known
    assert rows_sha256(changed("run_id", pa.array(["b"] * 3))) == known
    assert rows_sha256(TABLE.drop_columns("run_id")) == known
    assert rows_sha256(TABLE.replace_schema_metadata({"x": "y"})) == known
    assert rows_sha256(TABLE.append_column("z", TABLE["flux"]).slice(0).drop_columns("z")) == known


@pytest.mark.parametrize(
    "other",
    [
        TABLE[:2], TABLE.take([0, 2, 1]), TABLE.rename_columns(["run_id", "band", "n", "flux", "primary", "seeing"]),
        changed("flux", pa.array([np.nextafter(1.5, 2), np.nan, -0.0])), changed("flux", pa.array([1.5, np.nan, 0.0])),
        changed("flux", pa.array([1.5, None, -0.0])), changed("seeing", pa.array([1.25, None, 1.5])),
        changed("band", pa.array(["u", "r", "g"])), changed("primary", pa.array([True, True, True])),
        changed("number", pa.array([1, 2, 3], pa.int64())),
    ],
)  # fmt: skip
def test_other_rows_have_another_digest(other: pa.Table) -> None:
    assert rows_sha256(other) != rows_sha256(TABLE)


@pytest.mark.parametrize("kind", ["survey", "kira"])
def test_rows_of_a_real_frame_keep_their_digest_in_a_catalogue_file(shared_sdss: Path, kind: str) -> None:
    profile = Profile.named(kind)
    if kind == "kira":
        table = source_table(frame(shared_sdss, FPC), extraction(shared_sdss, FPC), profile)
    else:
        from kira.extraction import extract

        image = full_frame(shared_sdss, FPC)
        table = source_table(image, extract(image, profile), profile, run_id="here")
    file = parquet_bytes(table, metadata=file_metadata(profile, version="1", synthetic=False))
    assert table.num_rows > 50
    assert rows_sha256(read_parts([file])) == rows_sha256(table)


def test_what_differs_is_named_with_its_size() -> None:
    assert compare_rows(TABLE, changed("run_id", pa.array(["b"] * 3))) is None
    found = compare_rows(TABLE, changed("flux", pa.array([1.25, np.nan, -0.0])))
    assert found is not None
    assert found.text() == "flux in 1 rows by up to 0.25"
    found = compare_rows(TABLE, changed("flux", pa.array([1.5, np.nan, 0.0])))
    assert found is not None
    assert found.text() == "flux in 3 rows"  # by the sign of a zero, which no difference tells
    found = compare_rows(TABLE, changed("band", pa.array(["u", "r", "g"])))
    assert found is not None
    assert found.text() == "band in 1 rows"
    found = compare_rows(TABLE, TABLE.rename_columns(["run_id", "band", "n", "flux", "primary", "seeing"])[:2])
    assert found is not None
    assert found.text() == "2 rows instead of 3; without number; with n"


def test_facts_are_compared_one_by_one() -> None:
    before = {"code": {"commit": "a", "clean": True}, "packages": {"sep": "1.4.1", "numpy": "2.4.6"}, "cores": 2}
    now = {"code": {"commit": "b", "clean": True}, "packages": {"sep": "1.4.1", "scipy": "1.17"}, "cores": 2}
    assert compare_facts(before, before) == []
    assert compare_facts(before, now) == [
        "code.commit: b instead of a", "packages.numpy: nothing instead of 2.4.6",
        "packages.scipy: 1.17 instead of nothing",
    ]  # fmt: skip


def test_facts_of_this_machine_are_plain_values() -> None:
    told = {"code": facts.code(), "packages": facts.packages(), "machine": facts.machine()}
    assert json.loads(json.dumps(told)) == told
    assert told["packages"]["sep"] == "1.4.1"
    assert told["machine"]["cores"] >= 1
    assert told["machine"]["memory_mib"] > 500
    assert len(told["code"]["sources"]) == len(told["code"]["lock"]) == 64


@pytest.mark.parametrize(("limit", "found"), [("67108864\n", 1 << 26), ("max\n", None), (None, None)])
def test_memory_is_what_a_container_was_given(tmp_path: Path, limit: str | None, found: int | None) -> None:
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit)
    assert facts._memory([tmp_path / "memory.max"]) == (found or psutil.virtual_memory().total)


def test_code_is_known_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for path, text in ((tmp_path / "a/x.py", "1"), (tmp_path / "a/y.py", "2")):
        path.write_text(text)
    known = facts.sources_sha256(tmp_path / "a")
    (tmp_path / "a/notes.txt").write_text("no code")
    facts.sources_sha256.cache_clear()
    assert facts.sources_sha256(tmp_path / "a") == known
    (tmp_path / "a/y.py").write_text("3")
    facts.sources_sha256.cache_clear()
    assert facts.sources_sha256(tmp_path / "a") != known
    facts.sources_sha256.cache_clear()


def test_a_checkout_is_clean_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "kira"
    package.mkdir()
    (package / "x.py").write_text("1")
    monkeypatch.setattr(facts, "PACKAGE", package)
    assert (facts.code()["commit"], facts.code()["clean"]) == ("", None)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert (len(facts.code()["commit"]), facts.code()["clean"]) == (40, True)
    (package / "x.py").write_text("2")
    assert facts.code()["clean"] is False
    (package / "x.py").write_text("1")
    (tmp_path / "notes").write_text("what is not run is not the code")
    assert facts.code()["clean"] is True
    (package / "new.py").write_text("3")
    assert facts.code()["clean"] is False, "a file that git does not know is run as any other"
    (tmp_path / ".git" / "index").write_bytes(b"no index")
    assert facts.code()["clean"] is None, "what git cannot tell is not clean"


@pytest.mark.parametrize(
    ("told", "commit", "clean"),
    [("0123abc", "0123abc", True), ("a" * 40, "a" * 40, True), (f"{'a' * 40}+changes", "a" * 40, False),
     ("", "", None), ("main", "", None), ("a" * 40 + "+", "", None), ("$(id)", "", None)],
)  # fmt: skip
def test_an_image_was_told_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, commit: str, clean: bool | None
) -> None:
    monkeypatch.setattr(facts, "PACKAGE", tmp_path / "kira")
    monkeypatch.setenv("KIRA_COMMIT", told)
    monkeypatch.setenv("KIRA_IMAGE", "sha256:1")
    found = facts.code()
    assert (found["commit"], found["clean"], found["image"]) == (commit, clean, "sha256:1")


def test_a_cloud_s_type_is_told_where_the_firmware_knows_it(tmp_path: Path) -> None:
    assert facts._instance_type(tmp_path / "none") == ""
    (tmp_path / "sys_vendor").write_text("Amazon EC2\n")
    (tmp_path / "product_name").write_text("m7i.large\n")
    assert facts._instance_type(tmp_path) == "m7i.large"
    (tmp_path / "sys_vendor").write_text("QEMU\n")
    assert facts._instance_type(tmp_path) == ""
