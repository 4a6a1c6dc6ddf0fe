"""Serves folders laid out like the SDSS archives over HTTP: the local stack's stand-in for SDSS's servers.

A registry, a JSON file `{"name": "/folder", ...}`, says what is served; it is read again when it changes. Below
`/NAME/` the trees `das`, `sas` and `truth` of a folder are visible, nothing else.
"""

import argparse
import json
import os
import re
import stat
import sys
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from kira.errors import StackError
from kira.sdss.archive import NAME_PATTERN
from kira.stack.config import HOST

TREES = ("das", "sas", "truth")
"""What is visible of a folder: the two layouts of the archive, and the truth of synthetic frames."""


class _FrameResponse(FileResponse):
    """A file as it lies there; compressed ones stay so."""

    chunk_size = 1024 * 1024  # a frame in a few pieces: each costs a change of threads


class Registry:
    """Names of archives and their folders, from a JSON file that may change at any time.

    Parameters
    ----------
    path : Path
        Should be replaced by a rename, not written in place.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._folders: dict[str, Path] = {}

    def folders(self) -> dict[str, Path]:
        """Folder of each name.

        Raises
        ------
        StackError
            If the file is missing or is not a JSON object of names and absolute paths.
        """
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self._seen:
                self._folders = _folders(json.loads(self._path.read_text(encoding="utf-8")))
                self._seen = seen
        except (OSError, ValueError) as error:
            raise StackError(f"The archive server's registry {self._path} cannot be read: {error}") from error
        return self._folders


def create_app(registry: Path) -> Starlette:
    """Build the application that serves the folders of a registry file."""
    known = Registry(registry)

    def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "archives": sorted(known.folders())})

    def serve(request: Request) -> Response:
        parts, url_path = request.path_params, request.scope["path"]
        folder = known.folders().get(parts["name"])
        if folder and not folder.is_dir():
            # Not to be taken for an archive without frames: it may be a disk, or a container's mount, that is away.
            raise StackError(f"The folder {folder} of the archive {parts['name']} is not there now.")
        root = _root(folder, parts["tree"])
        path = root and _inside(root, root / parts.get("path", "").lstrip("/"))
        if not (root and path):
            raise HTTPException(404)
        if path.is_file() and not url_path.endswith("/"):
            return _FrameResponse(path, media_type="application/octet-stream")
        if not path.is_dir():
            raise HTTPException(404)
        if not url_path.endswith("/"):
            return RedirectResponse(quote(url_path) + "/", 301)
        return HTMLResponse(_index_page(url_path, root, path))

    def broken(_: Request, error: Exception) -> Response:
        return PlainTextResponse(str(error), 503)

    routes = [
        Route("/healthz", health),
        Route("/{name}/{tree}", serve),
        Route("/{name}/{tree}/{path:path}", serve),
    ]
    app = Starlette(routes=routes, exception_handlers={StackError: broken})
    app.router.redirect_slashes = False
    return app


def _folders(content: object) -> dict[str, Path]:
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    for name, folder in content.items():
        if not re.fullmatch(NAME_PATTERN, name, re.ASCII):
            raise ValueError(f"{name!r} cannot name an archive")
        if not (isinstance(folder, str) and Path(folder).is_absolute()):
            raise ValueError(f"{name}: {folder!r} is not an absolute path")
    return {name: Path(folder) for name, folder in content.items()}


def _root(folder: Path | None, tree: str) -> Path | None:
    """Folder of a visible tree, or None if there is none of that name."""
    return folder.resolve() / tree if folder and tree in TREES else None


def _inside(root: Path, path: Path) -> Path | None:
    """What a path means, or None if that is not in the tree: links are followed before it is decided."""
    if "\0" in str(path) or ".." in path.parts:
        return None
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # not there, a name too long, links in a circle
        return None
    return target if target.is_relative_to(root) else None


def _index_page(url_path: str, root: Path, folder: Path) -> str:
    """An index page as Apache makes it."""
    title = escape(f"Index of {url_path.rstrip('/')}")
    targets = ((path.name, _inside(root, path)) for path in sorted(folder.iterdir()))
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html><head><meta charset="utf-8">',
            f"<title>{title}</title></head><body><h1>{title}</h1><table>",
            "<tr><th>Name</th><th>Last modified</th><th>Size</th></tr>",
            '<tr><td><a href="../">Parent Directory</a></td><td></td><td>-</td></tr>',
            *(_row(name, target) for name, target in targets if target),
            "</table></body></html>\n",
        ]
    )


def _row(name: str, target: Path) -> str:
    """Row of a file or folder; empty for what is not served or has gone meanwhile."""
    try:
        status = target.stat()
    except OSError:
        return ""
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return ""
    slash = "/" if stat.S_ISDIR(status.st_mode) else ""
    text = escape(os.fsencode(name).decode(errors="replace"))
    changed = datetime.fromtimestamp(status.st_mtime, UTC)
    return (
        f'<tr><td><a href="{quote(os.fsencode(name), safe="")}{slash}">{text}{slash}</a></td>'
        f"<td>{changed:%Y-%m-%d %H:%M:%S}</td><td>{'-' if slash else status.st_size}</td></tr>"
    )


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped; on this machine's own address, unless another is named."""
    parser = argparse.ArgumentParser(prog="python -m kira.stack.archive_server", description=__doc__)
    parser.add_argument("--registry", type=Path, required=True, help="JSON file of names and folders")
    parser.add_argument("--port", type=int, required=True)
    # Nobody but this machine, or this network of containers: what is served was not meant for others.
    parser.add_argument("--host", default=HOST)
    options = parser.parse_args(arguments)
    try:
        Registry(options.registry).folders()
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    uvicorn.run(create_app(options.registry), host=options.host, port=options.port, access_log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
