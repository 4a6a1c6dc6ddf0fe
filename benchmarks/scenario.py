"""What a scenario is: an expectation that is written down first, then what was measured, then what held."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contenders import Run
from benchmarks.frames import Frames
from benchmarks.machine import cpus
from kira.extraction import Parameters, Profile, SurveyProfile

PROFILES: dict[str, Callable[[], Profile]] = {"survey": SurveyProfile, "kira": Parameters}


@dataclass(frozen=True)
class Sizes:
    """How many frames each scenario takes; all follow from one number, so that a small run is small throughout.

    Parameters
    ----------
    frames : int
        Of the Spark job and the ingestion.
    """

    frames: int = 500

    @property
    def one_core(self) -> int:
        """Ten of each of a dozen frames at most."""
        return max(4, min(120, self.frames // 10))

    @property
    def cores(self) -> int:
        """Enough for several pieces of work a core."""
        return max(8, self.frames // 5)

    @property
    def growth(self) -> tuple[int, ...]:
        """A tenth, one and ten times as many."""
        return tuple(sorted({max(5, self.frames // 10), max(5, self.frames), self.frames * 10}))

    @property
    def tail(self) -> tuple[int, int]:
        """Ordinary frames, and crowded ones: one in a hundred."""
        crowded = max(1, self.frames * 2 // 500)
        return max(8, min(100 * crowded, self.frames)), crowded

    @property
    def scaling(self) -> tuple[int, int]:
        """A small job and a larger one: what each frame costs is told from what both took."""
        large = max(20, self.frames)
        return max(10, large // 5), large

    @property
    def hosts(self) -> int:
        """Enough for several tasks a host; each case of many takes some seconds, and as many for its start."""
        return max(12, self.frames // 5)

    @property
    def wire(self) -> int:
        """Some seconds' worth of bytes."""
        return max(5, self.frames // 5)


@dataclass(frozen=True)
class Verdict:
    """One line of what must hold.

    Parameters
    ----------
    what : str
    value, limit : float
    most : bool
        Whether the limit is the most that may be; else it is the least.
    unit : str
    """

    what: str
    value: float
    limit: float
    most: bool
    unit: str = ""

    @property
    def held(self) -> bool:
        """Whether it holds."""
        return self.value <= self.limit if self.most else self.value >= self.limit

    def as_dict(self) -> dict[str, Any]:
        """For the report's JSON."""
        return asdict(self) | {"held": self.held}

    def text(self) -> str:
        """In one line."""
        word = "at most" if self.most else "at least"
        answer = "HOLDS" if self.held else "DOES NOT HOLD"
        return f"{answer}: {self.what}: {self.value:.3g}{self.unit} ({word} {self.limit:g}{self.unit})"


@dataclass
class Table:
    """A table of the report.

    Parameters
    ----------
    title : str
    columns : list of str
    rows : list of list of str
    """

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)


@dataclass
class Bars:
    """A plot: a value for each of some things, with the least and the most.

    Parameters
    ----------
    name : str
        Of the file, without its ending.
    title, unit : str
    values : dict of str to list of float
        Median, least, most.
    limit : float, optional
        Drawn as a line.
    """

    name: str
    title: str
    unit: str
    values: dict[str, list[float]]
    limit: float | None = None


@dataclass
class Lines:
    """A plot: values against a number.

    Parameters
    ----------
    name : str
    title, x_label, y_label : str
    lines : dict of str to list of (float, float, float, float)
        x, median, least, most.
    log : bool
        Whether x is logarithmic.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    lines: dict[str, list[list[float]]]
    log: bool = False


@dataclass
class Result:
    """What a scenario has to say.

    Parameters
    ----------
    name, title, expectation : str
    proofs, notes : list of str
        Comparisons that held before anything was timed; what a reader has to know.
    tables : list of Table
    verdicts : list of Verdict
    plots : list of Bars or Lines
    runs : list of dict
        Every single measurement.
    failed : str
        Why it came to no end; empty if it did.
    """

    name: str
    title: str
    expectation: str
    proofs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    plots: list[Bars | Lines] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    failed: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the report's JSON."""
        plots = [asdict(plot) | {"kind": type(plot).__name__} for plot in self.plots]
        return asdict(self) | {"verdicts": [one.as_dict() for one in self.verdicts], "plots": plots}

    def keep(self, runs: Sequence[Run], **about: Any) -> None:
        """Keep every single measurement."""
        self.runs += [run.as_dict() | about for run in runs]


@dataclass(frozen=True)
class Setting:
    """What all scenarios are given.

    Parameters
    ----------
    frames : Frames
    folder : Path
        For files that are no part of the report.
    sizes : Sizes
    repeats, long_repeats : int
        How often each contender has its turn; the second where one takes minutes.
    cores : int
        Most to be used.
    say : callable
        Called with a line of progress.
    """

    frames: Frames
    folder: Path
    sizes: Sizes = field(default_factory=Sizes)
    repeats: int = 5
    long_repeats: int = 3
    cores: int = field(default_factory=lambda: len(cpus()))
    say: Callable[[str], None] = print

    def tell(self, name: str, number: int, run: Run) -> None:
        """Say what a contender has just done."""
        self.say(
            f"  round {number + 1}: {name}: {run.frames} frames, {run.cores} cores, {run.seconds:.2f} s, "
            f"{1e3 * run.per_frame:.1f} ms a frame, {run.sources:,} sources, peak {json.dumps(run.peak_mb)} MiB"
        )


class Scenario:
    """One question, with the answer that is expected.

    Attributes
    ----------
    name, title, expectation : str
        The expectation is fixed here, before anything is measured.
    """

    name = ""
    title = ""
    expectation = ""

    def begin(self) -> Result:
        """Write down the expectation."""
        return Result(self.name, self.title, " ".join(self.expectation.split()))

    def run(self, setting: Setting, result: Result) -> None:
        """Prove, measure, and fill in the result."""
        raise NotImplementedError
