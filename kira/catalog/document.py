"""The catalogue's documentation, made from its schema: `python -m kira.catalog.document > docs/catalog.md`."""

import ast
import inspect
import textwrap
from enum import IntFlag
from typing import Any

from kira.catalog.schema import COLUMNS, Column
from kira.catalog.schema import VERSION as KIRA_VERSION
from kira.catalog.source_id import BITS
from kira.catalog.survey import FIRST_PRIMARY, LAST_PRIMARY, MOST_SHIFT, OVERLAP, made_columns
from kira.catalog.survey import VERSION as SURVEY_VERSION
from kira.extraction import Flag, SurveyProfile

_HEAD = """# The catalogue

<!-- Made from the code by: python -m kira.catalog.document > docs/catalog.md -->

One row is one source in one frame. Files are Parquet; each column carries its unit, its UCD (IVOA UCD1+) and the
description below in the metadata of its Parquet field. What columns there are depends on the kind of the extraction
profile (see [profiles.md](profiles.md)), whose name and hash are part of a catalogue's path.
"""

_SURVEY = """## Profiles of kind `survey` (schema {version})

**Positions** count from 0, the centre of the first pixel. Right ascension and declination are those of the windowed
position, ICRS. In a blend the window can slide to the neighbour: where it went more than {shift:g} pixel from the
barycentre, they are those of the barycentre. Position angles count from north to east.

What turns pixels into the sky says the column `astrometry`: of `frame` files SDSS's own astrometric solution in their
HDU 3 (`asTrans`), which knows the cubic distortion of the camera; else the header's WCS (`WCS`). That of `frame` files
is a fit to the solution, 0.03 arcsec off in most places and up to 0.17 at the edges. Neither knows the colour of a
source: the atmosphere refracts blue light more than red, and SDSS's solution has a term for it that is left out, up to
0.05 arcsec for a magnitude of g - r in g, 0.02 in u, 0.01 in r, i and z. `ra_err` and `dec_err` are of the pixels'
noise alone.

**Fluxes** are background-subtracted and in nanomaggies (nmgy): 1 nmgy is 3.631 µJy, magnitude 22.5. `frame` files are
in nanomaggies already; counts of `fpC` files are multiplied by the calibration of their tsField file, else by that of
the header's FLUX20, and the column `calibration` says which. What could not be calibrated has NaN. Errors hold the
noise of sky, source and read-out of every pixel; not that of the calibration. They are SDSS's magnitudes: on the AB
system but for u_AB = u - 0.04 and z_AB = z + 0.02, by SDSS's own account (www.sdss.org, algorithms, fluxcal).

**Which flux**: of a star or a quasar `flux_star`, a circle of 2 arcsec corrected to the 7.43 arcsec with which SDSS
calibrates; it is what SDSS's PSF magnitudes compare with, and too low for a galaxy. Of a galaxy `flux_auto`, which
leaves out 3 to 10 % of the light. Circles are what they are; by them one compares the bands of one object. How good
each is: [comparison.md](comparison.md).

**Magnitudes** without a suffix are SDSS's asinh magnitudes (Lupton, Gunn & Szalay 1999), which have a value for every
flux; those with `_pogson` are 22.5 - 2.5 log10(nmgy).

**`primary`**: neighbouring fields of a run share {overlap} rows. A source with `y_win` from {first} to {last} is
primary, so that each patch of a run counts once. At the two ends of a run the outer {half} rows have no neighbour and
are not primary; overlaps of different runs and camera columns are not resolved.

**`source_id`** packs, from the highest bit: {bits}. `kira.catalog.source_id.parse_source_id` reads it back. It is the
same whenever the same frame is measured by the same profile.
"""


def _columns(columns: tuple[Column, ...]) -> str:
    rows = [
        f"| `{c.name}` | {c.type} | {c.unit or ('flux' if c.flux else '')} | {c.ucd} | {_cell(c.description)} |"
        for c in columns
    ]
    return "\n".join(["| column | type | unit | UCD | what it is |", "|---|---|---|---|---|", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _flags(flags: type[IntFlag]) -> str:
    texts = _docstrings(flags)
    rows = [f"| {flag.value:#x} | `{flag.name}` | {_cell(texts[str(flag.name)])} |" for flag in flags]
    return "\n".join(["| bit | name | meaning |", "|---|---|---|", *rows])


def _docstrings(flags: type[IntFlag]) -> dict[str, str]:
    """What stands below each member in the source; Python itself keeps no docstrings of members."""
    body: Any = ast.parse(textwrap.dedent(inspect.getsource(flags))).body[0]
    found = {}
    for member, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[ast.unparse(member.targets[0])] = " ".join(str(text.value.value).split())
    return found


def markdown() -> str:
    """Text of docs/catalog.md."""
    profile = SurveyProfile()
    survey = _SURVEY.format(
        version=SURVEY_VERSION, shift=MOST_SHIFT, overlap=OVERLAP, half=OVERLAP // 2,
        first=FIRST_PRIMARY - 0.5, last=LAST_PRIMARY - 0.5,
        bits=", ".join(f"{name} ({bits})" for name, bits in BITS),
    )  # fmt: skip
    return "\n".join([
        _HEAD, survey, _columns(tuple(made.column for made in made_columns(profile.apertures))), "",
        "The circular apertures are those of the built-in profile; another profile has as many as it asks for.", "",
        "## Flag bits", "", _flags(Flag), "",
        f"## The profile `kira` (schema {KIRA_VERSION})", "",
        "The measurements of Zhang et al. (2015), in pixels and in the unit of the frame's pixels: counts (adu) to "
        "DR7, nanomaggies from DR8. Columns whose unit is called flux are in that unit, which the file's metadata "
        "(`flux_unit`) says.", "", _columns(COLUMNS), "",
    ])  # fmt: skip


if __name__ == "__main__":
    print(markdown(), end="")
