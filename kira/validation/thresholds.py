"""What counts as in range: every limit of validation, in this one place, and how they are read from a file."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from kira.errors import InvalidInput
from kira.sdss import BANDS, Band, Service
from kira.toml import read_toml

Range = tuple[float, float]
_V = TypeVar("_V")


@dataclass(frozen=True)
class Ranges:
    """Closed ranges of a frame's global background and rms, in the unit of its pixels."""

    background: tuple[float, float]
    rms: tuple[float, float]


def _default_ranges() -> Mapping[tuple[Service, Band], Ranges]:
    """Ranges with generous room around what real frames show.

    Counts (fpC): background is the soft bias of 1000 plus the sky, measured 24 (u) to 390 (r); rms 5.1 to 9.1.
    Nanomaggies (frame): the sky is subtracted, measured -0.0015 (u) to 0.0098 (r, the globular cluster M2); rms
    u 0.042, g 0.022, r 0.031, i 0.056, z 0.21. All in frames of runs 94, 2583, 4192 and 5754.
    """
    counts = Service.DAS
    nanomaggies = Service.SAS
    return {
        (counts, "u"): Ranges((1000.0, 1500.0), (2.0, 25.0)),
        (counts, "g"): Ranges((1000.0, 2500.0), (2.0, 40.0)),
        (counts, "r"): Ranges((1000.0, 4000.0), (2.0, 50.0)),
        (counts, "i"): Ranges((1000.0, 4000.0), (2.0, 50.0)),
        (counts, "z"): Ranges((1000.0, 4000.0), (2.0, 50.0)),
        (nanomaggies, "u"): Ranges((-0.5, 0.5), (0.010, 0.4)),
        (nanomaggies, "g"): Ranges((-0.5, 0.5), (0.005, 0.3)),
        (nanomaggies, "r"): Ranges((-0.5, 0.5), (0.007, 0.3)),
        (nanomaggies, "i"): Ranges((-1.0, 1.0), (0.012, 0.6)),
        (nanomaggies, "z"): Ranges((-3.0, 3.0), (0.050, 2.0)),
    }


