"""One page about a validated batch: checks, numbers by band, plots. A single HTML file that loads nothing."""

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from kira.validation.checks import Validation
from kira.validation.figures import BandFigures
from kira.validation.plots import plots
from kira.validation.report import Check, Severity

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em; color: #1a1a1a }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .25em .7em; text-align: left; vertical-align: top;
border-bottom: 1px solid #ddd } .scroll { overflow-x: auto } .failed { color: #b00020 } .warns { color: #8a5a00 }
.passed { color: #1b6e34 } .synthetic { background: #fff3c4; padding: .6em 1em } img { max-width: 100%; height: auto }
"""
_NAMES = {
    "sources_per_frame": "sources a frame", "not_finite": "without a flux", "east": 'east ["]', "north": 'north ["]',
    "east_scatter": 'its scatter ["]', "north_scatter": 'its scatter ["]', "matched": "sources of these offsets",
    "zero_point": "zero-point [mag]", "zero_point_scatter": "its scatter [mag]", "zero_point_column": "it is of",
    "zero_point_stars": "stars of it", "bright": "stars that should be found", "bright_found": "of them found",
    "spurious": "unknown to the reference", "depth_95": "95 % found to [mag]", "depth_50": "50 % found to [mag]",
}  # fmt: skip
_PARTS = {"flagged", "not_finite", "spurious"}


def page(validation: Validation, title: str, *, synthetic: bool = False) -> str:
    """Write the page.

    Parameters
    ----------
    validation : Validation
        See `kira.validation.examine`.
    title : str
        What was validated, such as the name of the batch.
    synthetic : bool, optional
        Whether frames were simulated: then the page says so at its top, and in the title of every plot. A reference
        that is synthetic says it too.

    Returns
    -------
    str
        HTML with all that it needs inside, at most 1 MB; everything that comes from outside is escaped.
    """
    report, comparisons = validation.report, validation.comparisons
    simulated = synthetic or (comparisons is not None and any(one.reference.synthetic for one in comparisons.frames))
    mark = '<p class="synthetic"><strong>Synthetic frames:</strong> simulated by Kira, not an observation.</p>'
    drawn = plots(comparisons, synthetic=simulated) if comparisons else {}
    head = f"{title}{' (synthetic)' if simulated else ''}"
    parts = [
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">',
        # Nothing of the page may run or be fetched, whatever a name in it holds.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'\">",
        f"<title>{html.escape(head)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(head)}</h1>", mark if simulated else "",
        f'<p class="{"passed" if report.ok else "failed"}">{html.escape(report.sentence())}</p>',
        _caveats(report.caveats), "<h2>Numbers by band</h2>", _figures(report.figures), "<h2>Checks</h2>",
        _checks(report.checks), *(_picture(name, png) for name, png in drawn.items()), "</body></html>",
    ]  # fmt: skip
    return "\n".join(part for part in parts if part) + "\n"


def _caveats(caveats: Sequence[str]) -> str:
    if not caveats:
        return ""
    return "<h2>Caveats</h2><ul>" + "".join(f"<li>{html.escape(one)}</li>" for one in caveats) + "</ul>"


def _figures(figures: Sequence[BandFigures]) -> str:
    names = [one.name for one in fields(BandFigures) if one.name != "band"]
    shown = [name for name in names if any(getattr(one, name) not in (None, "") for one in figures)]
    rows = [[_NAMES.get(name, name), *(_value(name, getattr(one, name)) for one in figures)] for name in shown]
    return _table(["", *(one.band for one in figures)], rows)


def _value(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1%}" if name in _PARTS else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _checks(checks: Sequence[Check]) -> str:
    rows = []
    for check in checks:
        state = "passed" if check.passed else "warns" if check.severity is Severity.WARNING else "failed"
        rows.append([check.name, state, check.frame or "", check.detail])
    return _table(["check", "result", "frame", "what was found"], rows, state=1)


def _table(head: Iterable[str], rows: Sequence[Sequence[str]], state: int = -1) -> str:
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(
            f"<td{f' class={chr(34)}{cell}{chr(34)}' if i == state else ''}>{html.escape(cell)}</td>"
            for i, cell in enumerate(row)
        ) + "</tr>"
        for row in rows
    )  # fmt: skip
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'


def _picture(name: str, png: bytes) -> str:
    encoded = base64.b64encode(png).decode("ascii")
    text = html.escape(name)
    return f'<h2>{text}</h2><img alt="{text}" src="data:image/png;base64,{encoded}">'
