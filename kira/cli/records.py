"""`kira record` and `kira reproduce`: keep what made a catalogue, and make it again."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kira.cli.extract import profile_of
from kira.errors import InvalidInput, KiraError
from kira.records.again import ArchiveSource, FolderSource, Reproduction, Source, recorded_rows, reproduce
from kira.records.record import FrameLine, Record, make_record, write_record
from kira.sdss.archive import SDSS, ArchiveClient
from kira.stack.config import StackConfig
from kira.storage import open_readable, open_store

console = Console()
_MOST = 20


def record(
    dag_run: Annotated[str, typer.Argument(help="Id of the DAG run, as Airflow shows it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the record, which must not be there.")],
    archive: Annotated[str, typer.Option(help="Name of the archive that it ingested from.")] = "sample",
    stage: Annotated[str, typer.Option(help="Root of the staging store; by default that of the local stack.")] = "",
) -> None:
    """Write the record of a DAG run: frames and checksums, parameters, code, versions, machine, times, and the rows."""
    files = make_record(open_store(stage or StackConfig.load().stage_url), archive, dag_run)
    write_record(files, out)
    read = Record.read(out)
    console.print(
        f"{len(read.frames):,} frames in {out}. Make them again: kira reproduce {out}", markup=False, highlight=False,
        soft_wrap=True,
    )  # fmt: skip


def reproduce_command(
    place: Annotated[Path, typer.Argument(metavar="RECORD", help="Folder that kira record wrote.")],
    archive: Annotated[
        Path | None, typer.Option(help="Folder laid out like the archive. Default: the addresses of the record.")
    ] = None,
    catalogue: Annotated[str, typer.Option(help="The catalogue's folder or URL: columns that differ are named.")] = "",
    profile: Annotated[str, typer.Option(help="Other parameters: survey, kira, or a TOML file.")] = "",
    frames: Annotated[int | None, typer.Option(min=1, help="Take so many frames, evenly from all.")] = None,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="How often all is measured.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of sentences.")] = False,
) -> None:
    """Measure a record's frames again, compare row for row, and say what differs and where that comes from."""
    read = Record.read(place)
    chosen = profile_of(profile) if profile else None
    bars = Progress(
        TextColumn("Measuring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with ExitStack() as stack:
        source: Source
        if archive is None:
            source = ArchiveSource(stack.enter_context(ArchiveClient(SDSS, connections=4)))
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
    if not found.identical:
        raise KiraError(f"{len(found.differences):,} of {found.frames:,} frames came out otherwise than recorded.")


def _rows_of(place: str, read: Record) -> Callable[[FrameLine], pa.Table | None]:
    if not place:
        return lambda _line: None
    folder = open_readable(place)

    def content(path: str) -> bytes:
        with folder.open(path) as file:
            return file.read()

    return recorded_rows(content, read)


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
        console.print(
            f"Extraction took {1e3 * found.seconds_now[0]:.0f} ms a frame, {ratio:.2f}{more} times what is recorded "
            f"({1e3 * found.seconds_before:.0f} ms).", highlight=False, soft_wrap=True,
        )  # fmt: skip
