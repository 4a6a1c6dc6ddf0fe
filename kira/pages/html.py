"""Templates to pages."""

from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from kira.ledger import Outcome

_ENVIRONMENT = Environment(
    loader=PackageLoader("kira.pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
"""What a browser may load for a page of ours: what we serve. A script that came in with data is not run."""


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Fill a template.

    Parameters
    ----------
    request : Request
    template : str
        File in `templates`.
    status : int
        Of the answer.
    **values
        For the template, which escapes them.
    """
    root = str(request.scope.get("root_path", ""))
    text = _ENVIRONMENT.get_template(template).render(root=root, now=datetime.now(UTC).replace(tzinfo=None), **values)
    return HTMLResponse(text, status, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-store"})


def _filter(function: Any) -> Any:
    _ENVIRONMENT.filters[function.__name__] = function
    return function


@_filter
def number(value: float) -> str:
    """Whole number, with commas."""
    return f"{value:,.0f}"


@_filter
def size(value: float) -> str:
    """Bytes as a person says them."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


@_filter
def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 200_000 else f"{seconds / 86400:.1f} days"


@_filter
def utc(value: datetime | None) -> str:
    """Time of a ledger's row."""
    return f"{value:%Y-%m-%d %H:%M:%S} UTC" if value else "never"


@_filter
def words(value: str) -> str:
    """Name of an outcome or a stage, to be read."""
    return value.replace("_", " ")


@_filter
def grade(outcome: str) -> str:
    """How an outcome is coloured: good, waiting or bad."""
    if outcome in ("retrying", "not reached", str(Outcome.WAITING), str(Outcome.WITHDRAWN)):
        return "waiting"
    return "good" if Outcome(outcome).good else "bad"
