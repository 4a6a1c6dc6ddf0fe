import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.io.votable.ucd import check_ucd
from real_frames import FPC, FRAME, extraction

from kira.catalog import COLUMNS, KEY, SCHEMA, digest, file_metadata, parquet_bytes, read_parts, to_table
from kira.errors import InvalidInput
from kira.extraction import COLUMNS as EXTRACTED
from kira.extraction import Extraction, Parameters
from kira.sdss import FrameId

ABOUT = file_metadata(Parameters(), version="0.1.0", synthetic=False)


def made_up(n: int, seed: int = 1) -> Extraction:
    table = np.zeros(n, dtype=EXTRACTED)
    chance = np.random.default_rng(seed)
    for name in EXTRACTED.names or ():
        kind = EXTRACTED[name].kind
        table[name] = chance.normal(size=n) if kind == "f" else chance.integers(0, 100, n)
    return Extraction(table, 0.0, 1.0, 0.1)


def rows(text: str, n: int, seed: int = 1) -> pa.Table:
    return to_table(FrameId.parse(text), made_up(n, seed))


def test_every_column_says_what_it_is() -> None:
    assert tuple(SCHEMA.names[: len(KEY)]) == KEY
    assert len(set(SCHEMA.names)) == len(SCHEMA)
    assert set(EXTRACTED.names or ()) | set(KEY) == set(SCHEMA.names)
    for column, field in zip(COLUMNS, SCHEMA, strict=True):
        units.Unit(column.unit, format="fits")
        assert check_ucd(column.ucd, check_controlled_vocabulary=True), column.name
        assert column.description
        assert field.metadata[b"unit"].decode() == column.unit
        assert not field.nullable
        assert column.flux == (field.metadata.get(b"flux") == b"1")
    assert {column.name for column in COLUMNS if column.flux} == {
        "flux_circle", "fluxerr_circle", "flux_ellipse", "fluxerr_ellipse", "flux", "peak", "cflux", "cpeak", "thresh",
    }  # fmt: skip


def test_rows_of_a_real_frame(shared_sdss: Path) -> None:
    found = extraction(shared_sdss, FRAME)
    table = to_table(FrameId.parse(FRAME), found)
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert table.num_rows == found.n_sources
    assert table["number"].to_pylist() == list(range(found.n_sources))
    first = table.slice(0, 1).to_pylist()[0]
    assert [first[name] for name in KEY] == ["dr12", 94, 301, 1, 12, "u", 0]
    for name in EXTRACTED.names or ():
        assert np.array_equal(table[name].to_numpy(), found.table[name]), name


def test_no_rows() -> None:
    table = rows(FPC, 0)
    assert table.num_rows == 0
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert read_parts([parquet_bytes(table, metadata=ABOUT)]).equals(table)


def test_a_number_that_does_not_fit_is_refused() -> None:
    found = made_up(3)
    found.table["npix"][1] = 2**40
    with pytest.raises(pa.ArrowInvalid):
        to_table(FrameId.parse(FPC), found)


def test_the_same_table_gives_the_same_bytes(shared_sdss: Path) -> None:
    table = to_table(FrameId.parse(FPC), extraction(shared_sdss, FPC))
    content = parquet_bytes(table, metadata=ABOUT)
    assert parquet_bytes(table, metadata=dict(reversed(ABOUT.items()))) == content
    in_pieces = pa.concat_tables([table.slice(0, 10), table.slice(10, 0), table.slice(10)])
    assert in_pieces["x"].num_chunks > 1
    assert parquet_bytes(in_pieces, metadata=ABOUT) == content
    assert parquet_bytes(table.replace_schema_metadata({"other": "x"}), metadata=ABOUT) == content
    assert hashlib.sha256(content).digest() != hashlib.sha256(parquet_bytes(table[5:], metadata=ABOUT)).digest()


def test_a_file_says_what_made_it() -> None:
    for text, unit in ((FPC, b"adu"), (FRAME, b"nmgy")):
        read = pq.read_table(pa.BufferReader(parquet_bytes(rows(text, 5), metadata=ABOUT)))
        about = read.schema.metadata
        assert about[b"kira_version"] == b"0.1.0"
        assert about[b"kira_parameters"] == Parameters().json.encode()
        assert about[b"synthetic"] == b"no"
        assert about[b"flux_unit"] == unit
        assert read.schema.field("ra").metadata[b"unit"] == b"deg"
        assert not read.schema.field("ra").nullable
    assert file_metadata(Parameters(), version="1", synthetic=True)["synthetic"] == "yes"


def test_a_table_of_other_columns_is_not_written() -> None:
    with pytest.raises(InvalidInput, match="columns"):
        parquet_bytes(rows(FPC, 5).drop_columns(["ra"]), metadata=ABOUT)


def test_parts_are_read_in_canonical_order() -> None:
    texts = [
        "dr12-301-000094-1-0012-g", "dr12-301-000094-1-0012-u", "dr12-301-000094-2-0011-g",
        "dr12-301-000752-1-0011-g", "dr7-40-000094-1-0011-g",
    ]  # fmt: skip
    tables = [rows(text, 4, seed) for seed, text in enumerate(texts)]
    parts = [parquet_bytes(table, metadata=ABOUT) for table in tables]
    read = read_parts(reversed(parts))
    assert read.equals(pa.concat_tables(tables))
    assert read.schema.equals(SCHEMA, check_metadata=True)
    assert read_parts([]).num_rows == 0


def test_parts_that_are_none() -> None:
    part = parquet_bytes(rows(FPC, 5), metadata=ABOUT)
    for bad in (b"", b"PAR1", part[:-100], part[100:], b"<html>" * 100):
        with pytest.raises(InvalidInput, match="Part 1 of the catalogue cannot be read"):
            read_parts([part, bad])
    sink = pa.BufferOutputStream()
    pq.write_table(rows(FPC, 5).drop_columns(["ra"]), sink)
    with pytest.raises(InvalidInput, match="Part 0 of the catalogue has other columns"):
        read_parts([sink.getvalue().to_pybytes()])


def test_digest_sees_values_and_nothing_else() -> None:
    a, b = rows(FPC, 50, 1), rows(FRAME, 30, 2)
    whole = pa.concat_tables([a, b])
    expected = digest(whole)
    assert len(expected) == 64
    assert digest(pa.concat_tables([b, a.slice(20), a.slice(0, 20)])) == expected
    shuffled = whole.take(np.random.default_rng(3).permutation(80))
    assert digest(shuffled.replace_schema_metadata({})) == expected
    assert digest(read_parts([parquet_bytes(shuffled, metadata=ABOUT)])) == expected
    assert digest(whole.slice(1)) != expected
    for name in SCHEMA.names:
        i = SCHEMA.get_field_index(name)
        values = whole[name].to_pylist()
        values[7] = "dr3" if name == "release" else "z" if name == "band" else values[7] + 1
        assert digest(whole.set_column(i, SCHEMA.field(i), pa.array(values, SCHEMA.field(i).type))) != expected, name
    assert digest(whole.rename_columns(["X" if n == "x" else n for n in whole.column_names])) != expected


def test_digest_takes_all_nan_for_one_value() -> None:
    table, i = rows(FPC, 2), SCHEMA.get_field_index("flux_ellipse")
    payloads = np.array([0x7FF8000000000000, 0xFFF8000000000001], dtype=np.uint64).view(np.float64)
    a = table.set_column(i, SCHEMA.field(i), pa.array(payloads, from_pandas=False))
    b = table.set_column(i, SCHEMA.field(i), pa.array(payloads[::-1].copy(), from_pandas=False))
    assert digest(a) == digest(b) != digest(table)
