"""What decides the numbers of an extraction: the base of the profiles, their hash, and how they are read."""

import difflib
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from kira.errors import InvalidInput
from kira.sdss.beside import Kind
from kira.toml import read_toml

MOST_BRANCHES = 32_767
"""Largest `sub_object_limit`: SEP keeps the number of a branch in 16 bits (`short` in deblend.c)."""

ENGINES = ("sep", "fast")
DEFAULT_ENGINE = "fast"
"""What a profile has that is named, or read from a file that does not say."""

_MAY_BE_ZERO = {"clean", "aperture_subpix", "dither", "kron_minimum"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_P = TypeVar("_P", bound="Profile")


@dataclass(frozen=True)
class Profile:
    """How sources are found; each kind of profile adds how they are measured.

    Parameters
    ----------
    name : str
        What the profile is called: a label, no part of the hash.
    mesh : int
        Width and height of a background cell, pixels.
    mesh_filter : int
        Width and height of the median filter over background cells, cells.
    threshold : float
        Detection threshold in units of the background's rms.
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
    pixstack : int
        SEP's buffer of pixels above the threshold (44 bytes each); its own default, 300,000, is too small for a
        globular cluster. Where it is too small it is raised fourfold, up to the number of pixels of the frame.
    sub_object_limit : int
        Most branches of one detection while deblending; SEP's own default is 1024. Where it is too small it is raised
        fourfold, up to 32,767.
    engine : {"sep", "fast"}
        What measures: SEP itself, or compiled kernels with its definitions, whose numbers are the same but for
        rounding.

    Raises
    ------
    InvalidInput
        If a value makes no sense.
    """

    kind: ClassVar[str] = ""
    """What columns an extraction has: `kira` or `survey`."""
    beside: ClassVar[tuple[Kind, ...]] = ()
    """What an ingestion fetches beside a frame, and gives to extraction and validation."""

    name: str = ""
    mesh: int = 64
    mesh_filter: int = 3
    threshold: float = 1.5
    minarea: int = 5
    kernel: tuple[tuple[float, ...], ...] = ((1.0, 2.0, 1.0), (2.0, 4.0, 2.0), (1.0, 2.0, 1.0))
    deblend_levels: int = 32
    deblend_contrast: float = 0.005
    clean: float = 1.0
    pixstack: int = 1_000_000
    sub_object_limit: int = 4096
    engine: str = "sep"

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and _NAME.fullmatch(self.name)):
            raise InvalidInput(f"name: {self.name!r} is not 1 to 40 letters, digits, dots, - or _ (it names a folder).")
        for field in fields(self):
            # Equal profiles must have equal hashes, also where 5 was written for 5.0 or a list for a tuple.
            if field.type in (int, float):
                object.__setattr__(self, field.name, self._number(field.name, field.type))
        if self.sub_object_limit > MOST_BRANCHES:
            raise InvalidInput(f"sub_object_limit: {self.sub_object_limit:,} is above {MOST_BRANCHES:,}.")
        object.__setattr__(self, "kernel", _kernel(self.kernel))
        if self.engine not in ENGINES:
            raise InvalidInput(f"engine: {self.engine!r} is not {' or '.join(ENGINES)}.")

    def _number(self, name: str, kind: Any) -> int | float:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidInput(f"{name}: {value!r} is not a number.")
        if kind(value) != value:
            raise InvalidInput(f"{name}: {value!r} is not a whole number.")
        if value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
            raise InvalidInput(f"{name}: {value!r} is not above 0.")
        return kind(value)  # type: ignore[no-any-return]

    @classmethod
    def named(cls, name: str) -> Self:
        """Return a profile that comes with Kira, by its name; `InvalidInput` names those that there are."""
        for one in _kinds(cls):
            if one.kind == name:
                return one(engine=DEFAULT_ENGINE)
        known = " and ".join(one.kind for one in _kinds(cls))
        raise InvalidInput(
            f"There is no extraction profile {name!r}: Kira has {known}, and reads others from TOML files."
        )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a profile from a TOML file.

        Its keys are the parameters; what is left out has its default. `kind` says which kind it is (`kira` if it is not
        there), and without `name` it is called like the file.

        Raises
        ------
        InvalidInput
            With one sentence that names the file: not there, not TOML, an unknown key, a wrong type, a value without
            sense.
        """
        path = Path(path)
        values = read_toml(path, "a profile")
        try:
            return cls.from_dict({"name": path.stem, "engine": DEFAULT_ENGINE} | values)
        except InvalidInput as error:
            raise InvalidInput(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `as_dict` gave, also after a trip through JSON; what is left out has its default.

        Without `engine` that is SEP, whatever `named` and `load` take: it was written before there was a choice.
        Called on a kind's own class it takes that kind only.
        """
        given = dict(values)
        kind = given.pop("kind", "kira")
        found = next((one for one in _kinds(cls) if one.kind == kind), None)
        if found is None:
            raise InvalidInput(f"kind: {kind!r} is not {' or '.join(one.kind for one in _kinds(cls))}.")
        known = [field.name for field in fields(found)]
        if unknown := sorted(str(key) for key in set(given) - set(known)):
            near = difflib.get_close_matches(unknown[0], known, n=1)
            raise InvalidInput(
                f"There are no extraction parameters {', '.join(unknown)} in a profile of kind {kind}"
                f"{f'; {near[0]} may be meant' if near else ''}."
            )
        return found(**given)

    def as_dict(self) -> dict[str, Any]:
        """All parameters as plain values; `kind` for all kinds but `kira`, whose hash is older than kinds are."""
        return asdict(self) | ({} if self.kind == "kira" else {"kind": self.kind})

    @property
    def json(self) -> str:
        """Canonical JSON of all that `hash` covers: sorted keys, no spaces.

        SEP is left out: profiles are older than the choice, and keep their hashes.
        """
        numbers = {key: value for key, value in self.as_dict().items() if key != "name"}
        if self.engine == "sep":
            del numbers["engine"]
        return json.dumps(numbers, sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """First 8 hexadecimal digits of the SHA-256 of `json`."""
        return hashlib.sha256(self.json.encode()).hexdigest()[:8]

    @property
    def slug(self) -> str:
        """How a catalogue's path names the profile: `kira-<hash>`."""
        return f"{self.name}-{self.hash}"


def _kinds(cls: type[_P]) -> list[type[_P]]:
    """Return a class that is a kind itself, or the kinds that are made from it."""
    return [cls] if cls.kind else sorted(cls.__subclasses__(), key=lambda one: one.kind)


def _kernel(rows: Any) -> tuple[tuple[float, ...], ...]:
    try:
        kernel = tuple(tuple(float(weight) for weight in row) for row in rows)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"kernel: {rows!r} is not rows of numbers.") from error
    if not kernel or not kernel[0] or len({len(row) for row in kernel}) > 1:
        raise InvalidInput(f"kernel: {rows!r} is not a rectangle of numbers.")
    weights = [weight for row in kernel for weight in row]
    if not all(map(math.isfinite, weights)) or not any(weights):
        raise InvalidInput(f"kernel: {rows!r} has no weights that can be normalised.")
    return kernel
