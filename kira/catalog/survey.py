"""The catalogue of the survey profiles: what each column is, and how a frame's sources become rows of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kira.catalog.magnitudes import asinh_magnitude, pogson_magnitude
from kira.catalog.schema import KEY, Column
from kira.catalog.sky import LocalSky
from kira.catalog.source_id import source_ids
from kira.extraction import Extraction, Flag, SurveyProfile
from kira.frames import Frame
from kira.frames.frame import ROWS
from kira.sdss.identifiers import frame_columns

VERSION = "2"
"""Of the schema; goes up when a column changes its name, type, unit or meaning. 1 is that of the `kira` profile."""

OVERLAP = 128
"""Rows that a field shares with the next one of its run."""
FIRST_PRIMARY, LAST_PRIMARY = OVERLAP // 2, ROWS - OVERLAP // 2
"""Rows (as y, from 0) from which on and before which a source belongs to its own field, half the overlap each."""

LOCAL = "local"
"""`run_id` of what was extracted without Airflow."""

MOST_SHIFT = 1.0
"""Pixels that the windowed position of a blended source may be off its barycentre; beyond it is its neighbour's."""

_TEXT, _CODE = pa.string(), pa.dictionary(pa.int32(), pa.string())
_I16, _I32, _I64, _F64, _BOOL = pa.int16(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()

Values = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Measured:
    """A frame's sources with what makes rows of them.

    Parameters
    ----------
    frame : Frame
    table : numpy.ndarray, structured
        See `kira.extraction.columns.QUANTITIES`.
    sky : LocalSky
        Around the positions that `ra` and `dec` are of.
    nmgy : float
        Nanomaggies per unit of the frame's pixels; NaN where it is not calibrated.
    profile, run_id : str
    """

    frame: Frame
    table: npt.NDArray[np.void]
    sky: LocalSky
    nmgy: float
    profile: str
    run_id: str


@dataclass(frozen=True)
class Made:
    """A column, and how it is made.

    Parameters
    ----------
    column : Column
    make : callable
        From `Measured` to the values, or to one value for all rows.
    """

    column: Column
    make: Callable[[Measured], Values | str | int | None]


def _column(
    name: str, kind: pa.DataType, unit: str, ucd: str, description: str,
    make: Callable[[Measured], Values | str | int | None],
) -> Made:  # fmt: skip
    return Made(Column(name, kind, unit, ucd, description), make)


def _same(name: str, kind: pa.DataType, unit: str, ucd: str, description: str) -> Made:
    """Taken over as it was measured."""
    return _column(name, kind, unit, ucd, description, lambda m: m.table[name])


def _flux(name: str, ucd: str, description: str, per: str = "", at: int | None = None, of: str = "") -> Made:
    """Times the calibration."""

    def make(m: Measured) -> Values:
        values = m.table[of or name]
        scaled: Values = (values if at is None else values[:, at]) * m.nmgy
        return scaled

    return _column(name, _F64, f"nmgy{per}", ucd, description, make)


def _arcsec(name: str, ucd: str, description: str) -> Made:
    """Times the scale of the sky at the source."""
    return _column(name, _F64, "arcsec", ucd, description, lambda m: m.table[name] * m.sky.scale)


def _identity(name: str, kind: pa.DataType, ucd: str, description: str) -> Made:
    def make(m: Measured) -> str | int | None:
        return frame_columns(m.frame.id)[name] if m.frame.id else None

    return _column(name, kind, "", ucd, description, make)


def _ids(m: Measured) -> Values:
    n = len(m.table)
    return source_ids(m.frame.id, n) if m.frame.id else np.arange(n, dtype=np.int64)


def drawn_away(table: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Whether a source's windowed position went over to a neighbour, which it does in blends.

    Parameters
    ----------
    table : numpy.ndarray, structured
        See `kira.extraction.columns.QUANTITIES`.
    """
    shift = np.hypot(table["x_win"] - table["x"], table["y_win"] - table["y"])
    blended = (table["flags"] & (Flag.MERGED | Flag.NEIGHBOURS)) != 0
    away: npt.NDArray[np.bool_] = blended & ~(shift <= MOST_SHIFT)
    return away


def sky_positions(table: npt.NDArray[np.void]) -> tuple[Values, Values]:
    """Pixel positions that `ra` and `dec` are of: windowed, or the barycentre of what was drawn away."""
    away = drawn_away(table)
    return np.where(away, table["x"], table["x_win"]), np.where(away, table["y"], table["y_win"])


def _position_error(which: int) -> Callable[[Measured], Values]:
    def make(m: Measured) -> Values:
        t, away = m.table, drawn_away(m.table)
        variances = (
            np.where(away, barycentre, window)
            for barycentre, window in (
                (t["x_err"] ** 2, t["x_win_err"] ** 2), (t["y_err"] ** 2, t["y_win_err"] ** 2),
                (t["xy_cov"], t["xy_win_cov"]),
            )
        )  # fmt: skip
        found = m.sky.covariance(*variances)[which]
        return found if which == 2 else np.sqrt(np.maximum(found, 0))

    return make


def _axis(name: str, turned: float) -> Callable[[Measured], Values]:
    return lambda m: m.table[name] * m.sky.direction(m.table["theta"] + turned)[0]


def _magnitude(flux: str, error: str, which: int, *, pogson: bool, at: int | None = None) -> Callable[[Measured], Any]:
    def make(m: Measured) -> Values:
        f, e = ((m.table[name] if at is None else m.table[name][:, at]) * m.nmgy for name in (flux, error))
        if pogson:
            return pogson_magnitude(f, e)[which]
        if m.frame.id is None:
            return np.full(len(m.table), np.nan)
        return asinh_magnitude(f, e, m.frame.id.band)[which]

    return make


def _magnitudes(name: str, flux: str, error: str, what: str, at: int | None = None) -> list[Made]:
    made = []
    for suffix, kind in (("", "asinh (SDSS) magnitude"), ("_pogson", "Pogson magnitude, NaN where there is no flux")):
        value, its_error = (_magnitude(flux, error, which, pogson=bool(suffix), at=at) for which in (0, 1))
        made += [
            _column(f"mag_{name}{suffix}", _F64, "mag", "phot.mag", f"{what}, {kind}", value),
            _column(f"magerr_{name}{suffix}", _F64, "mag", "stat.error;phot.mag", f"Error of mag_{name}{suffix}",
                    its_error),
        ]  # fmt: skip
    return made


def _primary(m: Measured) -> Values:
    if m.frame.id is None:
        return np.ones(len(m.table), dtype=bool)
    y: Values = m.table["y_win"]
    return (y >= FIRST_PRIMARY - 0.5) & (y < LAST_PRIMARY - 0.5)


_KEY = (
    _column("source_id", _I64, "", "meta.id;meta.main",
            "Unique within a profile, and the same whenever the same frame is measured by it: release, run, rerun, "
            "camcol, field, band and number in 62 bits", _ids),
    _identity("release", _TEXT, "meta.dataset", "SDSS data release, such as dr12"),
    _identity("run", _I32, "meta.id;obs", "Imaging run"),
    _identity("rerun", _I16, "meta.version", "Reduction of the run"),
    _identity("camcol", _I16, "meta.id;instr", "Camera column, 1 to 6"),
    _identity("field", _I16, "meta.id;obs.field", "Field within the run"),
    _identity("band", _TEXT, "meta.id;instr.filter", "Filter: u, g, r, i or z"),
    _column("number", _I32, "", "meta.id", "Source within the frame, from 0, in the order of detection",
            lambda m: np.arange(len(m.table))),
    _column("primary", _BOOL, "", "meta.code",
            f"Whether the source is in its own field's part of the overlap (y_win from {FIRST_PRIMARY - 0.5} to "
            f"{LAST_PRIMARY - 0.5}): neighbouring fields share {OVERLAP} rows, and of two such rows one is primary",
            _primary),
)  # fmt: skip

_POSITIONS = (
    _column("ra", _F64, "deg", "pos.eq.ra;meta.main",
            "Right ascension (ICRS) of the windowed position, or of the barycentre in blends",
            lambda m: m.sky.ra),
    _column("dec", _F64, "deg", "pos.eq.dec;meta.main", "Declination (ICRS) of the same position", lambda m: m.sky.dec),
    _column("ra_err", _F64, "arcsec", "stat.error;pos.eq.ra", "Error of ra times cos(dec), from the pixels' noise",
            _position_error(0)),
    _column("dec_err", _F64, "arcsec", "stat.error;pos.eq.dec", "Error of dec, from the pixels' noise",
            _position_error(1)),
    _column("ra_dec_cov", _F64, "arcsec2", "stat.covariance;pos.eq", "Covariance of ra cos(dec) and dec",
            _position_error(2)),
    _column("mjd", _F64, "d", "time.epoch", "Modified Julian Date (TAI) when the frame's first row was read",
            lambda m: np.full(len(m.table), m.frame.mjd)),
    _same("x", _F64, "pix", "pos.cartesian.x;instr.det", "Barycentre, column; 0 is the centre of the first pixel"),
    _same("y", _F64, "pix", "pos.cartesian.y;instr.det", "Barycentre, row; 0 is the centre of the first pixel"),
    _same("x_err", _F64, "pix", "stat.error;pos.cartesian.x", "Error of x"),
    _same("y_err", _F64, "pix", "stat.error;pos.cartesian.y", "Error of y"),
    _same("x_win", _F64, "pix", "pos.cartesian.x;instr.det", "Windowed position (XWIN_IMAGE - 1), column"),
    _same("y_win", _F64, "pix", "pos.cartesian.y;instr.det", "Windowed position (YWIN_IMAGE - 1), row"),
    _same("x_win_err", _F64, "pix", "stat.error;pos.cartesian.x", "Error of x_win"),
    _same("y_win_err", _F64, "pix", "stat.error;pos.cartesian.y", "Error of y_win"),
)  # fmt: skip

_FLUXES = (
    _flux("flux_auto", "phot.flux;meta.main", "Flux in the AUTO (Kron) ellipse"),
    _flux("fluxerr_auto", "stat.error;phot.flux", "Its error: sky, source and read-out noise"),
    *_magnitudes("auto", "flux_auto", "fluxerr_auto", "Flux in the AUTO ellipse"),
    _flux("flux_iso", "phot.flux", "Sum of the source's own pixels"),
    _flux("fluxerr_iso", "stat.error;phot.flux", "Its error"),
    _flux("peak", "phot.flux;stat.max", "Brightest pixel", "/pix"),
    _flux("background", "phot.flux;instr.background", "Background at the source, which was subtracted", "/pix"),
    _flux("background_rms", "stat.stdev;instr.background", "Background's rms at the source", "/pix"),
    _flux("threshold", "phot.flux;stat.min", "Detection threshold above the background", "/pix"),
)

_STARS = (
    _flux("flux_star", "phot.flux", "Flux if the source is a point: that in a small circle, and what the frame's own "
          "stars have outside it; NaN where these are too few"),
    _flux("fluxerr_star", "stat.error;phot.flux", "Its error, with that of the correction"),
    _same("flags_star", _I32, "", "meta.code", "Flag bits of the small circle"),
    *_magnitudes("star", "flux_star", "fluxerr_star", "Flux if the source is a point"),
    _same("star_factor", _F64, "", "instr.det.psf", "Aperture correction in flux_star, one number a frame: a star's "
          "flux in the large circle over that in the small one"),
    _same("star_factor_err", _F64, "", "stat.error;instr.det.psf", "Its error"),
    _same("star_factor_number", _I32, "", "meta.number", "Stars of the frame that it is from"),
)  # fmt: skip

_SHAPES = (
    _column("a", _F64, "arcsec", "phys.angSize.smajAxis", "Rms along the major axis", _axis("a", 0.0)),
    _column("b", _F64, "arcsec", "phys.angSize.sminAxis", "Rms along the minor axis", _axis("b", np.pi / 2)),
    _column("position_angle", _F64, "deg", "pos.posAng", "Of the major axis, east of north, 0 to 180",
            lambda m: m.sky.direction(m.table["theta"])[1]),
    _same("elongation", _F64, "", "src.ellipticity", "a / b, in pixels"),
    _same("ellipticity", _F64, "", "src.ellipticity", "1 - b / a, in pixels"),
    _arcsec("fwhm", "phys.angSize", "Full width at half maximum of a Gaussian with the source's a and b"),
    _arcsec("r20", "phys.angSize", "Radius that holds 20 % of flux_auto"),
    _arcsec("r50", "phys.angSize", "Half-light radius: 50 % of flux_auto"),
    _arcsec("r80", "phys.angSize", "Radius that holds 80 % of flux_auto"),
    _same("auto_scale", _F64, "", "phys.angSize", "Semi-axes of the AUTO ellipse in units of a and b (KRON_RADIUS)"),
    _same("npix", _I32, "pix", "meta.number;instr.pixel", "Number of the source's own pixels"),
    _same("point_like", _F64, "", "src.class.starGalaxy", "Hint, 0 to 1: small for what is extended; NaN: unknown"),
)  # fmt: skip

_REST = (
    _same("flags", _I32, "", "meta.code", "Flag bits of the source"),
    _same("flags_win", _I32, "", "meta.code", "Flag bits of the windowed position"),
    _same("flags_auto", _I32, "", "meta.code", "Flag bits of the AUTO ellipse"),
    _same("flags_radius", _I32, "", "meta.code", "Flag bits of r20, r50 and r80"),
    _column("calibration", _CODE, "", "meta.ref",
            "What the fluxes were calibrated with: tsField, FLUX20, frame or none", lambda m: m.frame.calibration),
    _column("astrometry", _CODE, "", "meta.ref",
            "What turned pixels into ra and dec: asTrans (SDSS's own solution), WCS (the header's) or none",
            lambda m: m.frame.astrometry),
    _column("profile", _CODE, "", "meta.version;meta.software", "Extraction profile and its hash",
            lambda m: m.profile),
    _column("run_id", _CODE, "", "meta.id;meta.curation", "Airflow's DAG run that measured the source; local where "
            "there was none", lambda m: m.run_id),
)  # fmt: skip


@cache
def made_columns(apertures: tuple[float, ...]) -> tuple[Made, ...]:
    """All columns, for a profile's circular apertures (radii in arcsec), in their order."""
    circles: list[Made] = []
    for i, radius in enumerate(apertures):
        what = f"the circle of {radius:g} arcsec radius"
        circles += [
            _flux(f"flux_aper_{i + 1}", "phot.flux;phys.angSize", f"Flux in {what}", at=i, of="flux_aper"),
            _flux(f"fluxerr_aper_{i + 1}", "stat.error;phot.flux", f"Error of flux_aper_{i + 1}", at=i,
                  of="fluxerr_aper"),
            _column(f"flags_aper_{i + 1}", _I32, "", "meta.code", f"Flag bits of {what}",
                    lambda m, i=i: m.table["flags_aper"][:, i]),  # type: ignore[misc]
        ]  # fmt: skip
    last = len(apertures) - 1
    if apertures:
        circles += _magnitudes(
            f"aper_{last + 1}",
            "flux_aper",
            "fluxerr_aper",
            f"Flux in the circle of {apertures[last]:g} arcsec",
            at=last,
        )
    return (*_KEY, *_POSITIONS, *_FLUXES, *_STARS, *circles, *_SHAPES, *_REST)


@cache
def survey_schema(apertures: tuple[float, ...], flux_unit: str = "nmgy") -> pa.Schema:
    """Schema of the catalogue; its fields carry `unit`, `ucd` and `description`.

    Parameters
    ----------
    apertures : tuple of float
        Radii of the profile's circular apertures, arcsec.
    flux_unit : str
        `nmgy`, or the unit of the pixels of an image that could not be calibrated; empty where that is unknown.
    """
    fields = []
    for made in made_columns(apertures):
        field = made.column.field
        if made.column.unit.startswith("nmgy") and flux_unit != "nmgy":
            # Of pixels in an unknown unit even `per pixel` says nothing.
            unit = made.column.unit.replace("nmgy", flux_unit) if flux_unit else ""
            about = {**field.metadata, b"unit": unit.encode()}
            field = field.with_metadata(about)
        fields.append(field)
    return pa.schema(fields, metadata={"kira_schema": VERSION, "flux_unit": flux_unit})


def _always(text: str | int | None, n: int, kind: pa.DictionaryType) -> pa.Array:
    """One text n times."""
    if text is None or not n:
        return pa.nulls(n, kind)
    words = pa.array([text], kind.value_type)
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, kind.index_type.to_pandas_dtype())), words)


