"""Benchmarks of Kira: proofs first, then times, then what held.

    python -m benchmarks.run [--scenarios one-core,cores] [--frames 500] [--repeats 5] [--archive DIR] [--data-set NAME]
        [--report DIR]

Each scenario writes down what is expected before it measures, and proves that its contenders do the same work. ARCHIVE
is a folder laid out like SDSS's archives (`das/` and `sas/` below it); without one frames are rendered, and the report
says so. With a data set it is exactly the frames of its list, from the folder that `kira datasets fetch` put them into;
the crowded frame of `tail` and `scaling` is rendered where M2's is not given, and the report says so.
The report (`report.md`, `report.json`, plots) is written after each scenario. Exit status: 0 if all that must hold
holds, 1 if something does not, 2 if a scenario came to no end.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from benchmarks import hosts, machine, report
from benchmarks.frames import Frames
from benchmarks.scenario import Result, Scenario, Setting, Sizes
from kira.datasets import open_data_set
from kira.errors import InvalidInput, KiraError
from kira.sdss import Service
from kira.stack.config import StackConfig

REPORT = Path(__file__).parent / "report"


def scenarios() -> dict[str, Scenario]:
    """All scenarios, in the order in which they are run."""
    from benchmarks.ingest import Ingest
    from benchmarks.local import Cores, OneCore
    from benchmarks.locality import Locality
    from benchmarks.scaling import Scaling
    from benchmarks.spark import AgainstPool, Growth, Tail
    from benchmarks.wire import Wire

    known = (OneCore(), Cores(), AgainstPool(), Tail(), Growth(), Wire(), Ingest(), Scaling(), Locality())
    return {one.name: one for one in known}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    known = scenarios()
    given = _parser(list(known)).parse_args(arguments)
    chosen = [name for name in given.scenarios.split(",") if name] or list(known)
    if unknown := set(chosen) - known.keys():
        print(f"There are no scenarios {', '.join(sorted(unknown))}: use {', '.join(known)}.", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")  # astropy's, about traps of SDSS's headers
    os.environ.update(machine.ONE_THREAD)
    with tempfile.TemporaryDirectory(prefix="kira-bench-", dir=given.work) as name:
        folder = Path(name)
        try:
            frames = _frames(given, folder / "made")
            chosen = _that_can_be(chosen, frames, asked_for=bool(given.scenarios))
        except (KiraError, OSError) as error:
            print(error, file=sys.stderr)
            return 2
        most = min(Sizes.frames, frames.data_set.count) if frames.data_set else Sizes.frames
        setting = Setting(
            frames, folder, Sizes(given.frames or most), given.repeats, given.long_repeats,
            given.cores or len(machine.cpus()), say=lambda line: print(line, flush=True),
        )  # fmt: skip
        results = run([known[one] for one in chosen], setting, given.report)
    print(f"\nThe report is {given.report / report.MARKDOWN}.")
    if any(result.failed for result in results):
        return 2
    return int(not all(one.held for result in results for one in result.verdicts))


def _frames(given: argparse.Namespace, folder: Path) -> Frames:
    if not given.data_set:
        return Frames.of(given.archive, folder, given.copies)
    data_set = open_data_set(given.data_set)
    archive = given.archive or StackConfig.load().home / "datasets" / data_set.name
    return Frames.of_data_set(data_set, archive, folder, given.copies)


def _that_can_be(chosen: list[str], frames: Frames, *, asked_for: bool) -> list[str]:
    """Leave out what cannot be measured here, or on a data set's frames; InvalidInput if wire was asked for by name."""
    left_out = {}
    if "wire" in chosen and frames.release.service is Service.DAS:
        why = f"The scenario wire measures how frames packed by bz2 are fetched; those of {frames.release} are not."
        if asked_for:
            raise InvalidInput(f"{why} Leave it out, or take a data set of dr8 or later.")
        left_out["wire"] = f"{why} It is left out."
    # Asked for by name, it ends with this sentence in the report.
    if "locality" in chosen and not asked_for and (reason := hosts.why_not()):
        left_out["locality"] = f"{reason} The scenario locality is left out."
    for line in left_out.values():
        print(line, flush=True)
    return [name for name in chosen if name not in left_out]


def run(chosen: Sequence[Scenario], setting: Setting, folder: Path) -> list[Result]:
    """Run scenarios and write the report after each.

    Parameters
    ----------
    chosen : sequence of Scenario
    setting : Setting
    folder : Path
        Of the report.
    """
    about = {
        "machine": machine.describe(setting.folder), "frames": setting.frames.describe(), "cores": setting.cores,
        "synthetic": setting.frames.synthetic, "repeats": setting.repeats, "long_repeats": setting.long_repeats,
        "frames_asked_for": setting.sizes.frames,
    }  # fmt: skip
    for line in report.about(about):
        setting.say(line.replace("**", ""))
    results: list[Result] = []
    for scenario in chosen:
        result = scenario.begin()
        results.append(result)
        setting.say(f"\n{scenario.title} ({scenario.name})\nExpected: {result.expectation}")
        began = time.monotonic()
        try:
            scenario.run(setting, result)
        except Exception as error:  # noqa: BLE001 - becomes part of the report; the other scenarios go on
            result.failed = f"{type(error).__name__}: {error}"
            setting.say(traceback.format_exc())
        for verdict in result.verdicts:
            setting.say(verdict.text())
        if setting.sizes.frames < Sizes.frames:
            note = f"Fewer frames than the {Sizes.frames} that the limits are meant for: the verdicts are a rehearsal."
            result.notes.append(note)
        setting.say(f"{scenario.name}: {time.monotonic() - began:.0f} s")
        report.write(folder, about, results)
    return results


def _parser(names: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenarios", default="", help=f"some of {', '.join(names)}; default: all")
    parser.add_argument(
        "--frames",
        type=_positive,
        default=None,
        help=f"of the Spark job and the ingestion; default: {Sizes.frames}, or the data set's, if fewer",
    )
    parser.add_argument("--repeats", type=_positive, default=5, help="rounds of the quick scenarios")
    parser.add_argument("--long-repeats", type=_positive, default=3, help="rounds of those that take minutes")
    parser.add_argument("--cores", type=_positive, default=None, help="most to be used; default: all")
    parser.add_argument("--copies", type=_positive, default=None, help="files made of each frame; default: as fit")
    parser.add_argument("--archive", type=_folder, default=None, help="folder with das/ and sas/")
    parser.add_argument("--data-set", default="", help="tiny, small, medium, large, or a list: fetched before")
    parser.add_argument("--report", type=Path, default=REPORT, help="folder of the report")
    parser.add_argument("--work", type=Path, default=None, help="where the frames are made; default: /tmp")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def _folder(text: str) -> Path | None:
    if not text:
        return None
    path = Path(text).expanduser()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return path


if __name__ == "__main__":
    sys.exit(main())
