"""The text form of a data set: a header that proves the list whole, then one line for each stretch of frames.

A terabyte is 176,938 frames. Neighbours differ by one in the field only, so a line speaks of a camera column of a run,
and the list of all of them is short enough to be read by a person.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from kira.errors import InvalidInput
from kira.sdss import BANDS, Band, FrameId, Release, Service
from kira.sdss.quoting import one_line, quoted

LISTS = Path(__file__).resolve().parents[2] / "datasets"
"""Folder of the published lists."""

NEWEST = "*"
"""Written for a rerun: the newest of the release that the archive has of the run."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}", re.ASCII)
_KEY = re.compile(r"#\s*(name|release|frames|sha256|rule|columns):\s*(\S.*)", re.ASCII)
_STRETCH = re.compile(
    r"(\d{1,6})[ \t]+(\*|\d{1,4})[ \t]+([1-6])[ \t]+(\d{1,4})-(\d{1,4})[ \t]+(?=[ugriz])(u?g?r?i?z?)", re.ASCII
)
_ONCE = ("name", "release", "frames", "sha256")
_COLUMNS = "run rerun camcol first-last bands"
# A frame as it is served, the mean of the few that Kira's tests have, and as a FITS file, of which all had the same.
_BYTES = {Service.DAS: (2_430_000, 6_108_480), Service.SAS: (3_460_000, 12_447_360)}
_MOST_BYTES = 16 * 2**20
_MOST_FRAMES = 10_000_000  # the whole survey has 4.7 million


@dataclass(frozen=True)
class Stretch:
    """Neighbouring fields of one camera column of one run, in some bands.

    Parameters
    ----------
    run : int
    rerun : int or None
        None means the newest that the archive has.
    camcol : int
    first, last : int
        Fields, both included.
    bands : tuple of str
        In the order u, g, r, i, z.
    """

    run: int
    rerun: int | None
    camcol: int
    first: int
    last: int
    bands: tuple[Band, ...]

    def __str__(self) -> str:
        rerun = NEWEST if self.rerun is None else self.rerun
        return f"{self.run} {rerun} {self.camcol} {self.first}-{self.last} {''.join(self.bands)}"

    @property
    def count(self) -> int:
        """Number of frames."""
        return (self.last - self.first + 1) * len(self.bands)

    def places(self) -> Iterator[tuple[int, Band]]:
        """Field and band of each frame, in order."""
        return ((field, band) for field in range(self.first, self.last + 1) for band in self.bands)

    def name(self, release: Release, field: int, band: Band) -> str:
        """Text form of one frame, as `FrameId` writes it; with `*` where the rerun is the archive's newest."""
        rerun = NEWEST if self.rerun is None else self.rerun
        return f"{release}-{rerun}-{self.run:06d}-{self.camcol}-{field:04d}-{band}"

    def frame(self, release: Release, rerun: int, field: int, band: Band) -> FrameId:
        """One frame, of a rerun that is known."""
        return FrameId(release, self.run, rerun, self.camcol, field, band)


@dataclass(frozen=True)
class DataSet:
    """A named list of frames of one release.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and hyphens.
    release : Release
    stretches : tuple of Stretch
    rule : tuple of str
        How the frames were chosen, in lines for people.

    Raises
    ------
    InvalidInput
        If the name or a rerun is not of its form, a frame is there twice, or there are none or too many.
    """

    name: str
    release: Release
    stretches: tuple[Stretch, ...]
    rule: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidInput(f"{quoted(self.name)} cannot name a data set; use up to 31 of a-z, 0-9 and '-'.")
        for stretch in self.stretches:
            self._check(stretch)
        if not 0 < self.count <= _MOST_FRAMES:
            raise InvalidInput(f"Data set {self.name}: {self.count:,} frames are none, or more than {_MOST_FRAMES:,}.")
        _refuse_overlaps(self.stretches)

    def _check(self, stretch: Stretch) -> None:
        if not (1 <= stretch.run <= 999_999 and 0 <= stretch.first <= stretch.last <= 9999):
            raise InvalidInput(f"'{stretch}' is no stretch of fields of a run.")
        if stretch.rerun is None and self.release.service is Service.SAS:
            raise InvalidInput(f"'{stretch}': from dr8 on there is one rerun; write {self.release.reruns[0]}.")
        if stretch.rerun is not None and stretch.rerun not in self.release.reruns:
            reruns = ", ".join(map(str, self.release.reruns))
            raise InvalidInput(f"'{stretch}': the reruns of {self.release} are {reruns}.")

    @property
    def count(self) -> int:
        """Number of frames."""
        return sum(stretch.count for stretch in self.stretches)

    def names(self) -> Iterator[str]:
        """Text forms of all frames, in order."""
        for stretch in self.stretches:
            for field, band in stretch.places():
                yield stretch.name(self.release, field, band)

    @property
    def expected_bytes(self) -> tuple[int, int]:
        """About how many bytes come over the network, and how many they are as plain FITS files."""
        packed, plain = _BYTES[self.release.service]
        return self.count * packed, self.count * plain

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the frames' text forms, one a line, whatever stretches they are written in."""
        hasher = hashlib.sha256()
        for name in self.names():
            hasher.update(f"{name}\n".encode())
        return hasher.hexdigest()

    def text(self) -> str:
        """The list as it is published."""
        head = [
            f"name: {self.name}", f"release: {self.release}", f"frames: {self.count}", f"sha256: {self.sha256}",
            *(f"rule: {line}" for line in self.rule), f"columns: {_COLUMNS}",
        ]  # fmt: skip
        return "".join(f"# {line}\n" for line in head) + "".join(f"{stretch}\n" for stretch in self.stretches)


