"""`kira extract`: FITS files to a table of sources, on a laptop, with no server running."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from kira.catalog.formats import format_of, table_bytes
from kira.cli.catalogues import check_folder, whole_file
from kira.errors import KiraError
from kira.extraction import Profile
from kira.laptop import FileResult, measure_file, together
from kira.sdss import Release

console = Console()


def extract(
    files: Annotated[list[Path], typer.Argument(help="FITS files, also .gz and .bz2; SDSS's or any other image.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Table: .parquet, .fits, .vot or .csv.")] = None,
    profile: Annotated[str, typer.Option(help="survey, kira, or a TOML file: see docs/profiles.md.")] = "survey",
    release: Annotated[str, typer.Option(help="Data release of SDSS files whose folders do not say it.")] = "",
) -> None:
    """Find and measure the sources of FITS files, and write them as one table."""
    kind = format_of(out) if out else ""
    if out:
        check_folder(out)
    chosen = profile_of(profile)
    wanted = Release.parse(release) if release else None
    results = []
    with Progress(
        TextColumn("Extracting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[file]}"), console=Console(stderr=True), transient=True,
    ) as progress:  # fmt: skip
        task = progress.add_task("", total=len(files), file="")
        for path in files:
            progress.update(task, file=escape(path.name))
            results.append(measure_file(path, chosen, wanted))
            progress.advance(task)
    console.print(_summary(results))
    for result in results:
        for remark in result.remarks:
            console.print(f"{result.path.name}: {remark}", style="dim", markup=False, highlight=False, soft_wrap=True)
    failed = [result for result in results if result.error]
    if len(failed) < len(results):
        table = together(results)
        if out:
            with whole_file(out) as aside:
                aside.write_bytes(table_bytes(table, kind))
            console.print(f"{table.num_rows:,} sources in {out}", markup=False, highlight=False, soft_wrap=True)
        else:
            console.print("Write them to a table with -o, for example: -o sources.fits", highlight=False)
    if failed:
        raise KiraError(" ".join(result.error for result in failed))


def profile_of(text: str) -> Profile:
    """Profile of a name or a TOML file."""
    return Profile.load(Path(text)) if text.lower().endswith(".toml") else Profile.named(text)


def _summary(results: list[FileResult]) -> Table:
    table = Table()
    for name, justify in (("file", "left"), ("frame", "left"), ("sources", "right"), ("background", "right"),
                          ("rms", "right"), ("calibration", "left"), ("noise", "left"), ("s", "right")):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for one in results:
        found, frame = one.extraction, one.frame
        if found is None or frame is None:
            table.add_row(escape(one.path.name), "", "[red]failed[/]", "", "", "", "", "")
            continue
        name = str(frame.id) if frame.id else "not from SDSS"
        synthetic = " [yellow](synthetic)[/]" if frame.synthetic else ""
        table.add_row(
            escape(one.path.name), name + synthetic, f"{found.n_sources:,}", f"{found.background:.5g}",
            f"{found.rms:.4g}", frame.calibration, frame.noise_source, f"{found.seconds:.2f}",
        )  # fmt: skip
    return table
