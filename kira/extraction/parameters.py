"""The numbers that decide what is found and how it is measured, and the hash that names them in a catalogue's path."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from kira.errors import InvalidInput


@dataclass(frozen=True)
class Parameters:
    """Parameters of background, detection and photometry; the defaults are those of Zhang et al. (2015, 2016).

    Parameters
    ----------
    name : str
        What the set is called; a label, no part of the hash.
    mesh : int
        Width and height of a background cell, pixels.
    mesh_filter : int
        Width and height of the median filter over background cells, cells.
    threshold : float
        Detection threshold in units of the background's global rms.
    minarea : int
        Least number of pixels above the threshold that make a source.
    kernel : tuple of tuple of float
        Convolution kernel for detection, rows of weights; SEP normalises it.
    deblend_levels : int
        Number of thresholds at which a detection is tried for splitting.
    deblend_contrast : float
        Least fraction of a detection's flux that makes a branch a source of its own; 1 splits nothing.
    clean : float
        Cleaning parameter (SExtractor's CLEAN_PARAM); 0 does not clean.
    circle_radius : float
        Radius of the circular aperture, pixels.
    circle_subpix : int
        The circle's edge pixels are divided into this many squared; SEP's default, which Kira used.
    kron_range : float
        Ellipse within which the Kron radius is measured, in units of `a` and `b`.
    kron_factor : float
        Elliptical aperture, in units of the Kron radius.
    ellipse_subpix : int
        As `circle_subpix`, for the ellipse.
    pixstack : int
        SEP's buffer of pixels above the threshold; its own default, 300,000, is too small for a globular cluster.
    sub_object_limit : int
        Most branches of one detection while deblending; SEP's own default is 1024.

    Raises
    ------
    InvalidInput
        If a number makes no sense.
    """

    name: str = "kira"
    mesh: int = 64
    mesh_filter: int = 3
    threshold: float = 1.5
    minarea: int = 5
    kernel: tuple[tuple[float, ...], ...] = ((1.0, 2.0, 1.0), (2.0, 4.0, 2.0), (1.0, 2.0, 1.0))
    deblend_levels: int = 32
    deblend_contrast: float = 0.005
    clean: float = 1.0
    circle_radius: float = 5.0
    circle_subpix: int = 5
    kron_range: float = 6.0
    kron_factor: float = 2.5
    ellipse_subpix: int = 1
    pixstack: int = 1_000_000
    sub_object_limit: int = 4096

    def __post_init__(self) -> None:
        for field in fields(self):
            # Equal parameters must have equal hashes, also where 5 was written for 5.0 or a list for a tuple.
            if field.type in (int, float):
                object.__setattr__(self, field.name, self._number(field.name, field.type))
        try:
            kernel = tuple(tuple(float(weight) for weight in row) for row in self.kernel)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"kernel: {self.kernel!r} is not rows of numbers.") from error
        if not kernel or not kernel[0] or len({len(row) for row in kernel}) > 1:
            raise InvalidInput(f"kernel: {self.kernel!r} is not a rectangle of numbers.")
        object.__setattr__(self, "kernel", kernel)

    def _number(self, name: str, kind: Any) -> int | float:
        value = getattr(self, name)
        # Only `clean` may be switched off by 0.
        if isinstance(value, bool) or not isinstance(value, int | float) or kind(value) != value:
            raise InvalidInput(f"{name}: {value!r} is not {'a whole' if kind is int else 'a'} number.")
        if value < 0 or (value == 0 and name != "clean"):
            raise InvalidInput(f"{name}: {value!r} is not above 0.")
        return kind(value)  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Parameters":
        """Read what `as_dict` gave, also after a trip through JSON; what is left out has its default."""
        if unknown := sorted(set(values) - {field.name for field in fields(cls)}):
            raise InvalidInput(f"There are no extraction parameters {', '.join(unknown)}.")
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """All parameters as plain values."""
        return asdict(self)

    @property
    def json(self) -> str:
        """Canonical JSON of all that `hash` covers: sorted keys, no spaces."""
        numbers = {key: value for key, value in self.as_dict().items() if key != "name"}
        return json.dumps(numbers, sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """First 8 hexadecimal digits of the SHA-256 of `json`."""
        return hashlib.sha256(self.json.encode()).hexdigest()[:8]

    @property
    def slug(self) -> str:
        """How a catalogue's path names the parameters: `kira-<hash>`."""
        return f"{self.name}-{self.hash}"
