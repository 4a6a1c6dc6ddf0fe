"""What a sample consists of: the specification, its random streams, and the report of a write."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from kira.errors import InvalidInput
from kira.sdss import BANDS, Band, FrameId, Release, Service

SIMULATOR_VERSION = "1"
"""Raised whenever the same specification gives other bytes than before; written as SIMVERS."""

LAST_SURVEY_RUN = 8162
"""The last imaging run of SDSS (runList.par): a synthetic run has a higher number."""

MAGNITUDE_LIMITS = (13.5, 24.0)
"""Brightest and faintest r magnitude (AB) of a simulated source."""


class Stream(IntEnum):
    """What a stream of random numbers is for; each use has its own, so that none shifts another."""

    POPULATION = 1
    """Sources on the sky: the same for every run, so that a second run sees the same sky again."""
    NIGHT = 2
    """Seeing, sky level and zero point of a run."""
    PHOTONS = 3
    """Light of the faint sources."""
    DETECTOR = 4
    """Noise of sky and amplifier, cosmic rays, response of the columns."""


@dataclass(frozen=True)
class SampleSpec:
    """What to simulate; equal specifications give equal bytes.

    Parameters
    ----------
    seed : int
        Of all random numbers.
    run : int
        Run number, above the survey's last (8162), so that no frame can be taken for a real one.
    camcols : tuple of int
        Camera columns, 1 to 6.
    first_field, fields : int
        Number of the first field, and how many follow each other from there.
    releases : tuple of Release
        Layouts to write. To DR7: fpC and tsField; from DR8: frame and photoObj; psField in both.
    bands : tuple of str
        Bands to write; tsField, psField and photoObj always tell of all five.
    star_density, galaxy_density : float
        Sources brighter than r = 24 a square degree; a field covers 0.034.

    Raises
    ------
    InvalidInput
        If something is outside its range.
    """

    seed: int = 2015
    run: int = 9001
    camcols: tuple[int, ...] = (3,)
    first_field: int = 11
    fields: int = 2
    releases: tuple[Release, ...] = (Release(7), Release(12))
    bands: tuple[Band, ...] = BANDS
    star_density: float = 11_000.0
    galaxy_density: float = 50_000.0

    def __post_init__(self) -> None:
        if self.run <= LAST_SURVEY_RUN or self.run > 32_767:
            raise InvalidInput(f"A synthetic run has a number from {LAST_SURVEY_RUN + 1} to 32767, not {self.run}.")
        if self.seed < 0:
            raise InvalidInput(f"The seed is a whole number from 0, not {self.seed}.")
        if self.first_field < 1 or self.fields < 1 or self.first_field + self.fields > 9999:
            raise InvalidInput(f"Fields {self.first_field} to {self.first_field + self.fields - 1}: use 1 to 9998.")
        if not (self.camcols and self.releases and self.bands):
            raise InvalidInput("A sample needs a camera column, a release and a band at least.")
        for values in (self.camcols, self.releases, self.bands):
            if len(set(values)) != len(values):
                raise InvalidInput(f"A sample names nothing twice: {values}.")
        if min(self.star_density, self.galaxy_density) < 0 or max(self.star_density, self.galaxy_density) > 2e6:
            raise InvalidInput("Densities are from 0 to 2 million sources a square degree.")
        next(self.frames())  # FrameId knows what a camcol and a band are

    @property
    def field_numbers(self) -> range:
        """Numbers of the fields."""
        return range(self.first_field, self.first_field + self.fields)

    def frame(self, release: Release, camcol: int, field: int, band: Band) -> FrameId:
        """Identity of one frame of the sample."""
        return FrameId(release, self.run, release.reruns[0], camcol, field, band)

    def frames(self) -> Iterator[FrameId]:
        """Every frame of the sample."""
        for release in self.releases:
            for camcol in self.camcols:
                for field in self.field_numbers:
                    for band in self.bands:
                        yield self.frame(release, camcol, field, band)

    def seed_of(self, stream: Stream, *keys: int) -> np.random.SeedSequence:
        """Seed of one stream of random numbers.

        Parameters
        ----------
        stream : Stream
        *keys : int
            What the stream belongs to (run, camcol, index of the band, field), none negative.
        """
        return np.random.SeedSequence([self.seed, int(stream), *keys])

    def random(self, stream: Stream, *keys: int) -> np.random.Generator:
        """Generator of one stream of random numbers; keys as for `seed_of`."""
        return np.random.default_rng(self.seed_of(stream, *keys))

    def as_json(self) -> dict[str, Any]:
        """Specification as plain values for the marker `sample.json`."""
        values = asdict(self) | {"releases": [str(r) for r in self.releases]}
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain


def archive_file(frame: FrameId) -> str:
    """Path of a frame below the sample's folder, e.g. `das/imaging/9001/40/corr/3/fpC-009001-r3-0011.fit.gz`."""
    return f"{frame.release.service}/{frame.archive_path}"


def calibration_file(frame: FrameId) -> str:
    """Path of a frame's tsField or photoObj below the sample's folder."""
    return f"{frame.release.service}/{frame.calibration_path}"


def psfield_file(frame: FrameId) -> str:
    """Path of the psField of a frame's field below the sample's folder."""
    return f"{frame.release.service}/{frame.psfield_path}"


def run_list_file(release: Release) -> str | None:
    """Path of the list of runs below the sample's folder; DAS has none."""
    return f"sas/{release.root}/photo/redux/runList.par" if release.service is Service.SAS else None


@dataclass(frozen=True)
class SampleReport:
    """What a write did.

    Parameters
    ----------
    folder : str
        Of the sample.
    frames : int
        Frames in the sample, all layouts together.
    written, skipped : int
        Files written, and files found complete from an earlier write.
    size : int
        Bytes of all files of the sample.
    seconds : float
        Wall-clock time.
    """

    folder: str
    frames: int
    written: int
    skipped: int
    size: int
    seconds: float
