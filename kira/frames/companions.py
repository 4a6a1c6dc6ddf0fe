"""What lies beside a frame in the archive and tells more about it: tsField, psField and fpM.

A frame is good without them. So a companion that cannot be read, or is of another field, costs the frame nothing but
what it would have told, and a sentence in the frame's remarks says that it was left aside.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from kira.frames.calibration import nmgy_from_tsfield
from kira.frames.masks import Planes, read_mask
from kira.frames.structure import Hdu, Irregular, Table, read_hdus
from kira.sdss import BANDS, FrameId

_PSF_OF_TABLE = 6
"""HDU of psField with the parameters of the PSF and the CCDs; 1 to 5 are the PSF's eigenimages in the five bands."""
_PSP_STATUS_MASK, _PSP_NOT_MEASURED = 31, 3
"""Of a PSP status the lower bits are an enumeration: 0 measured well, 1 and 2 with a PSF that varies less over the
field, 3 the default PSF taken, 4 aborted, 5 missing, 6 with a bias transient; SDSS's own criterion of photometric data
is 2 or less (https://www.sdss4.org/dr17/algorithms/image_quality/)."""
_UNUSABLE_QUALITY = {1: "BAD", 4: "MISSING", 5: "HOLE"}
"""Of tsField's quality; 2 is acceptable, 3 good (https://classic.sdss.org/dr7/dm/flatFiles/tsField.php)."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Companions:
    """Files beside a frame, as plain FITS; each may be missing.

    Parameters
    ----------
    tsfield : bytes or None
        Calibration of the field, to DR7: `FrameId.tsfield_path`.
    psfield : bytes or None
        PSF, gain and dark variance of the field: `FrameId.psfield_path`.
    mask : bytes or None
        Mask of the frame, fpM: `FrameId.mask_path`, decompressed where that ends in `.gz`.
    """

    tsfield: bytes | None = field(default=None, repr=False)
    psfield: bytes | None = field(default=None, repr=False)
    mask: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Told:
    """What the companions tell of one frame; NaN or None where they do not.

    Parameters
    ----------
    nmgy : float
        Nanomaggies a count by tsField.
    gain, dark_variance : float
        Electrons a DN, and DN^2, by psField.
    seeing : float
        Full width at half maximum of the PSF, arcsec, by psField, else by tsField.
    planes : Planes or None
    remarks : tuple of str
        Sentences about what could not be used, or is said to be bad.
    """

    nmgy: float = math.nan
    gain: float = math.nan
    dark_variance: float = math.nan
    seeing: float = math.nan
    planes: Planes | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _FieldRow:
    """What tsField and psField both tell of a frame, and what each tells alone."""

    seeing: float
    remarks: tuple[str, ...]
    nmgy: float = math.nan
    gain: float = math.nan
    dark_variance: float = math.nan


def read_companions(frame_id: FrameId, companions: Companions | None) -> Told:
    """Read what lies beside a frame.

    Parameters
    ----------
    frame_id : FrameId
    companions : Companions or None

    Returns
    -------
    Told
        Raises nothing: what cannot be used is said in its remarks.
    """
    if companions is None:
        return Told()
    remarks: list[str] = []

    def attempt(content: bytes | None, path: str | None, read: Callable[[bytes, FrameId], _T]) -> _T | None:
        if content is None:
            return None
        name = path.rsplit("/", 1)[-1].removesuffix(".gz") if path else "tsField"
        if path is None:
            remarks.append(f"{name} was not used: frames of {frame_id.release} are calibrated without one.")
            return None
        try:
            return read(content, frame_id)
        except (Irregular, ValueError, OverflowError, IndexError, KeyError, TypeError) as error:
            # An Irregular says what is wrong; numpy's own words about damaged numbers are better than nothing.
            remarks.append(f"{name} was not used: {error}.")
            return None

    tsfield = attempt(companions.tsfield, frame_id.tsfield_path, _read_tsfield)
    psfield = attempt(companions.psfield, frame_id.psfield_path, _read_psfield)
    planes = attempt(companions.mask, frame_id.mask_path, _read_planes)
    for row in (tsfield, psfield):
        remarks.extend(row.remarks if row else ())
    seeing = next((row.seeing for row in (psfield, tsfield) if row and not math.isnan(row.seeing)), math.nan)
    return Told(
        nmgy=tsfield.nmgy if tsfield else math.nan,
        gain=psfield.gain if psfield else math.nan,
        dark_variance=psfield.dark_variance if psfield else math.nan,
        seeing=seeing,
        planes=planes,
        remarks=tuple(remarks),
    )


def _read_tsfield(content: bytes, frame_id: FrameId) -> _FieldRow:
    hdus = read_hdus(content)
    if len(hdus) < 2:
        raise Irregular("it has no table")
    _hold_identity(_identity(hdus[0], "RUN", "CAMCOL", "RERUN"), frame_id)
    row = _Row(Table(hdus[1]), frame_id)
    nmgy = nmgy_from_tsfield(row.of_band("aa"), row.of_band("kk"), row.of_band("airmass"))
    seeing, remarks = _seeing(row, "tsField")
    quality = int(row.value("quality"))
    if quality in _UNUSABLE_QUALITY:
        remarks = (*remarks, f"tsField says that the field is {_UNUSABLE_QUALITY[quality]} (quality {quality}).")
    if math.isnan(nmgy):
        remarks = (*remarks, "tsField has no flux calibration for this frame.")
    return _FieldRow(seeing, remarks, nmgy=nmgy)


def _read_psfield(content: bytes, frame_id: FrameId) -> _FieldRow:
    hdus = read_hdus(content)
    if len(hdus) <= _PSF_OF_TABLE:
        raise Irregular(f"it has {len(hdus)} HDUs, and none with gain and dark variance")
    _hold_identity(_identity(hdus[0], "RUN", "CAMCOL", "FIELD"), frame_id)
    row = _Row(Table(hdus[_PSF_OF_TABLE]), frame_id)
    gain, variance = row.of_band("gain"), row.of_band("dark_variance")
    seeing, remarks = _seeing(row, "psField")
    if not (0 < gain < 1000 and 0 <= variance < 1e6):  # -9999 where unknown
        gain = variance = math.nan
        remarks = (*remarks, "psField has no gain and dark variance for this frame.")
    return _FieldRow(seeing, remarks, gain=gain, dark_variance=variance)


def _read_planes(content: bytes, frame_id: FrameId) -> Planes:
    identity, planes = read_mask(content)
    _hold_identity(identity, frame_id)
    return planes


class _Row:
    """The row of a frame's field in a table whose columns have a value for each of u g r i z."""

    def __init__(self, table: Table, frame_id: FrameId) -> None:
        fields = table.column("field")[:, 0].tolist()
        if frame_id.field not in fields:
            raise Irregular(f"it is of field {fields[0] if len(fields) == 1 else '(several)'}")
        self._table, self._row, self._band = table, fields.index(frame_id.field), BANDS.index(frame_id.band)

    def value(self, column: str) -> float:
        return float(self._table.column(column)[self._row, 0])

    def of_band(self, column: str) -> float:
        values = self._table.column(column)[self._row]
        if len(values) != len(BANDS):
            raise Irregular(f"its column {column} has no value for each band")
        return float(values[self._band])


def _seeing(row: _Row, kind: str) -> tuple[float, tuple[str, ...]]:
    """Width of the PSF, if it was measured in this field."""
    status = int(row.of_band("status"))
    if status & _PSP_STATUS_MASK >= _PSP_NOT_MEASURED:
        return math.nan, (f"{kind} says that the PSF was not measured in this field (status {status}).",)
    width = row.of_band("psf_width")
    return (width if 0 < width < 100 else math.nan), ()


def _identity(header: Hdu, *keys: str) -> dict[str, int]:
    return {key: header.whole(key) for key in keys}


def _hold_identity(found: dict[str, int], frame_id: FrameId) -> None:
    """Refuse a companion of another field: it would calibrate the frame with numbers that are wrong by little."""
    if any(value != getattr(frame_id, key.lower()) for key, value in found.items()):
        raise Irregular("it is of " + ", ".join(f"{key.lower()} {value}" for key, value in found.items()))
