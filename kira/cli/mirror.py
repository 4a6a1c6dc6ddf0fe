"""`kira mirror`: is the S3 mirror what the archive is?"""

import json
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from kira.cli.archives import check_archive, choose_releases, find_source
from kira.errors import KiraError
from kira.sdss import Release, Selection
from kira.sdss.archive import ArchiveClient
from kira.stack.config import BUCKET, StackConfig
from kira.stack.local import LocalStack
from kira.stages.verify import BAD, Verdict, Verification, verify
from kira.storage import S3Mirror

app = typer.Typer(help=__doc__, no_args_is_help=True)
console = Console()
_MOST = 20


@app.callback()
def group() -> None:
    """Is the S3 mirror what the archive is?"""


@app.command("verify")
def verify_command(
    archive: Annotated[str, typer.Option(help="sample, sdss, a folder laid out like it, or a URL.")] = "sample",
    release: Annotated[str, typer.Option(help="For example dr12; several with commas. Default: all there are.")] = "",
    runs: Annotated[str, typer.Option(help="For example 94, 1000-1010. Default: all.")] = "",
    camcols: Annotated[str, typer.Option(help="For example 1-3. Default: all.")] = "",
    fields: Annotated[str, typer.Option(help="For example 11-100. Default: all.")] = "",
    bands: Annotated[str, typer.Option(help="Some of ugriz.")] = "ugriz",
    sky: Annotated[str, typer.Option(help="For example 'cone 10.5 -0.3 1' or 'box 350 10 -1 1', in degrees.")] = "",
    from_checksums_only: Annotated[
        bool, typer.Option("--from-checksums-only", help="Fetch no frame: without a published checksum, no proof.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, max=8, help="Frames compared at a time.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
) -> None:
    """Read every mirrored frame again and compare it with the archive, byte for byte; changes nothing."""
    # Nonsense is refused before anything is asked.
    Selection.parse("dr12", runs, camcols, fields, bands, sky)
    releases = tuple(dict.fromkeys(Release.parse(name) for name in release.split(",") if name.strip()))
    check_archive(archive)
    config = StackConfig.load()
    stack = LocalStack(config)
    if not stack.runs():
        raise KiraError("The stack does not run, and with it S3, where the mirror is: start it with make run.")
    source = choose_releases(find_source(archive, config.sample, stack), releases)
    mirror = S3Mirror(stack.s3_client(), BUCKET)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    results = {}
    with (
        ArchiveClient(source.archive, connections=threads) as client,
        Progress(*columns, console=console, disable=as_json or not console.is_terminal, transient=True) as bars,
    ):
        for one in source.releases:
            selection = Selection.parse(str(one), runs, camcols, fields, bands, sky)
            task = bars.add_task(f"comparing frames of {one}", total=None)
            results[str(one)] = verify(
                mirror, client, selection, threads=threads, from_checksums_only=from_checksums_only,
                progress=partial(_advance, bars, task),
            )  # fmt: skip
    if as_json:
        typer.echo(json.dumps({name: result.as_json() for name, result in results.items()}, indent=1))
    else:
        _show(results)
    bad = [f"{name}: {result.sentence}" for name, result in results.items() if not result.good]
    if bad:
        raise KiraError("The mirror is not proven to equal the archive. " + " ".join(bad))


def _advance(bars: Progress, task: TaskID, done: int) -> None:
    bars.update(task, completed=done)


def _show(results: dict[str, Verification]) -> None:
    table = Table(title="The mirror against the archive, frames")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    table.add_row("compared", *(f"{result.compared:,}" for result in results.values()))
    for verdict in Verdict:
        if verdict is Verdict.EQUAL or any(result.counts[verdict] for result in results.values()):
            style = "red" if verdict in BAD else ""
            table.add_row(verdict, *(f"{result.counts[verdict]:,}" for result in results.values()), style=style)
    table.add_row("by published checksum", *(f"{result.by_checksum:,}" for result in results.values()))
    table.add_row("by fetching again", *(f"{result.by_download:,}" for result in results.values()))
    table.add_row("MB of the mirror read", *(f"{result.bytes / 1e6:,.1f}" for result in results.values()))
    console.print(table)
    # The mirror of a part of the archive lacks most of it; that is told by its number.
    told = [f for result in results.values() for f in result.findings
            if f.verdict in BAD or f.verdict is Verdict.GONE]  # fmt: skip
    if told:
        details = Table(title="Frames to look at", show_lines=True)
        for name in ("frame", "what", "mirror", "archive"):
            details.add_column(name, overflow="fold")
        for finding in told[:_MOST]:
            details.add_row(
                finding.frame, finding.verdict, finding.mirror, escape(finding.archive or finding.reason)
            )  # fmt: skip
        console.print(details)
        if len(told) > _MOST:
            console.print(f"… and {len(told) - _MOST} more; --json has them.")
    for name, result in results.items():
        console.print(f"{name}: {result.sentence}", highlight=False, soft_wrap=True, markup=False)