def survey_table(frame: Frame, extraction: Extraction, profile: SurveyProfile, *, run_id: str = LOCAL) -> pa.Table:
    """Rows of the catalogue for one frame.

    Parameters
    ----------
    frame : Frame
    extraction : Extraction
    profile : SurveyProfile
        By which it was made.
    run_id : str
        Airflow's DAG run; `LOCAL` where there is none.

    Returns
    -------
    pyarrow.Table
        With `survey_schema`. An SDSS frame that could not be calibrated has NaN fluxes; any other image without a
        calibration has them in the unit of its pixels, which the schema then says. Identity is null for an image that
        is not from SDSS.
    """
    table = extraction.table
    calibrated = np.isfinite(frame.nmgy)
    raw = frame.id is None and not calibrated
    unit = frame.bunit if raw else "nmgy"
    measured = Measured(
        frame,
        table,
        LocalSky(frame.to_sky_by, *sky_positions(table)),
        1.0 if raw else frame.nmgy,
        profile.slug,
        run_id,
    )
    schema = survey_schema(profile.apertures, unit)
    if frame.id is None:
        schema = pa.schema([f.with_nullable(f.name in KEY[:-1]) for f in schema], metadata=schema.metadata)
    arrays = []
    for made, field in zip(made_columns(profile.apertures), schema, strict=True):
        values = made.make(measured)
        if raw and field.name.startswith("mag"):
            values = np.full(len(table), np.nan)  # of an unknown unit there is no magnitude
        if isinstance(values, np.ndarray):
            arrays.append(pa.array(np.ascontiguousarray(values)).cast(field.type, safe=True))
        elif pa.types.is_dictionary(field.type):
            arrays.append(_always(values, len(table), field.type))
        else:
            arrays.append(pa.repeat(pa.scalar(values, field.type), len(table)))
    return pa.Table.from_arrays(arrays, schema=schema)
