"""The columns of the catalogue: name, type, unit, UCD and meaning, in this one place."""

from dataclasses import dataclass

import pyarrow as pa

from kira.sdss import Service

VERSION = "1"
"""Goes up when a column changes its name, type, unit or meaning."""

KEY = ("release", "run", "rerun", "camcol", "field", "band", "number")
"""Columns that identify a source; also the canonical order of rows."""

PIXEL_UNIT = {Service.DAS: "adu", Service.SAS: "nmgy"}
"""Unit of a frame's pixels by archive, and with it of all fluxes: counts to DR7, nanomaggies from DR8."""


@dataclass(frozen=True)
class Column:
    """One column.

    Parameters
    ----------
    name : str
    type : pyarrow.DataType
    unit : str
        As astropy and FITS write it; empty for a number without unit, and where `flux` is set.
    ucd : str
        Unified Content Descriptor, IVOA UCD1+ 1.5.
    description : str
    flux : bool
        The unit is that of the frame's pixels (`PIXEL_UNIT`), which depends on the release.
    """

    name: str
    type: pa.DataType
    unit: str
    ucd: str
    description: str
    flux: bool = False

    @property
    def field(self) -> pa.Field:
        """As a pyarrow field, never null; `unit`, `ucd`, `description` and `flux` are its metadata."""
        metadata = {"unit": self.unit, "ucd": self.ucd, "description": self.description}
        return pa.field(self.name, self.type, nullable=False, metadata=metadata | ({"flux": "1"} if self.flux else {}))


_TEXT, _I16, _I32, _F64 = pa.string(), pa.int16(), pa.int32(), pa.float64()
_CIRCLE, _ELLIPSE = "the circular aperture (5 px)", "the Kron ellipse (2.5 kron_radius)"

COLUMNS: tuple[Column, ...] = (
    Column("release", _TEXT, "", "meta.dataset", "SDSS data release, such as dr12"),
    Column("run", _I32, "", "meta.id;obs", "Imaging run"),
    Column("rerun", _I16, "", "meta.version", "Reduction of the run"),
    Column("camcol", _I16, "", "meta.id;instr", "Camera column, 1 to 6"),
    Column("field", _I16, "", "meta.id;obs.field", "Field within the run"),
    Column("band", _TEXT, "", "meta.id;instr.filter", "Filter: u, g, r, i or z"),
    Column("number", _I32, "", "meta.id;meta.main", "Source within the frame, from 0, in the order of detection"),
    Column("x", _F64, "pix", "pos.cartesian.x;instr.det", "Barycentre, column; 0 is the centre of the first pixel"),
    Column("y", _F64, "pix", "pos.cartesian.y;instr.det", "Barycentre, row; 0 is the centre of the first pixel"),
    Column("ra", _F64, "deg", "pos.eq.ra;meta.main", "Right ascension, ICRS"),
    Column("dec", _F64, "deg", "pos.eq.dec;meta.main", "Declination, ICRS"),
    Column("flux_circle", _F64, "", "phot.flux;phys.angSize", f"Flux in {_CIRCLE}", flux=True),
    Column("fluxerr_circle", _F64, "", "stat.error;phot.flux", f"Background noise in {_CIRCLE}", flux=True),
    Column("flag_circle", _I16, "", "meta.code", f"Flag bits of {_CIRCLE}"),
    Column("kron_radius", _F64, "", "phys.angSize", "Kron radius in units of a and b; 0 where there is no flux"),
    Column("flag_kron", _I16, "", "meta.code", "Flag bits of the Kron radius"),
    Column("flux_ellipse", _F64, "", "phot.flux;meta.main", f"Flux in {_ELLIPSE}; NaN if not measured", flux=True),
    Column("fluxerr_ellipse", _F64, "", "stat.error;phot.flux", f"Background noise in {_ELLIPSE}", flux=True),
    Column("flag_ellipse", _I16, "", "meta.code", f"Flag bits of {_ELLIPSE}"),
    Column("flux", _F64, "", "phot.flux", "Sum of the source's own pixels", flux=True),
    Column("peak", _F64, "", "phot.flux;stat.max", "Brightest pixel", flux=True),
    Column("cflux", _F64, "", "phot.flux", "Sum of the source's own pixels, convolved", flux=True),
    Column("cpeak", _F64, "", "phot.flux;stat.max", "Brightest pixel, convolved", flux=True),
    Column("thresh", _F64, "", "phot.flux;stat.min", "Detection threshold above the background", flux=True),
    Column("npix", _I32, "pix", "meta.number;instr.pixel", "Pixels that belong to the source"),
    Column("tnpix", _I32, "pix", "meta.number;instr.pixel", "Pixels above the threshold without convolution"),
    Column("xmin", _I32, "pix", "pos.cartesian.x;instr.det;stat.min", "First column of the source"),
    Column("xmax", _I32, "pix", "pos.cartesian.x;instr.det;stat.max", "Last column of the source"),
    Column("ymin", _I32, "pix", "pos.cartesian.y;instr.det;stat.min", "First row of the source"),
    Column("ymax", _I32, "pix", "pos.cartesian.y;instr.det;stat.max", "Last row of the source"),
    Column("xpeak", _I32, "pix", "pos.cartesian.x;instr.det", "Column of the brightest pixel"),
    Column("ypeak", _I32, "pix", "pos.cartesian.y;instr.det", "Row of the brightest pixel"),
    Column("xcpeak", _I32, "pix", "pos.cartesian.x;instr.det", "Column of the brightest convolved pixel"),
    Column("ycpeak", _I32, "pix", "pos.cartesian.y;instr.det", "Row of the brightest convolved pixel"),
    Column("x2", _F64, "pix2", "src.morph.param", "Variance along x"),
    Column("y2", _F64, "pix2", "src.morph.param", "Variance along y"),
    Column("xy", _F64, "pix2", "src.morph.param", "Covariance of x and y"),
    Column("errx2", _F64, "pix2", "stat.variance;pos.cartesian.x", "Variance of x from background noise"),
    Column("erry2", _F64, "pix2", "stat.variance;pos.cartesian.y", "Variance of y from background noise"),
    Column("errxy", _F64, "pix2", "stat.covariance;pos.cartesian", "Covariance of x and y from background noise"),
    Column("a", _F64, "pix", "phys.angSize.smajAxis", "Rms along the major axis"),
    Column("b", _F64, "pix", "phys.angSize.sminAxis", "Rms along the minor axis"),
    Column("theta", _F64, "rad", "pos.posAng;instr.det", "Angle from the x axis to the major axis, -pi/2 to pi/2"),
    Column("cxx", _F64, "pix-2", "src.morph.param", "Ellipse coefficient: cxx x^2 + cyy y^2 + cxy x y = R^2"),
    Column("cyy", _F64, "pix-2", "src.morph.param", "Ellipse coefficient"),
    Column("cxy", _F64, "pix-2", "src.morph.param", "Ellipse coefficient"),
    Column("flag_extract", _I16, "", "meta.code", "Flag bits of the detection"),
)  # fmt: skip

SCHEMA: pa.Schema = pa.schema([column.field for column in COLUMNS], metadata={"kira_schema": VERSION})
