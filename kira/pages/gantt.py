"""What was done when, as bars in rows: places are reckoned here, a template draws them."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

WIDTH = 1000.0
"""Of the time axis, in the drawing's own units."""
NARROWEST = 2.0
ROW = 22
"""Height of a row."""
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


@dataclass(frozen=True)
class Span:
    """Something that took time.

    Parameters
    ----------
    row, kind, title : str
        In which row it is drawn, how it is coloured, and what it says of itself.
    began : datetime
    ended : datetime or None
        None while it is at work.
    mark : str
        A letter or two on the bar, so that colour is not all that tells.
    bad : bool
    """

    row: str
    kind: str
    title: str
    began: datetime
    ended: datetime | None
    mark: str = ""
    bad: bool = False


@dataclass(frozen=True)
class Bar:
    """A span's place on the time axis."""

    span: Span
    x: float
    width: float


@dataclass(frozen=True)
class Gantt:
    """Rows with their bars, and marks on the time axis.

    Parameters
    ----------
    rows : list of (str, int, list of Bar)
        Name, how far down it is drawn, bars.
    ticks : list of (float, str)
    height : int
    left_out : int
        Rows that are not drawn.
    """

    rows: list[tuple[str, int, list[Bar]]]
    ticks: list[tuple[float, str]]
    height: int
    left_out: int


def gantt(spans: Iterable[Span], now: datetime, most_rows: int) -> Gantt | None:
    """Reckon the places.

    Parameters
    ----------
    spans : iterable of Span
    now : datetime
        Where bars end that have no end.
    most_rows : int
        Those that begin first are drawn.

    Returns
    -------
    Gantt or None
        None where there is nothing to draw.
    """
    rows: dict[str, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda one: one.began):
        rows[span.row].append(span)
    drawn = dict(list(rows.items())[:most_rows])
    kept = [span for row in drawn.values() for span in row]
    if not kept:
        return None
    first = min(span.began for span in kept)
    last = max(max(span.ended or now, span.began) for span in kept)
    whole = max((last - first).total_seconds(), 0.001)

    def place(at: datetime) -> float:
        return round(WIDTH * (at - first).total_seconds() / whole, 1)

    made = []
    for number, (name, row) in enumerate(drawn.items()):
        bars = [
            Bar(one, place(one.began), max(place(max(one.ended or now, one.began)) - place(one.began), NARROWEST))
            for one in row
        ]
        made.append((name, 20 + ROW * number, bars))
    step = next((one for one in STEPS if whole / one <= 8), STEPS[-1] * max(1, round(whole / STEPS[-1] / 8)))
    ticks = [(place(first + timedelta(seconds=n * step)), _since(n * step)) for n in range(int(whole // step) + 1)]
    return Gantt(made, ticks, 24 + ROW * len(made), len(rows) - len(drawn))


def _since(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
