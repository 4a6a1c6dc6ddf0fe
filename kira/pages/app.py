"""The pages as one FastAPI application."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response

from kira.errors import InvalidInput, KiraError
from kira.pages import batch, field, frame, overview, problems, runs, sky, systems
from kira.pages.data import Data
from kira.pages.html import page
from kira.pages.missing import NotKnown

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def create_app(data: Data, dependencies: Sequence[Any]) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    data : Data
    dependencies : sequence of fastapi.Depends
        Asked at every request, also for a style sheet: whoever may not read gets 401 or 403 from them.

    Returns
    -------
    FastAPI
        To be mounted. It has no documentation pages of its own, which would not be asked.
    """
    app = FastAPI(title="Kira", dependencies=list(dependencies), docs_url=None, redoc_url=None, openapi_url=None)
    app.state.data = data
    for part in (overview, systems, problems, runs, sky, batch, frame, field):
        app.include_router(part.router)
    files = {entry.name: entry.read_bytes() for entry in resources.files("kira.pages").joinpath("static").iterdir()
             if entry.name.rpartition(".")[2] in _TYPES}  # fmt: skip

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        """One of the files that come with the pages; the name is looked up, and no path."""
        if name not in files:
            raise HTTPException(404, "There is no such file.")
        kind = _TYPES[name.rpartition(".")[2]]
        return Response(files[name], media_type=kind, headers={"Cache-Control": "private, max-age=3600"})

    @app.exception_handler(InvalidInput)
    def refused(request: Request, error: Exception) -> HTMLResponse:
        return page(request, "error.html", 400, title="That cannot be", text=str(error))

    @app.exception_handler(NotKnown)
    def unknown(request: Request, error: Exception) -> HTMLResponse:
        return page(request, "error.html", 404, title="Not known", text=str(error))

    @app.exception_handler(KiraError)
    def failed(request: Request, error: Exception) -> HTMLResponse:
        return page(request, "error.html", 503, title="Not to be had just now", text=str(error))

    return app
