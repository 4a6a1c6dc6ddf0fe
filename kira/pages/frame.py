"""A frame: its picture with the sources over it, its pixels in numbers, what happened to it, its files and checks."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from kira.catalog.formats import table_bytes
from kira.catalog.schema import PIXEL_UNIT
from kira.errors import InvalidInput, KiraError
from kira.frames import COLUMNS, ROWS
from kira.ledger import Ledger, OutcomeRow
from kira.ledger.whereabouts import dags_of, whereabouts
from kira.pages.asked import archive_of, chosen, data_of, log_link, number_of, part, places_of, plain, sent
from kira.pages.data import Data
from kira.pages.finding import Found, find
from kira.pages.html import page
from kira.pages.pixels import SCALES, STRETCHES, Histogram, stretch_of
from kira.pages.sources import KINDS, Result, Shown, flag_legend, readable, result_of, shown, sources_of
from kira.sdss import BANDS, FrameId
from kira.sdss.quoting import quoted
from kira.stages.extraction import VALIDATION
from kira.storage import Store

router = APIRouter()

MOST_OUTCOMES = 120
"""Of a frame's history, the newest."""
ROWS_A_PAGE = 50
FORMATS = {
    "parquet": ("parquet", "application/vnd.apache.parquet"), "fits": ("fits", "application/fits"),
    "votable": ("vot", "application/x-votable+xml"), "csv": ("csv", "text/csv"),
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """An outcome with the DAG and the log of the task that it came from."""

    row: OutcomeRow
    dag: str
    log: str


@dataclass(frozen=True)
class Line:
    """A mark of the histogram."""

    x: float
    name: str
    label: str


@dataclass(frozen=True)
class Plot:
    """A histogram as it is drawn, in units of the drawing."""

    path: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    decades: tuple[tuple[float, str], ...]


WIDTH, HEIGHT = 640.0, 220.0
"""Of the drawing, without its labels."""


def history_of(ledger: Ledger, archive: str, frame: FrameId) -> tuple[list[Told], int]:
    """Outcomes of a frame, the newest first, with the logs of their tasks; and how many there are in all."""
    rows = ledger.history(archive, frame)
    newest = rows[::-1][:MOST_OUTCOMES]
    logs: dict[tuple[str, str, str], str] = {}
    for run, batch in {(row.dag_run, row.batch) for row in newest}:
        for attempt in ledger.attempts(run, batch):  # the last one stands
            if attempt.log:
                logs[run, batch, attempt.stage] = log_link(attempt.log)
    dags = dags_of(ledger, {row.dag_run for row in newest})
    return [Told(row, dags[row.dag_run], logs.get((row.dag_run, row.batch, row.stage), "")) for row in newest], len(
        rows
    )


def plot_of(histogram: Histogram, background: float | None, rms: float | None) -> Plot:
    """Lines of a histogram with counts on a logarithmic scale, and marks for background and noise."""
    span = histogram.high - histogram.low
    top = max(1.0, math.log10(max(1, *histogram.counts)))

    def across(value: float) -> float:
        return round((value - histogram.low) / span * WIDTH, 1)

    def down(count: float) -> float:
        return round(HEIGHT * (1 - (math.log10(count) if count > 1 else 0.0) / top), 1)

    width = WIDTH / len(histogram.counts)
    steps = [f"M0 {HEIGHT:g}"] + [
        f"L{n * width:.1f} {down(count):g}H{(n + 1) * width:.1f}" for n, count in enumerate(histogram.counts)
    ]
    marks = [("median", "median", histogram.median)]
    if background is not None and rms is not None:
        marks = [("background", "background", background), ("noise", "− rms", background - rms),
                 ("noise", "+ rms", background + rms)]  # fmt: skip
    lines = tuple(Line(across(v), n, label) for n, label, v in marks if histogram.low <= v <= histogram.high)
    ticks = tuple((WIDTH * k / 4, f"{histogram.low + span * k / 4:.4g}") for k in range(5))
    decades = tuple((down(10**k), f"{10**k:,}") for k in range(int(top) + 1))
    return Plot("".join(steps) + f"V{HEIGHT:g}Z", lines, ticks, decades)


def _about(data: Data, archive: str, text: str) -> dict[str, Any]:
    frame, name = FrameId.parse(text), archive_of(archive)
    places = places_of(data, name, frame)
    outcomes, total = history_of(data.ledger, name, frame)
    others = [FrameId(frame.release, frame.run, frame.rerun, frame.camcol, frame.field, band) for band in BANDS]
    known = {place.frame for place in whereabouts(data.ledger, others, name)}
    return {
        "archive": name, "frame": frame, "places": places, "outcomes": outcomes, "more_outcomes": total - len(outcomes),
        "bands": [(other, other in known) for other in others], "stretches": STRETCHES, "formats": list(FORMATS),
        "columns": COLUMNS, "rows": ROWS, "flags": flag_legend(), "profile": chosen(places, "").profile,
    }  # fmt: skip


@router.get("/frames", response_class=HTMLResponse)
def frames(request: Request, q: str = "") -> HTMLResponse:
    """Search form, and what was found."""
    found, said = list[Found](), ""
    if q.strip():
        try:
            found, said = find(data_of(request), q)
        except InvalidInput as error:
            said = str(error)
    return page(request, "frames.html", q=q[:200], found=found, said=said)


@router.get("/frames/{archive}/{frame}", response_class=HTMLResponse)
def frame(request: Request, archive: str, frame: str) -> HTMLResponse:
    """Show the page; what is not in the ledger is asked for by the page itself, each part alone."""
    return page(request, "frame.html", **_about(data_of(request), archive, frame))


@router.get("/frames/{archive}/{frame}/picture")
def picture(
    request: Request, archive: str, frame: str, stretch: str = "asinh", scale: str = "2", save: bool = False
) -> Response:
    """Picture of the pixels, without sources."""

    def make() -> Response:
        one, by = FrameId.parse(frame), number_of(scale, "scale", 1, 4)
        if by not in SCALES:
            raise InvalidInput(f"A scale is one of {', '.join(map(str, SCALES))}, not {by}.")
        made = data_of(request).pixels.picture(archive_of(archive), one, stretch_of(stretch), by)
        return sent(made.content, made.kind, f"{one}-{stretch}.{made.ending}" if save else "")

    return plain(make)


def _sources(data: Data, archive: str, frame: str, profile: str) -> tuple[Shown, str]:
    place = chosen(places_of(data, archive_of(archive), FrameId.parse(frame)), profile)
    result = result_of(data.store, place)
    key = (archive, frame, place.profile, result.folder, result.measured)

    def make() -> tuple[Shown, str]:
        table, result = sources_of(data.store, place)
        return shown(table, result), place.profile

    found: tuple[Shown, str] = data.sources(repr(key), make)
    return found


@router.get("/frames/{archive}/{frame}/sources.json")
def sources(request: Request, archive: str, frame: str, profile: str = "") -> Response:
    """Sources to be drawn, shapes and the texts of each; and why there are none, or no picture."""

    def make() -> Response:
        data, one = data_of(request), FrameId.parse(frame)
        places_of(data, archive_of(archive), one)
        answer: dict[str, Any] = {"labels": [], "drawn": [], "texts": []}
        answer["no_picture"] = data.pixels.missing(archive_of(archive), one)
        told, answer["why"] = _or_why(lambda: _sources(data, archive, frame, profile))
        if told:
            found, answer["profile"] = told
            names = ("labels", "drawn", "texts", "total", "synthetic", "published")
            answer |= {"kinds": KINDS} | {name: getattr(found, name) for name in names}
        return sent(json.dumps(answer, separators=(",", ":")).encode(), "application/json")

    return plain(make)


@router.get("/frames/{archive}/{frame}/table", response_class=HTMLResponse)
def table(request: Request, archive: str, frame: str, profile: str = "", start: str = "0") -> HTMLResponse:
    """Part: rows of the sources, the brightest first."""

    def make() -> dict[str, Any]:
        found, its_profile = _sources(data_of(request), archive, frame, profile)
        first = number_of(start, "first row", 0, 999_999)
        last = min(first + ROWS_A_PAGE, len(found.texts))
        return {
            "archive": archive_of(archive), "frame": FrameId.parse(frame), "profile": its_profile, "sources": found,
            "first": first, "last": last, "step": ROWS_A_PAGE, "kinds": KINDS,
            "rows": [(found.drawn[n], found.texts[n]) for n in range(first, last)],
        }  # fmt: skip

    return part(request, "frame_table.html", make)


@router.get("/frames/{archive}/{frame}/pixels", response_class=HTMLResponse)
def pixels(request: Request, archive: str, frame: str, profile: str = "") -> HTMLResponse:
    """Part: histogram, background and noise."""

    def make() -> dict[str, Any]:
        data, one = data_of(request), FrameId.parse(frame)
        place = chosen(places_of(data, archive_of(archive), one), profile)
        result, why = _or_why(lambda: result_of(data.store, place))
        measured = result.measured if result else None
        found, not_read = _or_why(lambda: data.pixels.histogram(place.archive, one))
        plot = plot_of(found, measured.background, measured.rms) if found and measured else (
            plot_of(found, None, None) if found else None)  # fmt: skip
        return {
            "histogram": found, "not_read": not_read, "plot": plot, "measured": measured,
            "why": why or ("" if measured else "Its batch says nothing of it."), "width": WIDTH, "height": HEIGHT,
            "unit": PIXEL_UNIT[one.release.service], "place": place,
        }  # fmt: skip

    return part(request, "frame_pixels.html", make)


@router.get("/frames/{archive}/{frame}/files", response_class=HTMLResponse)
def files(request: Request, archive: str, frame: str, profile: str = "") -> HTMLResponse:
    """Part: files with their checksums, and what validation found."""

    def make() -> dict[str, Any]:
        data, one = data_of(request), FrameId.parse(frame)
        place = chosen(places_of(data, archive_of(archive), one), profile)
        result = result_of(data.store, place)
        report, not_checked = _or_why(lambda: checks_of(data.store, result, str(one)))
        return {
            "result": result, "place": place, "report": report, "not_checked": not_checked,
            "staged": bool(result.entry and data.store.exists(result.entry.staged)), "store": data.store.url,
        }  # fmt: skip

    return part(request, "frame_files.html", make)


@router.get("/frames/{archive}/{frame}/header", response_class=HTMLResponse)
def header(request: Request, archive: str, frame: str) -> HTMLResponse:
    """All cards of the staged file's headers."""
    one, name = FrameId.parse(frame), archive_of(archive)
    found, why = _or_why(lambda: data_of(request).pixels.header(name, one))
    return page(request, "header.html", archive=name, frame=one, hdus=found or [], why=why)


@router.get("/frames/{archive}/{frame}/download/{kind}")
def download(request: Request, archive: str, frame: str, kind: str, profile: str = "") -> Response:
    """Sources of the frame, with all their columns, as a file."""

    def make() -> Response:
        if kind not in FORMATS:
            raise InvalidInput(f"A table is downloaded as one of {', '.join(FORMATS)}, not {quoted(kind)}.")
        data, one = data_of(request), FrameId.parse(frame)
        place = chosen(places_of(data, archive_of(archive), one), profile)
        found, result = sources_of(data.store, place)
        ending, media = FORMATS[kind]
        name = f"{one}-{place.profile}{'' if result.published else '-unpublished'}.{ending}"
        return sent(table_bytes(found, kind), media, name)

    return plain(make)


@dataclass(frozen=True)
class Checks:
    """A batch's validation report, the checks that name a frame first."""

    ok: bool
    sentence: str
    mine: Sequence[dict[str, Any]]
    others: Sequence[dict[str, Any]]


def checks_of(store: Store, result: Result, frame: str) -> Checks:
    """Read the validation report of a batch; StorageError if there is none, or it cannot be read."""
    path = f"{result.folder}/{VALIDATION}"
    with readable(store.uri(path)):
        report = json.loads(store.read(path))
        checks = [
            {"name": str(one["name"]), "passed": bool(one["passed"]), "detail": str(one["detail"]),
             "severity": str(one["severity"]), "frame": str(one["frame"] or "")}
            for one in report["checks"]
        ]  # fmt: skip
        mine = [one for one in checks if one["frame"] == frame]
        others = sorted((one for one in checks if one["frame"] != frame), key=lambda one: bool(one["passed"]))
        return Checks(bool(report["ok"]), str(report.get("sentence", "")), mine, others)


def _or_why(make: Any) -> tuple[Any, str]:
    try:
        return make(), ""
    except KiraError as error:
        return None, str(error)
