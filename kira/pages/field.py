"""A field: its five bands side by side, in colour, and where each of its frames is."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from kira.errors import InvalidInput
from kira.ledger.whereabouts import Whereabouts, frames_of_field, whereabouts
from kira.pages.asked import data_of, field_of, part, plain, sent
from kira.pages.data import Data
from kira.pages.html import page
from kira.pages.missing import NotKnown
from kira.pages.pixels import COLOURS, Colour
from kira.sdss import BANDS, FrameId
from kira.sdss.quoting import quoted

router = APIRouter()

SCALE = 2
"""Of the colour picture."""
_ROUTE = "/fields/{archive}/{release}/{run}/{camcol}/{field}"


def by_catalogue(places: list[Whereabouts]) -> dict[str, list[Whereabouts]]:
    """Frames of a field by the profile of their catalogue."""
    found: dict[str, list[Whereabouts]] = {}
    for place in places:
        found.setdefault(place.profile, []).append(place)
    return found


@router.get(_ROUTE, response_class=HTMLResponse)
def field(request: Request, archive: str, release: str, run: str, camcol: str, field: str) -> HTMLResponse:
    """Show the page."""
    name, its_release, its_run, its_camcol, number = field_of(archive, release, run, camcol, field)
    data = data_of(request)
    there: dict[int, list[Whereabouts]] = {}
    for one in (number - 1, number, number + 1):
        if 0 <= one <= 9999:
            there[one] = whereabouts(data.ledger, frames_of_field(its_release, its_run, its_camcol, one), name)
    if not there[number]:
        raise NotKnown(
            f"The ledger does not know run {its_run} camcol {its_camcol} field {number} of {its_release} in archive "
            f"{name}: no ingestion has listed it."
        )
    frames = {place.frame.band: place.frame for place in sorted(there[number], key=lambda place: place.at)}
    return page(
        request, "field.html", archive=name, release=its_release, run=its_run, camcol=its_camcol, field=number,
        frames=[(band, frames.get(band)) for band in BANDS],
        staged={place.frame for place in there[number] if place.staged}, catalogues=by_catalogue(there[number]),
        neighbours=[(one, bool(there.get(one))) for one in (number - 1, number + 1)], colours=COLOURS,
    )  # fmt: skip


def _colour(data: Data, bands: str, *address: str) -> Colour:
    archive, release, run, camcol, number = field_of(*address)
    if bands not in COLOURS:
        raise InvalidInput(f"Colours are one of {', '.join(COLOURS)}, not {quoted(bands)}.")
    known = whereabouts(data.ledger, frames_of_field(release, run, camcol, number), archive)
    frames: dict[str, FrameId] = {place.frame.band: place.frame for place in known}
    if missing := [band for band in COLOURS[bands] if band not in frames]:
        raise NotKnown(f"The field has no frame in band {', '.join(missing)}, so there is no such colour picture.")
    return data.pixels.colour(archive, [frames[band] for band in COLOURS[bands]], SCALE)


@router.get(_ROUTE + "/colour", response_class=HTMLResponse)
def colour(
    request: Request, archive: str, release: str, run: str, camcol: str, field: str, bands: str = "irg"
) -> HTMLResponse:
    """Part: the colour picture, and what was done for it."""

    def make() -> dict[str, Any]:
        found = _colour(data_of(request), bands, archive, release, run, camcol, field)
        address = field_of(archive, release, run, camcol, field)
        return {"found": found, "bands": bands, "address": "/".join(map(str, address))}

    return part(request, "field_colour.html", make)


@router.get(_ROUTE + "/colour/picture")
def colour_picture(
    request: Request, archive: str, release: str, run: str, camcol: str, field: str, bands: str = "irg"
) -> Response:
    """The colour picture itself."""
    address = (archive, release, run, camcol, field)
    make: Callable[[], Response] = lambda: _sent(_colour(data_of(request), bands, *address))  # noqa: E731
    return plain(make)


def _sent(found: Colour) -> Response:
    return sent(found.picture.content, found.picture.kind)
