"""The sky: every field of a survey where it is, and what became of it."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from kira.errors import InvalidInput
from kira.ledger.fields import FieldState
from kira.ledger.status import Known, catalogues
from kira.pages.data import Data, Remembered
from kira.pages.html import page
from kira.pages.skymap import CHUNK, PATIENCE, Skies, SkyMap, check_chunk, states_by_band
from kira.sdss import BANDS, FrameId
from kira.sdss.quoting import one_line, quoted

router = APIRouter(prefix="/sky")

MOST_ROWS = 60
"""Fields in the table of those in view."""
FIELD_VIEW = 0.4
"""Degrees round a field that was searched for."""
WORDS = {
    FieldState.UNKNOWN: "not asked for",
    FieldState.TO_DO: "to do",
    FieldState.AT_WORK: "at work",
    FieldState.PUBLISHED: "published",
    FieldState.FAILED: "failed",
    FieldState.MISSING: "not in the archive",
}
_WORST_FIRST = (
    FieldState.FAILED, FieldState.MISSING, FieldState.AT_WORK, FieldState.TO_DO, FieldState.PUBLISHED,
    FieldState.UNKNOWN,
)  # fmt: skip
_LAST_SURVEY_RUN = 8162  # as kira.sample.spec, which takes a second to import: a synthetic run has a higher number
_FIELD = re.compile(r"\s*(?:run\s*)?0*(\d{1,6})[-/\s]+([1-6])[-/\s]+0*(\d{1,4})\s*", re.ASCII | re.IGNORECASE)
_OCTETS = "application/octet-stream"
_UNCHANGING = {"Cache-Control": "private, max-age=86400, immutable"}
_CHANGING = {"Cache-Control": "no-store"}


@dataclass(frozen=True)
class Place:
    """Where somebody looks: a position and a radius in degrees, words for it, and the field if it is one."""

    ra: float
    dec: float
    radius: float
    words: str
    field: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Row:
    """A field in the table."""

    run: int
    camcol: int
    field: int
    ra: float
    dec: float
    distance: float
    states: tuple[str, ...]
    overall: str
    grade: str
    sources: int
    synthetic: bool


def _skies(data: Data) -> Skies:
    # One for all threads: whoever comes first makes it.
    kept = data.remembered.setdefault("sky", Remembered(lambda: Skies(data.ledger, data.store), math.inf))
    found: Skies = kept()
    return found


def _known(data: Data) -> list[Known]:
    kept = data.remembered.setdefault("sky catalogues", Remembered(lambda: catalogues(data.ledger), 3.0))
    found: list[Known] = kept()
    return found


def _chosen(data: Data, catalogue: int) -> Known:
    for one in _known(data):
        if one.id == catalogue:
            return one
    raise InvalidInput("The ledger has no such catalogue: choose one on the page of the sky.")


def _map(request: Request, catalogue: int, patience: float | None = None) -> SkyMap:
    data: Data = request.app.state.data
    known = _chosen(data, catalogue)
    found = _skies(data).map(known.id, known.archive)
    if found is None:
        raise InvalidInput(
            f"Where the fields of archive {known.archive} are is not known yet: kira sky refresh finds out."
        )
    if patience is not None:
        found.look(patience)
    return found


def find_place(text: str, sky: SkyMap) -> Place:
    """Understand `10.5 -0.3`, `00:42:00 -00:18:00`, `94-1-12` or a frame's name.

    Raises
    ------
    InvalidInput
        If it is none of these, or a field whose position is not known.
    """
    # Late, because astropy takes a second that the other pages need not wait for.
    from kira.catalog.cone import Cone

    if field := _field_of(text):
        place = sky.places.index(*field)
        name = "run {}, camcol {}, field {}".format(*field)
        if place is None:
            raise InvalidInput(f"Where {name} is, is not known: it is not in the archive's list of fields.")
        p = sky.places.positions
        return Place(float(p.ra[place]), float(p.dec[place]), FIELD_VIEW, name, field)
    parts = [part for part in re.split(r"[,;]\s*|\s+", text.strip()) if part]
    if len(text) > 80 or len(parts) not in (2, 6):
        raise InvalidInput(
            f"{quoted(text)} is no place: write a right ascension and a declination, such as 10.5 -0.3 or 00:42:00 "
            "-00:18:00, or run-camcol-field, such as 94-1-12."
        )
    half = len(parts) // 2
    cone = Cone.parse(" ".join(parts[:half]), " ".join(parts[half:]), "1")
    return Place(cone.ra, cone.dec, 1.0, f"{cone.ra:.4f} {cone.dec:+.4f}")


def _field_of(text: str) -> tuple[int, int, int] | None:
    if text.strip().startswith("dr"):
        frame = FrameId.parse(text.strip())
        return frame.run, frame.camcol, frame.field
    match = _FIELD.fullmatch(text)
    return (int(match[1]), int(match[2]), int(match[3])) if match and int(match[1]) else None


def overall(states: list[FieldState]) -> FieldState:
    """State of a field: the one of its bands that a person should know of first."""
    return next(one for one in _WORST_FIRST if one in states)


def rows_near(sky: SkyMap, place: Place) -> tuple[list[Row], int]:
    """Fields about a place, the nearest first and so many at most, and how many there are."""
    found, distances = sky.places.near(place.ra, place.dec, place.radius)
    return list(_rows(sky, found[:MOST_ROWS].tolist(), distances.tolist())), len(found)


def _rows(sky: SkyMap, found: list[int], distances: list[float]) -> Iterator[Row]:
    p = sky.places.positions
    for n, distance in zip(found, distances, strict=False):
        states = [FieldState(one) for one in states_by_band(int(sky.states[n]))]
        worst = overall(states)
        yield Row(
            int(p.run[n]), int(p.camcol[n]), int(p.field[n]), float(p.ra[n]), float(p.dec[n]), distance,
            tuple(WORDS[one] for one in states), WORDS[worst], _GRADES.get(worst, ""), int(sky.sources[n].sum()),
            int(p.run[n]) > _LAST_SURVEY_RUN,
        )  # fmt: skip


_GRADES = {
    FieldState.FAILED: "bad", FieldState.MISSING: "bad", FieldState.PUBLISHED: "good", FieldState.AT_WORK: "waiting",
    FieldState.TO_DO: "waiting",
}  # fmt: skip


@router.get("", response_class=HTMLResponse)
def sky(
    request: Request,
    catalogue: int | None = None,
    at: Annotated[str, Query(max_length=80)] = "",
) -> HTMLResponse:
    """Show the page; without scripts it is a search and a table."""
    data: Data = request.app.state.data
    known = _known(data)
    if not known:
        return page(request, "sky.html", known=[], chosen=None, sky=False, place=None, at="", synthetic=False)
    chosen = _chosen(data, catalogue) if catalogue is not None else known[-1]
    there = _skies(data).has(chosen.archive)
    # Only a table needs what is on the map at once; the map asks for it by itself.
    found = _skies(data).map(chosen.id, chosen.archive) if there and at.strip() else None
    place, table, synthetic = None, {}, False
    if found is not None:
        found.look(PATIENCE)
        place = find_place(at, found)
        table = _table_values(found, place)
        synthetic = bool((found.places.positions.run > _LAST_SURVEY_RUN).any())
    return page(
        request, "sky.html", known=known, chosen=chosen, sky=there, place=place, at=one_line(at), synthetic=synthetic,
        **table,
    )  # fmt: skip


def _table_values(found: SkyMap, place: Place) -> dict[str, Any]:
    rows, total = rows_near(found, place)
    return {"rows": rows, "total": total, "bands": BANDS}


@router.get("/{catalogue}/table", response_class=HTMLResponse)
def table(
    request: Request,
    catalogue: int,
    ra: Annotated[float, Query(ge=0, le=360)],
    dec: Annotated[float, Query(ge=-90, le=90)],
    radius: Annotated[float, Query(gt=0, le=180)],
) -> HTMLResponse:
    """Fields in view, for whoever cannot see the map."""
    found = _map(request, catalogue, 0.0)
    place = Place(ra, dec, radius, f"{ra:.3f} {dec:+.3f}")
    chosen = _chosen(request.app.state.data, catalogue)
    return page(request, "sky_table.html", chosen=chosen, place=place, **_table_values(found, place))


@router.get("/{catalogue}/find")
def find(request: Request, catalogue: int, text: Annotated[str, Query(max_length=80)]) -> JSONResponse:
    """Where a text leads, for the map: a place, or a sentence why not."""
    try:
        place = find_place(text, _map(request, catalogue))
    except InvalidInput as error:
        return JSONResponse({"error": str(error)}, headers=_CHANGING)  # an answer like any other: no error in a console
    return JSONResponse(vars(place), headers=_CHANGING)


@router.get("/{catalogue}/now")
def now(request: Request, catalogue: int) -> JSONResponse:
    """How far the map is, and which of its parts have changed."""
    try:
        found = _map(request, catalogue, 0.3)
    except InvalidInput as error:
        return JSONResponse({"error": str(error)}, headers=_CHANGING)
    return JSONResponse(
        {
            "version": found.places.version, "fields": len(found.places), "chunk": CHUNK, "stamps": found.stamps,
            "read": found.read, "to_read": found.to_read, "whole": found.whole,
            "unplaced": found.unplaced, "error": found.error,
        },
        headers=_CHANGING,
    )  # fmt: skip


@router.get("/{catalogue}/segments")
def segments(request: Request, catalogue: int, version: Annotated[str, Query(max_length=20)] = "") -> JSONResponse:
    """Run, camera column, first field and number of fields, in the order of all the other answers."""
    places = _map(request, catalogue).places
    found = [[one.run, one.camcol, one.first_field, one.count] for one in places.segments]
    return JSONResponse(found, headers=_UNCHANGING if version == places.version else _CHANGING)


@router.get("/{catalogue}/positions/{chunk}")
def positions(
    request: Request, catalogue: int, chunk: int, version: Annotated[str, Query(max_length=20)] = ""
) -> Response:
    """Where the fields of a part are; see `kira.pages.skymap.Places.packed`."""
    found = _map(request, catalogue)
    check_chunk(chunk, found.stamps)
    fresh = version == found.places.version
    return Response(found.places.packed(chunk), media_type=_OCTETS, headers=_UNCHANGING if fresh else _CHANGING)


@router.get("/{catalogue}/states/{chunk}")
def states(request: Request, catalogue: int, chunk: int) -> Response:
    """What became of the fields of a part: 16 bits each, three a band."""
    found = _map(request, catalogue)
    check_chunk(chunk, found.stamps)
    return Response(found.states_of(chunk), media_type=_OCTETS, headers=_CHANGING)


@router.get("/{catalogue}/sources/{band}/{chunk}")
def sources(request: Request, catalogue: int, band: str, chunk: int) -> Response:
    """Sources in the catalogue of the fields of a part, in a band or in all: 16 bits each."""
    if band not in (*BANDS, "all"):
        raise InvalidInput(f"A band is one of {' '.join(BANDS)}, or all.")
    found = _map(request, catalogue)
    check_chunk(chunk, found.stamps)
    return Response(found.sources_of(chunk, band), media_type=_OCTETS, headers=_CHANGING)