@dataclass(frozen=True)
class Thresholds:
    """All limits of validation. Where each number comes from: docs/thresholds.md.

    Parameters
    ----------
    max_not_finite : float
        Largest fraction of rows of a batch in which a flux or Kron radius may be not finite.
    max_unmeasured : float
        The same for any other column of numbers, with a warning.
    max_out_of_range : float
        Fraction of frames that may be out of range in background, rms or number of sources, or off their reference,
        with no more than a warning; one frame always may.
    ranges : mapping of (Service, band) to Ranges
        Closed ranges of a frame's background and rms, in the unit of its pixels.
    counts : mapping of band to tuple of int
        Fewest and most sources of a frame.
    count_factor : float
        A frame may have so many times fewer or more sources than the median of the other frames of its run, camcol and
        band.
    min_neighbours : int
        Fewest such other frames for that comparison.
    duplicate_distance : float
        Two sources of a frame that are nearer than this are one, pixels.
    max_duplicates : float
        Largest fraction of rows that may have such a twin, with no more than a warning.
    overlap_distance : float
        Two sources of neighbouring fields of a band that are nearer than this are one, arcsec.
    max_counted_twice : float
        Largest fraction of the pairs in the overlap of which both may be primary.
    max_flagged : mapping of str to float
        Largest fraction of a band's rows that may carry a flag bit, by its name.
    zero_point_columns : tuple of str
        Fluxes (nmgy) or magnitudes that are compared with the reference: the first of them that the catalogue has. Its
        error must be there too: fluxerr_auto of flux_auto, magerr_auto of mag_auto.
    zero_point_magnitudes : mapping of band to tuple of float
        Magnitudes, brightest and faintest, of the reference stars that the zero-point is taken from.
    max_flux_error : float
        Largest relative error of a flux that the zero-point is taken from.
    limits : mapping of band to float
        Magnitudes to which stars should be found.
    bright_margin : float
        What is so many magnitudes brighter than the limit must be found, and is bright enough for positions.
    search_radius : float
        How far a whole frame may be shifted and still be recognised, arcsec.
    match_radius : float
        How far a source may be from its reference, once the shift is taken off, arcsec.
    min_matches : int
        Fewest reference objects for a judgement; with fewer a check passes, and says so.
    warn_offset : float
        Median offset on the sky above which there is a warning, arcsec.
    max_offset : float
        Median offset above which it is an error, arcsec.
    warn_offset_scatter : float
        Scatter of the offsets on the sky in one direction (1.4826 median deviations) above which there is a warning,
        arcsec.
    warn_zero_point : float
        Median difference of magnitudes above which there is a warning, mag.
    max_zero_point : float
        Median difference above which it is an error, mag.
    warn_found : float
        Part of the bright reference stars found below which there is a warning.
    min_found : float
        Part found below which it is an error.
    warn_spurious : float
        Part of the sources that are unknown to a photoObj or a truth above which there is a warning.
    warn_spurious_frame : float
        The same for a single frame.
    warn_depth : float
        So much brighter than the limit may the magnitude be at which half of the stars are found, mag.

    Raises
    ------
    InvalidInput
        If a value makes no sense.
    """

    max_not_finite: float = 0.01
    max_unmeasured: float = 0.05
    max_out_of_range: float = 0.02
    ranges: Mapping[tuple[Service, Band], Ranges] = field(default_factory=_default_ranges)
    counts: Mapping[Band, tuple[int, int]] = field(default_factory=lambda: {
        "u": (1, 10_000), "g": (5, 30_000), "r": (5, 30_000), "i": (5, 30_000), "z": (5, 30_000),
    })  # fmt: skip
    count_factor: float = 5.0
    min_neighbours: int = 4
    duplicate_distance: float = 1.0
    max_duplicates: float = 0.001
    overlap_distance: float = 1.0
    max_counted_twice: float = 0.1
    max_flagged: Mapping[str, float] = field(default_factory=lambda: {
        "DEBLEND_OVERFLOW": 0.01, "NOT_MEASURED": 0.01, "SATURATED": 0.1, "MASKED": 0.1, "NEAR_EDGE": 0.15,
        "CROWDED_LIMITS_RAISED": 0.01, "WINDOW_FAILED": 0.1,
    })  # fmt: skip
    zero_point_columns: tuple[str, ...] = ("flux_star", "flux_aper_5", "flux_ellipse")
    zero_point_magnitudes: Mapping[Band, Range] = field(default_factory=lambda: {
        "u": (14.5, 19.5), "g": (14.5, 20.0), "r": (14.5, 20.0), "i": (14.5, 20.0), "z": (14.5, 18.5),
    })  # fmt: skip
    max_flux_error: float = 0.05
    limits: Mapping[Band, float] = field(
        default_factory=lambda: {"u": 22.0, "g": 22.2, "r": 22.2, "i": 21.3, "z": 20.5}
    )
    bright_margin: float = 1.0
    search_radius: float = 10.0
    match_radius: float = 1.2
    min_matches: int = 10
    warn_offset: float = 0.3
    max_offset: float = 1.0
    warn_offset_scatter: float = 0.3
    warn_zero_point: float = 0.1
    max_zero_point: float = 0.2
    warn_found: float = 0.9
    min_found: float = 0.5
    warn_spurious: float = 0.3
    warn_spurious_frame: float = 0.6
    warn_depth: float = 1.2

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.type in (int, float):
                _hold_number(one.name, value, whole=one.type is int)
            elif one.name == "zero_point_columns":
                if isinstance(value, str) or not value or not all(isinstance(text, str) for text in value):
                    raise InvalidInput(f"{one.name}: {value!r} is not a list of names of columns.")
                object.__setattr__(self, one.name, tuple(value))
        for name in ("offset", "zero_point"):
            warn, most = getattr(self, f"warn_{name}"), getattr(self, f"max_{name}")
            if warn > most:
                raise InvalidInput(f"warn_{name}: {warn} is above max_{name}, {most}.")
        if self.min_found > self.warn_found:
            raise InvalidInput(f"warn_found: {self.warn_found} is below min_found, {self.min_found}.")

    @classmethod
    def load(cls, path: Path | str) -> "Thresholds":
        """Read thresholds from a TOML file; what it leaves out has its default.

        Raises
        ------
        InvalidInput
            With one sentence that names the file: not there, not TOML, an unknown key, a wrong type, a value without
            sense.
        """
        path = Path(path)
        values = read_toml(path, "thresholds")
        try:
            return cls.from_dict(values)
        except InvalidInput as error:
            raise InvalidInput(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Thresholds":
        """Read what `as_dict` gave, also after a trip through JSON or TOML; what is left out has its default.

        Of values by band or by flag, too, those that are left out have their defaults.
        """
        plain = cls()
        readers: dict[str, Callable[[str, Any], Any]] = {
            "ranges": lambda name, given: _merged_ranges(name, given, plain.ranges),
            "counts": lambda name, given: _by_band(name, given, plain.counts, _whole_pair),
            "zero_point_magnitudes": lambda name, given: _by_band(name, given, plain.zero_point_magnitudes, _pair),
            "limits": lambda name, given: _by_band(name, given, plain.limits, _number),
            "max_flagged": lambda name, given: _by_flag(name, given, plain.max_flagged),
        }
        known = [one.name for one in fields(cls)]
        _refuse_unknown("a threshold", values, known)
        return cls(**{name: readers[name](name, value) if name in readers else value for name, value in values.items()})

    def as_dict(self) -> dict[str, Any]:
        """All thresholds as plain values; ranges by archive (`das` to DR7, `sas` from DR8) and band."""
        values: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == "ranges":
                nested: dict[str, Any] = {}
                for (service, band), limits in value.items():
                    pair = {"background": list(limits.background), "rms": list(limits.rms)}
                    nested.setdefault(str(service.value), {})[band] = pair
                value = nested
            elif isinstance(value, Mapping):
                value = {key: list(v) if isinstance(v, tuple) else v for key, v in value.items()}
            values[one.name] = list(value) if isinstance(value, tuple) else value
        return values


def _hold_number(name: str, value: Any, *, whole: bool) -> None:
    _number(name, value)
    if value <= 0 and not name.startswith(("max_", "min_")):
        raise InvalidInput(f"{name}: {value!r} is not above 0.")
    if value < 0:
        raise InvalidInput(f"{name}: {value!r} is below 0.")
    if whole and int(value) != value:
        raise InvalidInput(f"{name}: {value!r} is not a whole number.")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInput(f"{name}: {value!r} is not a number.")
    return value


def _pair(name: str, value: Any) -> Range:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise InvalidInput(f"{name}: {value!r} is not two numbers, the lowest and the highest.")
    low, high = (_number(name, one) for one in value)
    if low > high:
        raise InvalidInput(f"{name}: {low!r} is above {high!r}.")
    return low, high


def _whole_pair(name: str, value: Any) -> tuple[int, int]:
    low, high = _pair(name, value)
    if int(low) != low or int(high) != high:
        raise InvalidInput(f"{name}: {value!r} are not whole numbers.")
    return int(low), int(high)


def _refuse_unknown(what: str, given: Any, known: list[str]) -> None:
    if not isinstance(given, Mapping):
        raise InvalidInput(f"{given!r} is not a table whose keys are each {what}.")
    if unknown := sorted(str(key) for key in set(given) - set(known)):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        raise InvalidInput(f"{', '.join(unknown)} is not {what}{f'; {near[0]} may be meant' if near else ''}.")


def _by_band(
    name: str, given: Any, default: Mapping[Band, _V], read: Callable[[str, Any], _V]
) -> Mapping[Band, _V]:  # fmt: skip
    _refuse_unknown(f"a band of {name}", given, list(BANDS))
    return {**default, **{band: read(f"{name}.{band}", given[band]) for band in BANDS if band in given}}


def _by_flag(name: str, given: Any, default: Mapping[str, float]) -> Mapping[str, float]:
    from kira.extraction.flags import Flag

    _refuse_unknown(f"a flag of {name}", given, [str(flag.name) for flag in Flag])
    return {**default, **{flag: _number(f"{name}.{flag}", value) for flag, value in given.items()}}


def _merged_ranges(
    name: str, given: Any, default: Mapping[tuple[Service, Band], Ranges]
) -> Mapping[tuple[Service, Band], Ranges]:
    merged = dict(default)
    _refuse_unknown(f"an archive of {name}", given, [str(service.value) for service in Service])
    for service in Service:
        bands = given.get(str(service.value), {})
        _refuse_unknown(f"a band of {name}.{service.value}", bands, list(BANDS))
        for band in BANDS:
            limits = bands.get(band, {})
            where = f"{name}.{service.value}.{band}"
            _refuse_unknown(f"a range of {where}", limits, ["background", "rms"])
            old = merged[service, band]
            merged[service, band] = Ranges(
                _pair(f"{where}.background", limits.get("background", old.background)),
                _pair(f"{where}.rms", limits.get("rms", old.rms)),
            )
    return merged
