"""`kira show`: a picture of a frame with its sources."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from kira.cli.catalogues import check_folder, whole_file
from kira.cli.extract import profile_of
from kira.errors import InvalidInput
from kira.sdss import Release

console = Console()


def show(
    frame: Annotated[Path, typer.Argument(help="FITS file, also .gz and .bz2; SDSS's or any other image.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write, .png.")],
    profile: Annotated[str, typer.Option(help="survey, kira, or a TOML file: see docs/profiles.md.")] = "survey",
    release: Annotated[str, typer.Option(help="Data release of an SDSS file whose folders do not say it.")] = "",
    width: Annotated[int, typer.Option(help="Of the picture, pixels.", min=300, max=8000)] = 1600,
) -> None:
    """Draw a frame: zscale, a grid on the sky, an ellipse around each source, those with flags marked."""
    if out.suffix.lower() != ".png":
        raise InvalidInput(f"{out}: a picture is written as .png.")
    check_folder(out)
    # Only here: drawing takes a second to import, which other commands need not wait for.
    from kira.extraction import extract
    from kira.laptop import read_file
    from kira.picture import draw

    chosen = profile_of(profile)
    image, remarks = read_file(frame, Release.parse(release) if release else None)
    found = extract(image, chosen)
    with whole_file(out) as aside:
        aside.write_bytes(draw(image, found, width=width))
    for remark in remarks:
        console.print(remark, style="dim", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{image.name}: {found.n_sources:,} sources, drawn in {out}", markup=False, highlight=False, soft_wrap=True
    )
