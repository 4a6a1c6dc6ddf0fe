"""What commands that read a published catalogue have in common: which one, how far they are, what they have read."""

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from kira.catalog.published import Progress, Published, open_catalogue
from kira.errors import InvalidInput, KiraError
from kira.sdss import Release
from kira.sdss.archive import NAME_PATTERN
from kira.sdss.quoting import quoted
from kira.stack.config import StackConfig
from kira.stack.local import LocalStack
from kira.storage import catalogue_folder, open_readable, open_store

CatalogueOption = Annotated[
    str,
    typer.Option(
        help="Folder of a published catalogue: a path, file:///…, hdfs://host:port/… or s3://bucket/…; instead of "
        "--archive, --release and --profile, which name one of the local stack."
    ),
]
ArchiveOption = Annotated[str, typer.Option(help="Name of the archive, as in the catalogue's path. Default: sample.")]
ReleaseOption = Annotated[str, typer.Option(help="For example dr12, which is the default.")]
ProfileOption = Annotated[str, typer.Option(help="Profile and hash, as in the path. Default: the only one.")]

_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}", re.ASCII)


def opened(catalogue: str, archive: str, release: str, profile: str) -> Published:
    """Open the catalogue that the options name.

    Raises
    ------
    InvalidInput
        If an option is not of its form, or they name two, or nothing is published there.
    KiraError
        If it is on the stack's HDFS, which does not run, or there are several profiles.
    """
    if catalogue and (archive or release or profile):
        raise InvalidInput("Give either --catalogue, or --archive, --release and --profile.")
    place = catalogue or _in_the_stack(archive or "sample", release or "dr12", profile)
    with progress_bar("footers") as progress:
        return open_catalogue(place, progress)


def _in_the_stack(archive: str, release: str, profile: str) -> str:
    if not re.fullmatch(NAME_PATTERN, archive, re.ASCII):
        raise InvalidInput(f"{quoted(archive)} cannot be the name of an archive; use up to 40 of a-z, 0-9 and '-'.")
    if profile and not _PROFILE.fullmatch(profile):
        raise InvalidInput(f"{quoted(profile)} is not a profile with its hash, such as survey-0a1b2c3d.")
    number = str(Release.parse(release))
    url = os.environ.get("KIRA_STAGE_URL", "")
    if not url:
        config = StackConfig.load()
        if config.with_hdfs and not LocalStack(config).runs():
            raise KiraError(
                "The stack does not run, and with it HDFS, where the catalogue is: start it with make run, or name "
                "another place with --catalogue."
            )
        url = config.stage_url
    store = open_store(url)
    folder = catalogue_folder(archive, number, profile or "x").rpartition("/")[0]
    there = [file.name for file in open_readable(url).listing(folder) if file.is_folder]
    # Its name alone will do where no other parameters were published under it.
    named = [slug for slug in there if slug.rpartition("-")[0] == profile]
    profile = named[0] if len(named) == 1 and profile not in there else profile
    if not there or profile not in ("", *there):
        known = f" Profiles: {', '.join(there)}." if there else ""
        raise KiraError(f"Nothing is published in {store.uri(f'{folder}/{profile}' if profile else folder)}.{known}")
    if not profile and len(there) > 1:
        raise KiraError(f"{store.uri(folder)} has several profiles: choose one with --profile ({', '.join(there)}).")
    return store.uri(f"{folder}/{profile or there[0]}")


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A bar on a terminal, beside what a script reads; to be told how many of how many are done."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(30), MofNCompleteColumn(), TimeRemainingColumn()
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def read_so_far(catalogue: Published) -> str:
    """Files and bytes, for the end of a command."""
    tally = catalogue.tally
    return (
        f"read {tally.files:,} of {len(catalogue.parts):,} files, {decimal(tally.bytes)} of {decimal(catalogue.size)}"
    )


def check_folder(out: Path) -> None:
    """Refuse a file that could not be written for want of a folder, before anything is read for it."""
    if not out.absolute().parent.is_dir():
        raise InvalidInput(f"There is no folder {out.parent} to write {out.name} to.")


@contextmanager
def whole_file(out: Path) -> Iterator[Path]:
    """Where to write a file, which is under its own name only when all of it is written."""
    aside = out.with_name(f".{out.name}.aside-{uuid.uuid4().hex}")
    try:
        yield aside
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)
