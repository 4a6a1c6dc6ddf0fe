"""Small published catalogues of both schemas, made up (and labelled synthetic) where no real frames are asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kira.catalog import SCHEMA, file_metadata, parquet_bytes
from kira.catalog.survey import survey_schema
from kira.extraction import Parameters, Profile, SurveyProfile

KINDS = ("kira", "survey")
PROFILES: dict[str, Profile] = {"kira": Parameters(), "survey": SurveyProfile()}


def schema_of(kind: str) -> pa.Schema:
    return SCHEMA if kind == "kira" else survey_schema(SurveyProfile().apertures)


def made_up(
    kind: str, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64], *, run: int = 94, camcol: int = 1,
    field: int = 11, release: str = "dr12", seed: int = 1, values: Mapping[str, Any] | None = None,
) -> pa.Table:  # fmt: skip
    """Rows at given positions: the bands of a field by turns, every other column by chance, or as `values` say."""
    n, chance = len(ra), np.random.default_rng(seed)
    band = np.array(list("ugriz"))[np.arange(n) * 5 // max(n, 1)]
    known: dict[str, Any] = {
        "release": [release] * n, "run": [run] * n, "rerun": [301] * n, "camcol": [camcol] * n, "field": [field] * n,
        "band": band.tolist(), "number": np.arange(n), "ra": ra, "dec": dec, "profile": [PROFILES[kind].slug] * n,
        "calibration": ["frame"] * n, "astrometry": ["asTrans"] * n, "run_id": [f"manual__{run}"] * n,
        "source_id": (run << 32) + (camcol << 28) + (field << 16) + np.arange(n),
    } | dict(values or {})  # fmt: skip
    columns = []
    for one in schema_of(kind):
        if one.name in known:
            columns.append(pa.array(known[one.name], one.type))
        elif pa.types.is_boolean(one.type):
            columns.append(pa.array(chance.random(n) > 0.1))
        elif pa.types.is_integer(one.type):
            columns.append(pa.array(chance.integers(0, 100, n)).cast(one.type))
        else:
            columns.append(pa.array(chance.random(n)).cast(one.type))
    return pa.Table.from_arrays(columns, schema=schema_of(kind))


def content(kind: str, table: pa.Table, *, synthetic: bool = True) -> bytes:
    """As a file of a catalogue."""
    return parquet_bytes(table, metadata=file_metadata(PROFILES[kind], version="0.1.0", synthetic=synthetic))


def publish(folder: Path, kind: str, batches: Mapping[str, Sequence[pa.Table]], *, synthetic: bool = True) -> Path:
    """Write a catalogue's folders as the publish stage leaves them."""
    for batch, tables in batches.items():
        there = folder / f"batch={batch}"
        there.mkdir(parents=True)
        for number, table in enumerate(tables):
            (there / f"part-{number:05d}-0.parquet").write_bytes(content(kind, table, synthetic=synthetic))
        for name in ("_manifest.jsonl", "_outcomes.jsonl", "_job.json", "_validation.json"):
            (there / name).write_text("{}\n")
    return folder


def scattered(
    n: int, ra: float, dec: float, radius: float, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Positions (degrees) spread evenly within a radius of another, also at a pole and across right ascension 0."""
    chance = np.random.default_rng(seed)
    # Round the north pole, then turned to where they belong.
    z = 1 - chance.random(n) * (1 - np.cos(np.radians(radius)))
    angle, r = chance.random(n) * 2 * np.pi, np.sqrt(1 - z**2)
    x, y = r * np.cos(angle), r * np.sin(angle)
    tilt, turn = np.radians(90 - dec), np.radians(ra)
    x, z = x * np.cos(tilt) + z * np.sin(tilt), -x * np.sin(tilt) + z * np.cos(tilt)
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arcsin(np.clip(z, -1, 1)))


PLACES = [(0.0, 0.0), (359.7, -1.0), (0.2, 45.0), (120.0, 89.8), (300.0, -89.9), (180.0, 10.0), (0.0, 90.0)]


def all_over(kind: str, n: int = 400) -> dict[str, list[pa.Table]]:
    """Two batches with a file for each of `PLACES`, and one of sources all over the sky."""
    tables = [
        made_up(kind, *scattered(n, ra, dec, 0.6, seed), run=94 + seed, camcol=1 + seed % 6, field=11 + seed, seed=seed)
        for seed, (ra, dec) in enumerate(PLACES)
    ]
    tables.append(made_up(kind, *scattered(n, 0.0, 0.0, 180.0, 99), run=200, field=99, seed=99))
    return {"a": tables[:4], "b": tables[4:]}


def plain(table: pa.Table) -> pa.Table:
    """Without metadata and dictionaries, so that equal values are equal tables."""
    columns = [c.cast(pa.string()) if pa.types.is_dictionary(c.type) else c for c in table.columns]
    return pa.table(columns, table.column_names)
