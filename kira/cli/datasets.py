"""`kira datasets`: published lists of frames to measure with."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from kira.cli.archives import served_archive
from kira.cli.extract import profile_of
from kira.datasets import known_data_sets, open_data_set
from kira.datasets.fetch import Result, fetch, problems_file
from kira.errors import KiraError
from kira.sdss.archive import ArchiveClient
from kira.stack.config import StackConfig

app = typer.Typer(help=__doc__, no_args_is_help=True)
console = Console()
_MOST = 20
_EVERY = 30.0  # seconds between lines where there is no terminal to draw a bar on
NameArgument = Annotated[str, typer.Argument(help="tiny, small, medium, large, or the path of a list (.txt).")]


@app.callback()
def group() -> None:
    """Published lists of frames to measure with."""


@app.command("list")
def list_command() -> None:
    """Say which data sets there are."""
    table = Table()
    table.add_column("data set")
    table.add_column("release")
    for name in ("frames", "frames to fetch, about", "as FITS, about"):
        table.add_column(name, justify="right")
    for one in known_data_sets():
        table.add_row(one.name, str(one.release), f"{one.count:,}", *map(decimal, one.expected_bytes))
    console.print(table)


@app.command("show")
def show_command(
    name: NameArgument,
    frames: Annotated[bool, typer.Option("--frames", help="Every frame, one a line; what the SHA-256 is of.")] = False,
) -> None:
    """Print a data set's list."""
    data_set = open_data_set(name)
    if frames:
        for frame in data_set.names():
            typer.echo(frame)
    else:
        typer.echo(data_set.text(), nl=False)


@app.command("fetch")
def fetch_command(
    name: NameArgument,
    archive: Annotated[str, typer.Option(help="sdss, or a URL with das/ or sas/ below it.")] = "sdss",
    to: Annotated[Path | None, typer.Option(help="Folder. Default: datasets/NAME in the stack's folder.")] = None,
    connections: Annotated[int, typer.Option(min=1, max=16, help="Frames fetched at a time.")] = 4,
    profile: Annotated[
        str, typer.Option(help="Fetch what this extraction profile takes beside the frames; kira takes nothing.")
    ] = "survey",
) -> None:
    """Fetch a data set into a folder laid out like the archive; run again, it proves what is there and goes on."""
    data_set = open_data_set(name)
    source, kinds = served_archive(archive), profile_of(profile).beside
    folder = to.expanduser() if to else StackConfig.load().home / "datasets" / data_set.name
    with ArchiveClient(source, connections=connections) as client, _progress(data_set.count) as progress:
        result = fetch(data_set, client, folder, threads=connections, kinds=kinds, progress=progress)
    _show(result)
    if result.bad_beside:
        console.print("Without a file beside it a frame is measured otherwise; those that are not there are named in "
                      f"{problems_file(data_set, folder)}.", highlight=False, soft_wrap=True, markup=False)  # fmt: skip
    if not result.good:
        raise KiraError(
            f"Data set {data_set.name} is not whole: {result.sentence} {problems_file(data_set, folder)} names them; "
            "the same command tries them again."
        )
    console.print(f"It is in {folder.absolute()}: give it to make run as ARCHIVE=, with RELEASE={data_set.release}.",
                  highlight=False, soft_wrap=True, markup=False)  # fmt: skip


@contextmanager
def _progress(frames: int) -> Iterator[Callable[[Result], None]]:
    """A bar on a terminal, a line now and then elsewhere; with the rate at which new bytes come."""
    errors = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(30), MofNCompleteColumn(), TextColumn("{task.fields[said]}"),
               TimeRemainingColumn())  # fmt: skip
    began = last = time.monotonic()
    with Progress(*columns, console=errors, disable=not errors.is_terminal, transient=True) as bars:
        task = bars.add_task("frames", total=frames, said="")

        def tell(result: Result) -> None:
            nonlocal last
            now = time.monotonic()
            seconds = max(now - began, 1e-3)
            said = f"{decimal(result.new_bytes)} new, {decimal(int(result.new_bytes / seconds))}/s"
            said += f", {len(result.bad):,} not there" if result.bad else ""
            said += f", {len(result.bad_beside):,} files beside them not there" if result.bad_beside else ""
            bars.update(task, completed=result.done, said=said)
            if not errors.is_terminal and now - last >= _EVERY:
                last = now
                left = seconds / result.done * (frames - result.done)
                typer.echo(f"{result.done:,} of {frames:,} frames, {said}, about {left / 60:,.0f} min left", err=True)

        yield tell


def _show(result: Result) -> None:
    if result.bad:
        table = Table(title="Frames that are not there")
        for name in ("frame", "what", "why"):
            table.add_column(name, overflow="fold")
        for one in result.bad[:_MOST]:
            table.add_row(one.frame, one.state, escape(one.reason))
        console.print(table)
        if len(result.bad) > _MOST:
            console.print(f"… and {len(result.bad) - _MOST:,} more.")
    good = ", ".join(f"{count:,} {state}" for state, count in result.counts.items())
    beside = ", ".join(f"{count:,} {state}" for state, count in result.beside.items())
    good += f"; beside them: {beside}" if beside else ""
    console.print(f"{result.sentence}\nIn all: {good}; {decimal(result.bytes)}, as FITS {decimal(result.plain_bytes)}.",
                  highlight=False, soft_wrap=True, markup=False)  # fmt: skip
