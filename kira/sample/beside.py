"""What an archive publishes beside its frames: checksums of each folder, and where all the fields are."""

from pathlib import PurePosixPath

import numpy as np

from kira.sample.camera import COLUMNS, FIELD_ROWS
from kira.sample.fitsfile import Card, blank_rows, header_bytes, mwrfits_table_hdu, synthetic_cards
from kira.sample.geometry import solution
from kira.sample.spec import SampleSpec, archive_file
from kira.sdss import Release

_COLUMNS = (
    {"name": "RUN", "format": "J"},
    {"name": "RERUN", "format": "3A"},
    {"name": "CAMCOL", "format": "I"},
    {"name": "FIELD", "format": "J"},
    {"name": "RA", "format": "D"},
    {"name": "DEC", "format": "D"},
)
"""Those that tell which field is where; SDSS's own list has 30 more."""


def checksum_file(spec: SampleSpec, release: Release, camcol: int) -> str:
    """Path of the checksums of one folder of frames below the sample's folder."""
    frame = archive_file(spec.frame(release, camcol, spec.first_field, spec.bands[0]))
    return str(PurePosixPath(frame).parent / f"frames-{spec.run}-{camcol}.sha1sum")


def checksum_text(checksums: dict[str, str]) -> str:
    """Lines of a file's SHA-1 and name, as `sha1sum` writes and checks them.

    Parameters
    ----------
    checksums : dict
        SHA-1 by name.
    """
    return "".join(f"{sha1}  {name}\n" for name, sha1 in sorted(checksums.items()))


def field_list_file(release: Release) -> str | None:
    """Path of the list of fields below the sample's folder; DAS has none."""
    return f"{release.service}/{release.field_list}" if release.field_list else None


def field_list_bytes(spec: SampleSpec) -> bytes:
    """Write `window_flist.fits`: one row a field, with the position of its centre in band r."""
    fields = [(camcol, field) for camcol in sorted(spec.camcols) for field in spec.field_numbers]
    rows = blank_rows(_COLUMNS, len(fields))
    rows["RUN"], rows["RERUN"] = spec.run, "301"
    rows["CAMCOL"], rows["FIELD"] = np.transpose(fields)
    centres = [
        solution(camcol, field, "r").sky(row=FIELD_ROWS / 2 - 0.5, col=COLUMNS / 2 - 0.5) for camcol, field in fields
    ]
    rows["RA"], rows["DEC"] = np.transpose(centres)
    cards: list[Card] = [("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True), *synthetic_cards(spec)]
    return header_bytes(cards) + mwrfits_table_hdu(_COLUMNS, rows)
