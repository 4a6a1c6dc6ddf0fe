"""Make the published lists from a run list: `python -m kira.datasets.make RUNLIST FOLDER`.

The rule is in `datasets/README.md`. Nothing here is drawn at random: the same run list gives the same bytes.
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from kira.datasets.lists import DataSet, Stretch
from kira.errors import InvalidInput, KiraError
from kira.sdss import BANDS, Release
from kira.sdss.runlist import ImagingRun, read_run_list

RELEASE = Release(7)
SIZES = {"small": 2_310, "medium": 11_150, "large": 176_938}
"""Frames of the data sets of the paper; the tiny one, of 4, is chosen by hand."""

FIRST = (4192, 40)
"""Run and rerun that the lists begin with: of few runs of DR7 it is known in which rerun they are served."""
TINY = Stretch(*FIRST, camcol=4, first=300, last=300, bands=BANDS[:4])
"""The field whose frames the tests of Kira have, so that what they hold is known to the last source."""

FROM_RUN, LEAST_FIELDS = 745, 200
_LIST_RERUN = 301  # of a run list's rows: a reduction of the same pixels that came after DR7


def make(text: str) -> tuple[DataSet, ...]:
    """Make the data sets from the text of a `runList.par`.

    Raises
    ------
    InvalidInput
        If it is no run list, or has too few runs.
    """
    runs = {run.run: run for run in read_run_list(text) if run.rerun == _LIST_RERUN and run.done and run.calib}
    if FIRST[0] not in runs:
        raise InvalidInput(f"The run list does not have run {FIRST[0]}, which the data sets begin with.")
    made_from = f"made from a run list with SHA-256 {hashlib.sha256(text.encode()).hexdigest()}"
    tiny = DataSet("tiny", RELEASE, (TINY,), ("one field of run 4192 in the bands u, g, r and i",))
    rule = (
        f"run {FIRST[0]} rerun {FIRST[1]}, then runs from {FROM_RUN} on of at least {LEAST_FIELDS} fields, ascending;",
        "camcols 1 to 6, all fields, bands u, g, r, i, z, in this order, until the number of frames is reached;",
        made_from,
    )
    stretches = tuple(_in_order(runs))
    return tiny, *(DataSet(name, RELEASE, tuple(_first(stretches, n)), rule) for name, n in SIZES.items())


def _in_order(runs: dict[int, ImagingRun]) -> Iterator[Stretch]:
    rest = [n for n in sorted(runs) if n >= FROM_RUN and n != FIRST[0] and _fields(runs[n]) >= LEAST_FIELDS]
    for number in (FIRST[0], *rest):
        run = runs[number]
        rerun = FIRST[1] if number == FIRST[0] else None
        for camcol in range(1, 7):
            yield Stretch(number, rerun, camcol, run.first_field, run.last_field, BANDS)


def _fields(run: ImagingRun) -> int:
    return run.last_field - run.first_field + 1


def _first(stretches: Iterable[Stretch], frames: int) -> Iterator[Stretch]:
    """Stretches of exactly so many frames, from the beginning on."""
    for one in stretches:
        if one.count >= frames:
            fields, more = divmod(frames, len(BANDS))
            if fields:
                yield Stretch(one.run, one.rerun, one.camcol, one.first, one.first + fields - 1, BANDS)
            if more:
                last = one.first + fields
                yield Stretch(one.run, one.rerun, one.camcol, last, last, BANDS[:more])
            return
        yield one
        frames -= one.count
    raise InvalidInput(f"The run list has {frames:,} frames too few.")


def main(arguments: list[str]) -> int:
    """Write the lists; the status is that of the command."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m kira.datasets.make RUNLIST FOLDER\n")
        return 2
    source, folder = map(Path, arguments)
    try:
        for data_set in make(source.read_text(encoding="utf-8", errors="replace")):
            path = folder / f"{data_set.name}.txt"
            path.write_text(data_set.text(), encoding="utf-8")
            sys.stdout.write(f"{path}: {data_set.count:,} frames, SHA-256 {data_set.sha256}\n")
    except (KiraError, OSError) as error:
        sys.stderr.write(f"kira.datasets.make: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
