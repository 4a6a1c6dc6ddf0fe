"""Scenarios of one machine without servers: one core against the equivalent program, then more cores."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks import agreement, sextractor
from benchmarks.contenders import (
    FEWER_CIRCLES,
    PHOTUTILS,
    PHOTUTILS_FRAMES,
    SAME_WORK,
    SEXTRACTOR,
    Contender,
    Run,
    contenders,
    ours,
)
from benchmarks.frames import FrameFile
from benchmarks.scenario import PROFILES, Bars, Lines, Result, Scenario, Setting, Table, Verdict
from benchmarks.timing import Spread, alternate
from benchmarks.work import deblends, engines
from kira.extraction import SurveyProfile

LEAST_RATIO = {"survey": 2.0, "kira": 1.8}
"""Throughput of Kira's engine over source-extractor's, on one core."""
_COUNTED = (
    "The time of contenders in a pool is from the first frame to the last in processes that run and are warm (their "
    "start-up is told beside it): reading the plain FITS bytes, coordinates, measuring, and writing Parquet. That of "
    "source-extractor is its command from beginning to end, the program started once for each frame, as it is used: "
    "reading the same file, measuring, and writing a FITS table. Every process has one thread."
)
_NOT_EQUAL = (
    "What is timed as Kira's profile survey is all of it: a dithered background, a second pass of it, errors from the "
    "noise of every pixel, the aperture correction of stars. source-extractor and sep by hand have no counterpart of "
    "these and are not charged for them; sources differ by some per cent for that. Beside it stands Kira's fast engine "
    "with what source-extractor measures too, and nothing else but the flux of stars."
)


class OneCore(Scenario):
    """The equivalent program, on one core."""

    name = "one-core"
    title = "One core, against the equivalent program"
    expectation = """
    With the measurements of the profile survey Kira's engine has at least 2.0 times the throughput of source-extractor
    on one core, and 3 is aimed at; with those of the profile kira at least 1.8 times. sep by hand is slower than
    source-extractor at survey, for its windowed positions and radii sample every pixel. photutils is slower by an
    order of magnitude and more.
    """

    def run(self, setting: Setting, result: Result) -> None:
        """Both profiles, one after the other."""
        files = setting.frames.make(setting.sizes.one_core)
        result.notes += [_COUNTED, _NOT_EQUAL]
        with tempfile.TemporaryDirectory(dir=setting.folder) as name:
            for kind, profile in PROFILES.items():
                _prove(setting, result, files, kind, Path(name))
                taking_part, left_out = contenders(profile(), Path(name))
                result.notes += [line for line in left_out if line not in result.notes]
                runs = in_turn(setting, result, taking_part, files, 1, kind)
                _one_core_verdicts(result, runs, kind)
            _start_up_of_sextractor(result, Path(name))


class Cores(Scenario):
    """More cores."""

    name = "cores"
    title = "More cores"
    expectation = """
    All contenders scale alike up to the number of cores, for frames have nothing to do with each other: at least 90 %
    of the throughput of one core times their number, less where cores share memory bandwidth or are two threads of
    one. The ratio to source-extractor stays what it is on one core.
    """

    def run(self, setting: Setting, result: Result) -> None:
        """The profile survey on one core, two, four, and so on."""
        files = setting.frames.make(setting.sizes.cores)
        steps = sorted({*(2**i for i in range(8) if 2**i <= setting.cores), setting.cores})
        result.notes.append(_COUNTED)
        if steps == [1]:
            result.notes.append("The machine has one core: there is nothing to scale to.")
        profile = PROFILES["survey"]()
        with tempfile.TemporaryDirectory(dir=setting.folder) as name:
            _prove(setting, result, files, "survey", Path(name))
            taking_part, left_out = contenders(profile, Path(name), slow=False)
            result.notes += left_out
            table = Table("Frames a second", ["contender", *(f"{n} cores" for n in steps), "efficiency"])
            lines: dict[str, list[list[float]]] = {one.name: [] for one in taking_part}
            # Steps are measured one after the other; within each the contenders alternate.
            for cores in steps:
                runs = in_turn(setting, result, taking_part, files, cores, "survey", table=False)
                for contender, spread in throughputs(runs).items():
                    lines[contender].append([cores, spread.median, spread.least, spread.most])
            for contender, points in lines.items():
                efficiency = points[-1][1] / (points[0][1] * points[-1][0])
                figures = [f"{median:.3g} ({least:.3g}–{most:.3g})" for _, median, least, most in points]
                table.rows.append([contender, *figures, f"{efficiency:.0%}"])
            result.tables.append(table)
            result.plots.append(Lines("cores", "Throughput", "cores", "frames a second", lines))


def in_turn(
    setting: Setting, result: Result, taking_part: Sequence[Contender], files: list[FrameFile], cores: int, kind: str,
    *, table: bool = True,
) -> dict[str, list[Run]]:  # fmt: skip
    """Let contenders measure the same frames in alternation, and keep what they took."""
    setting.say(f"{kind}: {len(files)} frames on {cores} {'core' if cores == 1 else 'cores'}, {setting.repeats} rounds")
    calls = {one.name: partial(lambda one, _: one.run(files, cores), one) for one in taking_part}
    runs = alternate(calls, setting.repeats, setting.tell)
    for measured in runs.values():
        result.keep(measured, profile=kind)
    if table:
        result.tables.append(_table(runs, f"{kind}, {cores} {'core' if cores == 1 else 'cores'}, {len(files)} frames"))
    return runs


def throughputs(runs: Mapping[str, Sequence[Run]]) -> dict[str, Spread]:
    """Frames a second of each contender."""
    return {name: Spread.of([run.throughput for run in measured]) for name, measured in runs.items()}


def _table(runs: Mapping[str, Sequence[Run]], title: str) -> Table:
    table = Table(
        title,
        ["contender", "frames a second", "ms a frame", "± MAD", "start-up, s", "peak of a process, MiB", "sources"],
    )
    for name, measured in runs.items():
        spread = Spread.of([1e3 * run.per_frame for run in measured])
        start = Spread.of([run.start_up for run in measured])
        peak = max((value for run in measured for role, value in run.peak_mb.items() if role != "together"), default=0)
        few = f" in {measured[0].frames} frames" if name == PHOTUTILS else ""
        table.rows.append([
            name, throughputs({name: measured})[name].text(), spread.text(), f"{spread.mad:.2g}",
            f"{start.median:.2g}" if start.median else "in it", f"{peak:.0f}", f"{measured[0].sources:,}{few}",
        ])  # fmt: skip
    return table


def _prove(setting: Setting, result: Result, files: list[FrameFile], kind: str, folder: Path) -> None:
    """Hold the numbers against each other on one copy of every original."""
    one_of_each = files[: len(setting.frames.ordinary)]
    setting.say(f"{kind}: proving agreement on {len(one_of_each)} frames")
    for proof in agreement.prove(one_of_each, PROFILES[kind](), folder):
        setting.say(f"  {proof.text()}")
        result.proofs.append(proof.text())


def _one_core_verdicts(result: Result, runs: Mapping[str, Sequence[Run]], kind: str) -> None:
    rates = throughputs(runs)
    engine = ours(engines()[-1])
    if SEXTRACTOR in rates:
        ratio = rates[engine].median / rates[SEXTRACTOR].median
        result.verdicts.append(
            Verdict(
                f"{kind}, one core: throughput of {engine} over source-extractor's", ratio, LEAST_RATIO[kind], False
            )
        )
    if SAME_WORK in rates and SEXTRACTOR in rates:
        ratio = rates[SAME_WORK].median / rates[SEXTRACTOR].median
        about = f"{kind}, one core: the same where both do the same work"
        result.verdicts.append(Verdict(about, ratio, LEAST_RATIO[kind], False))
    if FEWER_CIRCLES in rates:
        ratio = rates[engine].median / rates[FEWER_CIRCLES].median
        result.notes.append(
            f"{kind}: the profile has six circles, and so has source-extractor here. Against source-extractor with "
            f"three circles Kira's throughput with its six is {ratio:.2f} times as high."
        )
    if PHOTUTILS in rates:
        result.notes.append(
            f"photutils measures the first {min(PHOTUTILS_FRAMES, runs[PHOTUTILS][0].frames)} frames only. Its numbers "
            "are not held against the others': its background, deblending and Kron radius are defined otherwise."
            + ("" if deblends() else " It does not deblend here, for scikit-image is not installed: it does less work.")
        )
    values = {name: [one.median, one.least, one.most] for name, one in rates.items()}
    result.plots.append(Bars(f"one-core-{kind}", f"One core, {kind}", "frames a second", values))


def _start_up_of_sextractor(result: Result, folder: Path) -> None:
    if not sextractor.is_installed():
        return
    seconds = sextractor.Configured.write(folder / "start", SurveyProfile()).start_up()
    result.notes.append(f"The start of source-extractor, for an image of 64 x 64 pixels, takes {1e3 * seconds:.0f} ms.")
