"""What is really there: the sources of a strip as a Parquet table."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kira.sample.camera import FIELD_STEP
from kira.sample.population import Profile, Sources
from kira.sample.spec import SIMULATOR_VERSION, SampleSpec
from kira.sample.strip import patches
from kira.sdss import BANDS

_UNITS = {
    "ra": ("deg", "ICRS"),
    "dec": ("deg", "ICRS"),
    "row": ("pixel", "band r, from 0 at the centre of the first row of field 0; the first row of field f is 1361 f"),
    "col": ("pixel", "band r, from 0 at the centre of the first column"),
    "half_light_radius": ("arcsec", "along the major axis, before the PSF; 0 for stars"),
    "axis_ratio": ("", "minor over major axis; 1 for stars"),
    "position_angle": ("deg", "of the major axis, north through east"),
    **{f"flux_{band}": ("nanomaggy", "total flux; magnitude 22.5 - 2.5 log10") for band in BANDS},
}


def truth_file(spec: SampleSpec, camcol: int) -> str:
    """Path of the truth of one strip below the sample's folder."""
    return f"truth/truth-{spec.run:06d}-{camcol}.parquet"


def truth_table(spec: SampleSpec, camcol: int) -> pa.Table:
    """Every source that gave light to a strip, also those too faint to be found and those just beyond the edges.

    Columns: source_id int64; field int32, whose patch it is; kind and profile text; ra, dec, row, col float64;
    flux_u to flux_z, half_light_radius, axis_ratio, position_angle float64. Units are in the columns' metadata.
    """
    parts = [_columns(field, sources) for field, sources in patches(spec, camcol)]
    merged = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    fields = []
    for name, values in merged.items():
        unit, meaning = _UNITS.get(name, ("", ""))
        metadata = {k: v for k, v in (("unit", unit), ("meaning", meaning)) if v}
        fields.append(pa.field(name, _arrow_type(values), nullable=False, metadata=metadata or None))
    metadata = {
        "synthetic": "true",
        "description": "Simulated by Kira, not an observation: the true sources of a synthetic strip.",
        "simulator_version": SIMULATOR_VERSION,
        "seed": str(spec.seed),
        "run": str(spec.run),
        "camcol": str(camcol),
    }
    return pa.table(list(merged.values()), schema=pa.schema(fields, metadata=metadata))


def truth_bytes(spec: SampleSpec, camcol: int) -> bytes:
    """Parquet file of `truth_table`."""
    out = io.BytesIO()
    pq.write_table(truth_table(spec, camcol), out, compression="zstd")
    return out.getvalue()


def _columns(field: int, sources: Sources) -> dict[str, np.ndarray]:
    names = np.array([p.name.lower() for p in Profile])
    return {
        "source_id": sources.ident,
        "field": np.full(len(sources), field, dtype=np.int32),
        "kind": np.where(sources.is_star, "star", "galaxy"),
        "profile": names[sources.profile],
        "ra": sources.ra,
        "dec": sources.dec,
        "row": sources.row + FIELD_STEP * field,
        "col": sources.col,
        **{f"flux_{band}": sources.flux[:, i] for i, band in enumerate(BANDS)},
        "half_light_radius": sources.half_light_radius,
        "axis_ratio": sources.axis_ratio,
        "position_angle": sources.position_angle,
    }


def _arrow_type(values: np.ndarray) -> pa.DataType:
    return pa.string() if values.dtype.kind == "U" else pa.from_numpy_dtype(values.dtype)
