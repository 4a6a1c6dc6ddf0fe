"""The contenders: each measures the same frames, and says how long it took and what it found."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks import pool, sextractor
from benchmarks.frames import FrameFile
from benchmarks.memory import Peak
from benchmarks.work import Kira, Photutils, Sep, engines, with_engine
from kira.extraction import Profile


@dataclass(frozen=True)
class Run:
    """One measurement of one contender.

    Parameters
    ----------
    contender : str
    cores : int
    frames : int
    seconds : float
        Without the start-up, where the contender has one of its own.
    start_up : float
    sources : int
    work : float
        Seconds of all workers together; 0 where that is not known.
    peak_mb : dict of str to float
        See `benchmarks.memory.Peak`.
    counts : dict of str to int
        Sources by frame; not kept in the report.
    """

    contender: str
    cores: int
    frames: int
    seconds: float
    start_up: float
    sources: int
    work: float = 0.0
    peak_mb: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict, repr=False)

    @property
    def per_frame(self) -> float:
        """Seconds a frame."""
        return self.seconds / self.frames

    @property
    def throughput(self) -> float:
        """Frames a second."""
        return self.frames / self.seconds

    @property
    def per_frame_with_start_up(self) -> float:
        """Seconds a frame, the start-up counted."""
        return (self.seconds + self.start_up) / self.frames

    def as_dict(self) -> dict[str, Any]:
        """For the report's JSON."""
        return {name: value for name, value in asdict(self).items() if name != "counts"}


class Contender(Protocol):
    """One way to measure frames."""

    @property
    def name(self) -> str:
        """What it is called in the report."""

    @property
    def most_frames(self) -> int | None:
        """Take no more frames than this, for it is slow; None: all."""

    def run(self, files: Sequence[FrameFile], cores: int) -> Run:
        """Measure frames."""


@dataclass(frozen=True)
class InPool:
    """Something in Python, in a process pool.

    Parameters
    ----------
    name : str
    work : Work
    folder : Path
        For what it writes.
    most_frames : int, optional
    """

    name: str
    work: pool.Work
    folder: Path
    most_frames: int | None = None

    def run(self, files: Sequence[FrameFile], cores: int) -> Run:
        """Measure frames; what was written by the run before is removed."""
        files = files[: self.most_frames]
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        with Peak() as peak:
            done = pool.run(self.work, files, cores, out)
        return Run(
            self.name, cores, len(files), done.seconds, done.start_up, sum(done.sources.values()), done.work,
            peak.as_dict(), done.sources,
        )  # fmt: skip

    def parts(self) -> list[Path]:
        """Parquet files that the last run wrote."""
        return sorted((self.folder / "out").glob("*.parquet"))


@dataclass(frozen=True)
class SourceExtractor:
    """source-extractor with `xargs -P`.

    Parameters
    ----------
    name : str
    configured : Configured
    """

    name: str
    configured: sextractor.Configured
    most_frames: int | None = None

    def run(self, files: Sequence[FrameFile], cores: int) -> Run:
        """Measure frames, the program once for each: its start is part of its time, for so it is used."""
        seconds, counts, peak = self.configured.run(files, cores)
        about = {sextractor.PROGRAM: round(peak, 1)}
        return Run(self.name, cores, len(files), seconds, 0.0, sum(counts.values()), 0.0, about, counts)


def ours(engine: str) -> str:
    """Name of Kira in a process pool."""
    return f"Kira ({engine}), pool"


SEXTRACTOR = "source-extractor, xargs"
SAME_WORK = "Kira, source-extractor's work"
FEWER_CIRCLES = "source-extractor, 3 circles"
SEP = "sep by hand, pool"
PHOTUTILS = "photutils, pool"
PHOTUTILS_FRAMES = 4


def contenders(profile: Profile, folder: Path, *, slow: bool = True) -> tuple[list[Contender], list[str]]:
    """All that can measure what a profile measures on one machine, without servers.

    Parameters
    ----------
    profile : Profile
    folder : Path
    slow : bool
        With photutils, source-extractor's variant, and Kira's that does what source-extractor does and no more.

    Returns
    -------
    contenders : list of Contender
        Kira's last engine first.
    left_out : list of str
        Sentences about those that are not there.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{profile.kind}-", dir=folder))
    found: list[Contender] = [
        InPool(ours(engine), Kira(with_engine(profile, engine)), folder / engine) for engine in reversed(engines())
    ]
    left_out = []
    if sextractor.is_installed():
        found.append(SourceExtractor(SEXTRACTOR, sextractor.Configured.write(folder / "sextractor", profile)))
        if slow and profile.kind == "survey":
            same = sextractor.like_sextractor(with_engine(profile, engines()[-1]))
            found.append(InPool(SAME_WORK, Kira(same), folder / "same-work"))
            three = sextractor.Configured.write(folder / "sextractor-3", profile, circles=3)
            found.append(SourceExtractor(FEWER_CIRCLES, three))
    else:
        left_out.append("source-extractor is not installed (Debian: apt-get install source-extractor): left out.")
    found.append(InPool(SEP, Sep(profile), folder / "by-hand"))
    if slow:
        try:
            import photutils  # noqa: F401
        except ImportError:
            left_out.append("photutils is not installed (pip install photutils): left out.")
        else:
            found.append(InPool(PHOTUTILS, Photutils(profile), folder / "photutils", PHOTUTILS_FRAMES))
    return found, left_out
