"""`kira query`: sources of a published catalogue, around a position or of a run."""

from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kira.catalog.cone import Cone
from kira.catalog.formats import format_of, table_bytes
from kira.catalog.published import Published
from kira.catalog.query import Query
from kira.catalog.search import SEPARATION, search_cone, search_frames
from kira.cli.catalogues import (
    ArchiveOption,
    CatalogueOption,
    ProfileOption,
    ReleaseOption,
    check_folder,
    opened,
    progress_bar,
    read_so_far,
    whole_file,
)
from kira.errors import InvalidInput

app = typer.Typer(help=__doc__, no_args_is_help=True)
console = Console()

OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Table to write: .parquet, .fits, .vot or .csv. Default: shown.")
]
ColumnsOption = Annotated[str, typer.Option(help="Names with commas. Default: all; shown are the main ones.")]
LimitOption = Annotated[int, typer.Option(min=0, help="So many sources at most; 0: all of them.")]
RunsOption = Annotated[str, typer.Option("--runs", "--run", help="For example 94, 1000-1010. Default: all.")]
CamcolsOption = Annotated[str, typer.Option("--camcols", "--camcol", help="For example 1-3. Default: all.")]
FieldsOption = Annotated[str, typer.Option("--fields", "--field", help="For example 11-100. Default: all.")]
BandsOption = Annotated[str, typer.Option("--bands", "--band", help="Some of ugriz.")]
PrimaryOption = Annotated[
    bool, typer.Option("--primary", help="Of sources in the overlap of two fields, one of the two (survey profiles).")
]

_SHOWN = 20
_ALWAYS_SHOWN = ("run", "camcol", "field", "band", "number", "ra", "dec")
_DIGITS = {"ra": ".6f", "dec": ".6f", SEPARATION.name: ".3f"}


# A declination south of the equator is no option.
@app.command("cone", context_settings={"ignore_unknown_options": True})
def query_cone(
    ra: Annotated[str, typer.Argument(help="Right ascension: degrees, or 00:42:44.3, 0h42m, 10d41m.")],
    dec: Annotated[str, typer.Argument(help="Declination: degrees, or -01:30:00, -1d30m.")],
    radius: Annotated[str, typer.Argument(help="Degrees, or 30arcsec, 1.5arcmin.")],
    catalogue: CatalogueOption = "",
    archive: ArchiveOption = "",
    release: ReleaseOption = "",
    profile: ProfileOption = "",
    runs: RunsOption = "",
    camcols: CamcolsOption = "",
    fields: FieldsOption = "",
    bands: BandsOption = "ugriz",
    primary: PrimaryOption = False,
    out: OutOption = None,
    columns: ColumnsOption = "",
    limit: LimitOption = 0,
) -> None:
    """Sources no further than RADIUS from a position, the nearest first."""
    # Nonsense is refused before anything is read.
    cone = Cone.parse(ra, dec, radius)
    query = Query.parse(runs, camcols, fields, bands, primary=primary)
    names = _prepared(out, columns)
    found = opened(catalogue, archive, release, profile)
    shown = names or (None if out else _main_columns(found))
    with progress_bar("files") as progress:
        table = search_cone(found, cone, query, shown, _most(out, limit), progress)
    _deliver(table, found, out, "the nearest")


@app.command("run")
def query_run(
    runs: Annotated[str, typer.Argument(metavar="RUN", help="For example 94, or 94,1000-1010.")],
    catalogue: CatalogueOption = "",
    archive: ArchiveOption = "",
    release: ReleaseOption = "",
    profile: ProfileOption = "",
    camcols: CamcolsOption = "",
    fields: FieldsOption = "",
    bands: BandsOption = "ugriz",
    primary: PrimaryOption = False,
    out: OutOption = None,
    columns: ColumnsOption = "",
    limit: LimitOption = 0,
) -> None:
    """Sources of an imaging run, in the order of its frames."""
    query = Query.parse(runs, camcols, fields, bands, primary=primary)
    names = _prepared(out, columns)
    found = opened(catalogue, archive, release, profile)
    shown = names or (None if out else _main_columns(found))
    with progress_bar("files") as progress:
        table = search_frames(found, query, shown, _most(out, limit), progress)
    _deliver(table, found, out, "the first")


def _prepared(out: Path | None, columns: str) -> list[str]:
    if out:
        format_of(out)
        check_folder(out)
    names = [name.strip() for name in columns.split(",")] if columns.strip() else []
    if not all(names):
        raise InvalidInput("columns: there is a comma too many.")
    return [name for name in names if name != SEPARATION.name]  # which a cone has anyway


def _most(out: Path | None, limit: int) -> int | None:
    return limit or (None if out else _SHOWN)


def _main_columns(catalogue: Published) -> list[str]:
    """What identifies a source, and what its UCD says is the main value of its kind."""
    main = [f.name for f in catalogue.schema if (f.metadata or {}).get(b"ucd", b"").endswith(b";meta.main")]
    return list(dict.fromkeys([*_ALWAYS_SHOWN, *main]))


def _deliver(table: pa.Table, catalogue: Published, out: Path | None, which: str) -> None:
    """Write or show what was found, and say what it took."""
    total, read = catalogue.tally.rows, read_so_far(catalogue)
    if out:
        with whole_file(out) as aside:
            aside.write_bytes(table_bytes(table, format_of(out)))
        said = f"{table.num_rows:,} sources in {out}"
    else:
        if total:
            console.print(_shown(table))
        said = f"{total:,} sources"
    cut = f" ({which} {table.num_rows:,} of {total:,})" if out and table.num_rows < total else ""
    shown = f", {which} {table.num_rows:,} shown" if not out and table.num_rows < total else ""
    synthetic = "; synthetic" if (catalogue.schema.metadata or {}).get(b"synthetic") == b"yes" else ""
    console.print(f"{said}{cut}{shown}{synthetic}; {read}", markup=False, highlight=False, soft_wrap=True)


def _shown(table: pa.Table) -> Table:
    shown = Table()
    for field in table.schema:
        unit = (field.metadata or {}).get(b"unit", b"").decode()
        text = pa.types.is_string(field.type) or pa.types.is_dictionary(field.type)
        shown.add_column(f"{escape(field.name)}\n[dim]{escape(unit)}[/]", justify="left" if text else "right")
    for row in table.to_pylist():
        shown.add_row(*(_cell(name, value) for name, value in row.items()))
    return shown


def _cell(name: str, value: Any) -> str:
    if isinstance(value, float):
        return format(value, _DIGITS.get(name, ".6g"))
    return "" if value is None else escape(str(value))