def read_data_set(text: str) -> DataSet:
    """Read the text of a list, and check it against its own header.

    Raises
    ------
    InvalidInput
        With the number of the first line that is not understood, or what of the header does not hold.
    """
    facts: dict[str, str] = {}
    rule, stretches = [], []
    frames = 0
    for number, line in enumerate(text.split("\n"), 1):
        content = line.strip()
        match = _KEY.fullmatch(content)
        if match and match[1] == "rule":
            rule.append(match[2])
        elif match and facts.setdefault(match[1], match[2]) != match[2]:
            raise InvalidInput(f"Line {number}: the list has two of '{match[1]}'.")
        elif content and not content.startswith("#"):
            stretches.append(_stretch(content, number))
            frames += stretches[-1].count
            if frames > _MOST_FRAMES:
                raise InvalidInput(f"Line {number}: the list has more than {_MOST_FRAMES:,} frames up to here.")
    return _proven(facts, stretches, rule)


def known_data_sets(folder: Path = LISTS) -> tuple[DataSet, ...]:
    """All published data sets, the smallest first."""
    found = [open_data_set(path.stem, folder) for path in folder.glob("*.txt")]
    return tuple(sorted(found, key=lambda one: (one.count, one.name)))


def open_data_set(name: str, folder: Path = LISTS) -> DataSet:
    """Read a published data set by its name, or any list by the path of its file, which ends in `.txt`.

    Raises
    ------
    InvalidInput
        If there is no such list, or it is not of its form.
    """
    if not (name.endswith(".txt") or _NAME.fullmatch(name)):
        raise InvalidInput(f"{quoted(name)} is no data set: give a name, or the path of a list that ends in .txt.")
    path = Path(name) if name.endswith(".txt") else folder / f"{name}.txt"
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise InvalidInput(f"{one_line(str(path))}: longer than the {_MOST_BYTES:,} bytes that a list may have.")
        data_set = read_data_set(content.decode())
    except OSError as error:
        known = ", ".join(sorted(one.stem for one in folder.glob("*.txt"))) or "none"
        raise InvalidInput(f"There is no data set {one_line(name)} ({error.strerror}); known: {known}.") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{one_line(str(path))}: this is no text.") from None
    except ValueError as error:  # also a path with a NUL in it
        raise InvalidInput(f"{one_line(str(path))}: {error}") from None
    if not name.endswith(".txt") and data_set.name != name:
        raise InvalidInput(f"{one_line(str(path))}: the list calls itself {data_set.name}.")
    return data_set


def _stretch(content: str, number: int) -> Stretch:
    match = _STRETCH.fullmatch(content)
    if not match:
        raise InvalidInput(
            f"Line {number}: {quoted(content)} is not of the form '{_COLUMNS}', such as '4192 40 1 11-503 ugriz'."
        )
    run, rerun, camcol, first, last, letters = match.groups()
    if int(first) > int(last):
        raise InvalidInput(f"Line {number}: fields {first}-{last} end before they begin.")
    bands = tuple(band for band in BANDS if band in letters)
    return Stretch(int(run), None if rerun == NEWEST else int(rerun), int(camcol), int(first), int(last), bands)


def _proven(facts: Mapping[str, str], stretches: list[Stretch], rule: list[str]) -> DataSet:
    missing = [key for key in _ONCE if key not in facts]
    if missing:
        raise InvalidInput(f"The list has no line '# {missing[0]}: …'; it is no data set, or its beginning is cut off.")
    data_set = DataSet(facts["name"], Release.parse(facts["release"]), tuple(stretches), tuple(rule))
    if facts["frames"] != str(data_set.count):
        raise InvalidInput(
            f"The list has {data_set.count} frames where its header says {quoted(facts['frames'])}; "
            "it was cut or edited."
        )
    if facts["sha256"] != data_set.sha256:
        raise InvalidInput(
            f"The frames of the list have SHA-256 {data_set.sha256} where its header says {quoted(facts['sha256'])}; "
            "it was edited."
        )
    return data_set


def _refuse_overlaps(stretches: Iterable[Stretch]) -> None:
    """Refuse a frame that is there twice, also by two reruns: that would be one piece of sky measured twice."""
    by_place: dict[tuple[int, int, Band], list[Stretch]] = defaultdict(list)
    for stretch in stretches:
        for band in stretch.bands:
            by_place[stretch.run, stretch.camcol, band].append(stretch)
    for (run, camcol, band), here in by_place.items():
        here.sort(key=lambda one: one.first)
        for one, other in pairwise(here):
            if other.first <= one.last:
                raise InvalidInput(
                    f"Run {run} camcol {camcol} field {other.first} band {band} is in the list twice, by '{one}' and "
                    f"'{other}'."
                )
