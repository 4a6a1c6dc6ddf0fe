"""`kira export`: a whole published catalogue as one file, or as HATS."""

import re
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer
from rich.console import Console

from kira.catalog.formats import format_of, table_bytes
from kira.catalog.hats import MOST_ROWS, write_hats
from kira.catalog.ordered import stretches, write_parquet
from kira.catalog.published import Published
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

console = Console()


def export(
    out: Annotated[Path | None, typer.Argument(help="File to write: .parquet, .fits, .vot or .csv.")] = None,
    hats: Annotated[Path | None, typer.Option(help="Folder to make instead: HATS, as lsdb reads it.")] = None,
    release: ReleaseOption = "",
    archive: ArchiveOption = "",
    profile: ProfileOption = "",
    catalogue: CatalogueOption = "",
    hats_rows: Annotated[int, typer.Option(min=1, help="Rows of a HATS partition at most.")] = MOST_ROWS,
) -> None:
    """Copy a published catalogue: all of it as one file in canonical order, or as HATS.

    Parquet and HATS are written a stretch at a time, whatever the catalogue's size; FITS, VOTable and CSV need room
    for all of it in memory.
    """
    target = out or hats
    if target is None or (out and hats):
        raise InvalidInput("Name either a file to write, or with --hats a folder to make.")
    if out:
        format_of(out)
    check_folder(target)
    if hats and hats.exists():
        raise InvalidInput(f"{hats} is there already: name a folder that is not.")
    found = opened(catalogue, archive, release, profile)
    said = _file(found, target) if out else _hats(found, target, hats_rows)
    synthetic = "; synthetic" if (found.schema.metadata or {}).get(b"synthetic") == b"yes" else ""
    console.print(f"{said}{synthetic}; {read_so_far(found)}", markup=False, highlight=False, soft_wrap=True)


def _file(catalogue: Published, out: Path) -> str:
    kind = format_of(out)
    with progress_bar("sources") as progress, whole_file(out) as aside:
        if kind == "parquet":
            with aside.open("wb") as file:
                rows = write_parquet(catalogue, file, progress=progress)
        else:
            tables = [catalogue.schema.empty_table(), *stretches(catalogue, progress=progress)]
            table = pa.concat_tables(tables).unify_dictionaries()
            aside.write_bytes(table_bytes(table, kind))
            rows = table.num_rows
    return f"{rows:,} sources of {len(catalogue.parts):,} files in {out}"


def _hats(catalogue: Published, folder: Path, most: int) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", folder.absolute().name)
    with progress_bar("partitions") as progress:
        written = write_hats(catalogue, folder, name, most, progress)
    orders = sorted({pixel.order for pixel in written.partitions})
    left = f"; {written.left_out:,} without a position are left out" if written.left_out else ""
    many = len(written.partitions)
    return (
        f"{written.rows:,} sources in {many:,} partition{'s' if many > 1 else ''} of HEALPix order "
        f"{', '.join(map(str, orders))} in {folder}{left}"
    )
