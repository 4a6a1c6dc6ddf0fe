"""`kira record` and `kira reproduce`: keep what made a catalogue, and make it again."""

import json
import os
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Annotated

import pyarrow as pa
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kira.cli.extract import profile_of
from kira.errors import InvalidInput, KiraError
from kira.records.again import (
    ArchiveSource,
    FolderSource,
    Kept,
    Reproduction,
    Source,
    folders_of,
    recorded_rows,
    reproduce,
)
from kira.records.keeping import keep_record, kept_files, kept_folder, kept_record
from kira.records.record import FrameLine, Record, make_record, write_record
from kira.sdss.archive import SDSS, ArchiveClient
from kira.sdss.quoting import one_line
from kira.stack.config import StackConfig
from kira.stages.plan import report_path
from kira.storage import Readable, Store, open_readable, open_store

console = Console()
_MOST = 20


def record(
    dag_run: Annotated[str, typer.Argument(help="Id of the DAG run, as Airflow shows it.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the record, which must not be there.")
    ] = None,
    archive: Annotated[str, typer.Option(help="Archive's name, if the run's id is not enough.")] = "",
    stage: Annotated[
        str, typer.Option(help="Root of the staging store. Default: KIRA_STAGE_URL, or the local stack's.")
    ] = "",
    anew: Annotated[
        bool,
        typer.Option("--anew", help="From what is there now; without --out in place of the one that the run kept."),
    ] = False,
) -> None:
    """Write the record of a DAG run: frames and checksums, parameters, code, versions, machine, times, and the rows."""
    store = _staging_store(stage)
    if out is None:
        if not anew:
            raise InvalidInput("Where to? kira record RUN --out FOLDER; or --anew, to make the one anew that it keeps.")
        _keep_anew(store, archive or _archive_of(store, dag_run), dag_run)
        return
    kept = None if anew else kept_folder(store, dag_run, archive)
    files = kept_files(store, kept) if kept else make_record(store, archive or _archive_of(store, dag_run), dag_run)
    write_record(files, out)
    read = Record.read(out)
    how = "as the run kept it" if kept else "made from what the run left"
    console.print(
        f"{len(read.frames):,} frames in {out}, {how}. Make them again: kira reproduce {out}", markup=False,
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _keep_anew(store: Store, archive: str, dag_run: str) -> None:
    made = keep_record(store, archive, dag_run)
    if made["problem"]:
        raise KiraError(made["problem"])
    console.print(
        f"The record is in {made['place']}. Make its frames again: kira reproduce {shlex.quote(dag_run)}", markup=False,
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _staging_store(url: str) -> Store:
    return open_store(url or os.environ.get("KIRA_STAGE_URL") or StackConfig.load().stage_url)


def _archive_of(store: Store, dag_run: str) -> str:
    """Name of the only archive of which a run has a plan."""
    names = [entry.name for entry in store.top() if entry.is_folder]
    found = [name for name in names if store.exists(report_path(name, dag_run, "plan"))]
    if len(found) != 1:
        why = f"has plans for {', '.join(found)}: say which by --archive" if found else "has left no plan"
        raise InvalidInput(f"DAG run {one_line(dag_run)} {why} on {store.url}.")
    return found[0]


def find_record(place: str, stage: str) -> Record:
    """Read a record from a folder, a URL, or the run that kept it.

    Parameters
    ----------
    place : str
        Folder, URL of a folder, or id of a DAG run.
    stage : str
        Root of the staging store, for a run's id; empty for `KIRA_STAGE_URL`, or that of the local stack.

    Raises
    ------
    InvalidInput
        If it is none of these.
    """
    if "://" in place:
        folder = open_readable(place)
        return Record.load(_reading(folder), folder.url)
    if Path(place).exists():
        return Record.read(Path(place))
    store = _staging_store(stage)
    kept = kept_folder(store, place)
    if kept is None:
        raise InvalidInput(
            f"{one_line(place)} is neither a folder nor a DAG run that has kept a record on {store.url}."
        )
    return kept_record(store, kept)


def _reading(folder: Readable) -> Callable[[str], bytes]:
    def content(path: str) -> bytes:
        with folder.open(path) as file:
            return file.read()

    return content


def reproduce_command(
    place: Annotated[
        str, typer.Argument(metavar="RECORD", help="Folder or URL of a record, or a DAG run that has one.")
    ],
    archive: Annotated[
        Path | None, typer.Option(help="Folder laid out like the archive. Default: the addresses of the record.")
    ] = None,
    catalogue: Annotated[str, typer.Option(help="The catalogue's folder or URL: columns that differ are named.")] = "",
    profile: Annotated[str, typer.Option(help="Other parameters: survey, kira, or a TOML file.")] = "",
    frames: Annotated[int | None, typer.Option(min=1, help="Take so many frames, evenly from all.")] = None,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="How often all is measured.")] = 1,
    slower_by: Annotated[
        float | None, typer.Option(min=0.01, help="Fail if extraction takes more than so many times what is recorded.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of sentences.")] = False,
    stage: Annotated[str, typer.Option(help="As for kira record, where RECORD is a DAG run.")] = "",
) -> None:
    """Measure a record's frames again, compare row for row, and say what differs and where that comes from."""
    read = find_record(place, stage)
    chosen = profile_of(profile) if profile else None
    bars = Progress(
        TextColumn("Measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with ExitStack() as stack:
        source: Source
        if archive is None:
            source = ArchiveSource(stack.enter_context(ArchiveClient(SDSS, connections=4)))
            if repeats > 1:
                source = Kept(source, Path(stack.enter_context(TemporaryDirectory(prefix="kira-reproduce-"))))
        elif archive.is_dir():
            source = FolderSource(archive)
        else:
            raise InvalidInput(f"{archive} is no folder.")
        rows_of = _rows_of(catalogue, read)
        task = stack.enter_context(bars).add_task("", total=None)
        found = reproduce(
            read, source, chosen, most_frames=frames, repeats=repeats, rows_of=rows_of,
            progress=lambda done, of: bars.update(task, completed=done, total=of),
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=1))
    else:
        _show(found)
    _fail_unless_the_same(found, slower_by)


def _fail_unless_the_same(found: Reproduction, slower_by: float | None) -> None:
    sentences = []
    if found.differences:
        sentences.append(f"{len(found.differences):,} of {found.frames:,} frames came out otherwise than recorded.")
    if found.not_had:
        sentences.append(f"{len(found.not_had):,} of {found.frames:,} frames could not be had, and were not compared.")
    ratio, _ = found.ratio
    if slower_by is not None and not 0 < ratio <= slower_by:
        took = f"took {ratio:.2f} times what is recorded" if ratio else "has no time that could be compared"
        sentences.append(f"Extraction {took}; {slower_by:g} is the most that was allowed.")
    if sentences:
        raise KiraError(" ".join(sentences))


def _rows_of(place: str, read: Record) -> Callable[[FrameLine], pa.Table | None] | None:
    if not place:
        return None
    folder = open_readable(place)
    batches = folders_of(read)
    if batches and not {entry.name for entry in folder.top()} & set(batches):
        raise InvalidInput(
            f"{folder.url} has none of the record's batches, such as {batches[0]}: --catalogue is the folder of a "
            "release and a profile, such as …/catalog/dr7/survey-1234abcd."
        )
    return recorded_rows(_reading(folder), read)


def _show(found: Reproduction) -> None:
    for difference in found.differences[:_MOST]:
        cause = f" [bold]({', '.join(difference.causes) or 'unexplained'})[/]"
        console.print(escape(difference.text) + cause, highlight=False, soft_wrap=True)
    if len(found.differences) > _MOST:
        console.print(f"… and {len(found.differences) - _MOST:,} more frames.", highlight=False)
    for sentence in found.harmless[:_MOST]:
        console.print(f"The rows are the same all the same: {sentence}", markup=False, highlight=False, soft_wrap=True)
    for name, texts in found.environment.items():
        console.print(f"Other {name}:", style="bold")
        for text in texts:
            console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)
    for sentence in found.not_had[:_MOST]:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    if found.identical:
        console.print(
            f"{found.frames:,} frames: every row is the same to the last bit.", style="green", highlight=False
        )
    if found.left_out:
        console.print(f"{found.left_out:,} frames were not measured, or had not been.", highlight=False)
    ratio, spread = found.ratio
    if ratio:
        repeats = len(found.seconds_now)
        more = f" ± {spread:.2f} over {repeats} repeats" if repeats > 1 else ""
        machine = ", on another machine" if "hardware" in found.environment else ""
        console.print(
            f"Extraction took {1e3 * mean(found.seconds_now):.0f} ms a frame, {ratio:.2f}{more} times what is recorded "
            f"({1e3 * found.seconds_before:.0f} ms{machine}). From frame to frame that differs by "
            f"{found.frame_spread:.2f} (standard deviation of {len(found.frame_ratios):,}).", highlight=False,
            soft_wrap=True,
        )  # fmt: skip
