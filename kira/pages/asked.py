"""What a page was asked for, from the texts of its address, and answers that say what is not to be had."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from kira.errors import InvalidInput, KiraError
from kira.ledger.whereabouts import Whereabouts, whereabouts
from kira.pages.data import Data
from kira.pages.html import page
from kira.pages.missing import NotKnown, NotThere
from kira.sdss import FrameId, Release
from kira.sdss.archive import SDSS
from kira.sdss.quoting import quoted


def data_of(request: Request) -> Data:
    """Where the pages look."""
    data: Data = request.app.state.data
    return data


def archive_of(text: str) -> str:
    """Name of an archive; InvalidInput if it cannot be one."""
    return replace(SDSS, name=text).name


def number_of(text: str, what: str, low: int, high: int) -> int:
    """A number of an address; InvalidInput if it is none, or out of its range."""
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or not low <= int(text) <= high:
        raise InvalidInput(f"A {what} is a number from {low} to {high}, not {quoted(text)}.")
    return int(text)


def field_of(archive: str, release: str, run: str, camcol: str, field: str) -> tuple[str, Release, int, int, int]:
    """Archive, release, run, camcol and field of an address."""
    return (
        archive_of(archive), Release.parse(release), number_of(run, "run", 1, 999_999),
        number_of(camcol, "camcol", 1, 6), number_of(field, "field", 0, 9999),
    )  # fmt: skip


def places_of(data: Data, archive: str, frame: FrameId) -> list[Whereabouts]:
    """Where a frame is in each catalogue of an archive; NotKnown if the ledger has never heard of it."""
    found = whereabouts(data.ledger, [frame], archive)
    if not found:
        raise NotKnown(
            f"The ledger does not know {frame} of archive {archive}: no ingestion has listed it. Look for it on the "
            "page Frames, or check run, camcol, field and band."
        )
    return found


def chosen(places: list[Whereabouts], profile: str) -> Whereabouts:
    """One of a frame's catalogues: by its profile, else one that shows it, of surveys' rather, the newest."""
    if profile:
        for place in places:
            if place.profile == profile:
                return place
        raise InvalidInput(f"{places[0].frame} is in no catalogue whose profile is {quoted(profile)}.")
    return max(places, key=lambda place: (place.published, place.profile.startswith("survey"), place.at))


def log_link(log_url: str) -> str:
    """Address of a task's log below the host that shows this page; empty if it is none."""
    parts = urlsplit(log_url)
    if parts.scheme not in ("", "http", "https") or not parts.path.startswith("/") or parts.path.startswith("//"):
        return ""
    return parts.path + (f"?{parts.query}" if parts.query else "")


def part(request: Request, template: str, make: Callable[[], dict[str, Any]]) -> HTMLResponse:
    """Part of a page that fails alone: with a sentence in its place, and the rest stands."""
    try:
        return page(request, template, **make())
    except KiraError as error:
        return page(request, "part_failed.html", text=str(error), lasting=isinstance(error, NotThere | InvalidInput))


def plain(make: Callable[[], Response]) -> Response:
    """Something that is no page; what is not to be had is a sentence of plain text."""
    try:
        return make()
    except InvalidInput as error:
        return _said(error, 400)
    except NotThere as error:
        return _said(error, 404)
    except KiraError as error:
        return _said(error, 503)


def _said(error: Exception, status: int) -> Response:
    # Not to be taken for HTML: it may repeat what was asked.
    return Response(str(error), status, {"X-Content-Type-Options": "nosniff"}, "text/plain")


def sent(content: bytes, kind: str, name: str = "") -> Response:
    """A file; with a name it is saved, and not shown."""
    headers = {"Cache-Control": "private, max-age=300", "X-Content-Type-Options": "nosniff"}
    if name:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return Response(content, media_type=kind, headers=headers)
