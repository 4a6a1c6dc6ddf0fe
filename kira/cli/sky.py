"""`kira sky`: where the fields of an archive are, for the page of the sky."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kira.catalog.published import open_catalogue
from kira.cli.archives import check_archive, find_source, local_folder
from kira.cli.catalogues import progress_bar
from kira.errors import InvalidInput, KiraError
from kira.sdss import ALL_RELEASES
from kira.sdss.archive import NAME_PATTERN, ArchiveClient
from kira.sdss.positions import FieldPositions
from kira.sdss.quoting import quoted
from kira.stack.config import StackConfig
from kira.stack.local import LocalStack
from kira.stages.positions import (
    FROM_LIST,
    Positions,
    positions_of_archive,
    positions_of_catalogue,
    positions_path,
    write_positions,
)
from kira.storage import Store, open_store

app = typer.Typer(help=__doc__, no_args_is_help=True)
console = Console()


@app.callback()
def group() -> None:
    """Where the fields of an archive are, for the page of the sky."""


@app.command("refresh")
def refresh(
    archive: Annotated[str, typer.Option(help="sample, sdss, a folder laid out like it, or a URL.")] = "sample",
    name: Annotated[
        str, typer.Option(help="Name of the archive, as in the catalogue's path. Default: that of --archive.")
    ] = "",
    field_list: Annotated[
        Path | None, typer.Option(help="A window_flist.fits that is here already; SDSS's own has 336 MB.")
    ] = None,
) -> None:
    """Write where all fields of an archive are, from its window_flist.fits, or from what is published of it."""
    if name and not re.fullmatch(NAME_PATTERN, name, re.ASCII):
        raise InvalidInput(f"{quoted(name)} cannot be the name of an archive; use up to 40 of a-z, 0-9 and '-'.")
    check_archive(archive)
    config = StackConfig.load()
    its_name, found = _from_list(archive, field_list, config)
    store = _store(config)
    name = name or its_name
    if found is None:
        console.print(f"Archive {name} has no list of its fields: they are taken from what is published of it.")
        found = _from_catalogues(store, name)
    write_positions(store, name, found)
    console.print(
        f"{len(found):,} fields in {store.uri(positions_path(name))}, from {found.origin}", highlight=False,
        soft_wrap=True, markup=False,
    )  # fmt: skip


def _from_list(archive: str, field_list: Path | None, config: StackConfig) -> tuple[str, Positions | None]:
    """Name of an archive, and its fields if it has a list of them."""
    here = local_folder(archive, config.sample)
    if here is None:
        source = find_source(archive, config.sample, LocalStack(config))
        if field_list:
            return source.archive.name, _read(field_list)
        with ArchiveClient(source.archive) as client:
            return source.archive.name, positions_of_archive(client)
    name, folder = here
    lists = (folder / str(r.service) / r.field_list for r in reversed(ALL_RELEASES) if r.field_list)
    path = field_list or next((path for path in lists if path.is_file()), None)
    return name, _read(path) if path else None


def _read(path: Path) -> Positions:
    try:
        return Positions.of(FieldPositions.read(path), FROM_LIST)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}.") from error


def _store(config: StackConfig) -> Store:
    url = os.environ.get("KIRA_STAGE_URL", "")
    if not url and config.with_hdfs and not LocalStack(config).runs():
        raise KiraError(
            "The stack does not run, and with it HDFS, where the catalogue is: start it with make run, or name "
            "another place by KIRA_STAGE_URL."
        )
    return open_store(url or config.stage_url)


def _from_catalogues(store: Store, name: str) -> Positions:
    folders = [
        f"{name}/catalog/{release.name}/{profile.name}"
        for release in store.listing(f"{name}/catalog") if release.is_folder
        for profile in store.listing(f"{name}/catalog/{release.name}") if profile.is_folder
    ]  # fmt: skip
    found = []
    for folder in folders:
        with progress_bar("footers") as progress:
            found.append(positions_of_catalogue(open_catalogue(store.uri(folder), progress)))
    if not any(map(len, found)):
        raise KiraError(
            f"Where the fields of archive {name} are cannot be told: it has no window_flist.fits, and nothing with "
            f"positions is published in {store.uri(f'{name}/catalog')}."
        )
    return Positions.merged(found)
