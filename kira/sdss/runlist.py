"""Lists of imaging runs and of fields that SDSS and others published as text.

Of the libraries that read SDSS's Yanny format, pydl is the only general one: 1,300 lines, last released in 2024, and it
needs scipy and astropy to read one table of ten columns, so the few lines that `runList.par` needs are here.
"""

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from kira.errors import InvalidInput
from kira.sdss.identifiers import FrameId
from kira.sdss.listing import ExpectedFolder
from kira.sdss.positions import FieldsByPlace
from kira.sdss.quoting import quoted
from kira.sdss.selection import Selection

_TABLE = "RUNDATA"
_COLUMNS = ("run", "rerun", "exist", "done", "calib", "startfield", "endfield")
_LONGEST_ROW = 2000  # those of SDSS have 100 characters
_BEGIN = re.compile(r"typedef\s+struct\s*\{")
_END = re.compile(rf"\}}\s*{_TABLE}\s*;", re.IGNORECASE)
_MEMBER = re.compile(r"\w+\s+(\w+)\s*(?:\[\d*\])*\s*;", re.ASCII)
_TRIPLE = re.compile(r"RUN=(\d{1,6})\s+CAMCOL=([1-6])\s+FIELD=(\d{1,4})", re.ASCII)


@dataclass(frozen=True)
class ImagingRun:
    """One row of `runList.par`: an imaging run in one reduction.

    Parameters
    ----------
    run, rerun : int
    exist : bool
        It was ever queued.
    done : bool
        It was reduced: frames exist.
    calib : bool
        It was calibrated.
    first_field, last_field : int
        First and last field of every camera column; 0 unless done.
    """

    run: int
    rerun: int
    exist: bool
    done: bool
    calib: bool
    first_field: int
    last_field: int


class Triple(NamedTuple):
    """A field without its rerun: run, camcol, field."""

    run: int
    camcol: int
    field: int


def read_run_list(text: str) -> tuple[ImagingRun, ...]:
    """Read the text of a `runList.par`, columns in the order that its own `typedef` gives.

    Raises
    ------
    InvalidInput
        With the number of the first line that is not understood.
    """
    columns: list[str] = []
    inside = False
    runs: dict[tuple[int, int], ImagingRun] = {}
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        if inside:
            inside = not _END.fullmatch(content)
            columns += [_member(content, number)] if inside else []
        elif _BEGIN.fullmatch(content) and not columns:
            inside = True
        else:
            run = _row(content, columns, number)
            if runs.setdefault((run.run, run.rerun), run) is not run:
                raise _wrong(number, f"run {run.run} rerun {run.rerun} is there twice")
    if inside or not columns:
        raise InvalidInput(f"The run list has no whole definition of {_TABLE}; it is not a runList.par, or cut short.")
    return tuple(runs.values())


def folders_from_run_list(
    runs: Iterable[ImagingRun], selection: Selection, in_sky: FieldsByPlace | None = None
) -> Iterator[ExpectedFolder]:
    """Folders of frames of a selection that exist by a run list: reduced, of the release's rerun, in order.

    Parameters
    ----------
    runs : iterable of ImagingRun
    selection : Selection
    in_sky : dict, optional
        Fields by run and camcol of the patch of sky that the selection asks for.
    """
    release = selection.release
    asked = (r for r in runs if r.done and r.rerun in release.reruns and r.run in selection.runs)
    bands = tuple(sorted(selection.bands))
    for run in sorted(asked, key=lambda r: (r.run, r.rerun)):
        fields = [f for f in range(run.first_field, run.last_field + 1) if f in selection.fields]
        for camcol in (c for c in range(1, 7) if c in selection.camcols):
            place = run.run, camcol
            if in_sky is not None and place not in in_sky:
                continue
            here = fields if in_sky is None else [f for f in fields if f in in_sky[place]]
            yield ExpectedFolder(release, run.run, run.rerun, camcol, tuple(here), bands)


def frames_from_run_list(runs: Iterable[ImagingRun], selection: Selection) -> Iterator[FrameId]:
    """Frames of a selection that exist by a run list, in `FrameId` order; see `folders_from_run_list`."""
    for folder in folders_from_run_list(runs, selection):
        yield from (listed.frame for listed in folder.listed)


def read_triples(text: str) -> tuple[Triple, ...]:
    """Read lines such as `RUN=4153 CAMCOL=4 FIELD=100`; empty lines and those that begin with `#` are passed over.

    Raises
    ------
    InvalidInput
        With the number of the first line that is not understood.
    """
    triples = []
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        match = _TRIPLE.fullmatch(content)
        if not match:
            raise _wrong(number, f"{quoted(content)} is not of the form RUN=4153 CAMCOL=4 FIELD=100")
        triples.append(Triple(*map(int, match.groups())))
    return tuple(triples)


def _member(content: str, number: int) -> str:
    match = _MEMBER.fullmatch(content)
    if not match:
        raise _wrong(number, f"{quoted(content)} is not a column of {_TABLE}")
    return match[1].lower()


def _row(content: str, columns: list[str], number: int) -> ImagingRun:
    if len(content) > _LONGEST_ROW:
        raise _wrong(number, f"{quoted(content)} is not a row of {_TABLE}")
    try:
        table, *cells = shlex.split(content)
        row = dict(zip(columns, cells, strict=True))
        run, rerun, exist, done, calib, first, last = (int(row[name]) for name in _COLUMNS)
    except (ValueError, KeyError):
        raise _wrong(number, f"{quoted(content)} is not a row of {_TABLE}") from None
    if table.upper() != _TABLE or {exist, done, calib} - {0, 1}:
        raise _wrong(number, f"{quoted(content)} is not a row of {_TABLE}")
    if not (1 <= run <= 999_999 and 0 <= rerun <= 9999):
        raise _wrong(number, f"there is no run {run} rerun {rerun}")
    if done and not 0 <= first <= last <= 9999:
        raise _wrong(number, f"run {run} is done, but fields {first} to {last} are no range")
    return ImagingRun(run, rerun, bool(exist), bool(done), bool(calib), first, last)


def _wrong(number: int, text: str) -> InvalidInput:
    return InvalidInput(f"Line {number}: {text}.")
