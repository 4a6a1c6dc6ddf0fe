"""Real HTTP servers for the tests of the archive: one that behaves, one that does as a test tells it."""

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import uvicorn

from kira.sdss.archive import Archive
from kira.stack.archive_server import create_app


@dataclass
class ArchiveServer:
    """The archive server of the local stack; `add` a folder and get it as an `Archive`."""

    url: str
    registry: Path

    def add(self, name: str, folder: Path) -> Archive:
        known = json.loads(self.registry.read_text())
        aside = self.registry.with_suffix(".new")
        aside.write_text(json.dumps(known | {name: str(folder)}))
        aside.rename(self.registry)
        return Archive(name, das=f"{self.url}/{name}/das", sas=f"{self.url}/{name}/sas")


@contextlib.contextmanager
def serving(registry: Path) -> Iterator[ArchiveServer]:
    """Run the archive server in a thread."""
    registry.write_text("{}")
    server = uvicorn.Server(uvicorn.Config(create_app(registry), log_level="warning", timeout_graceful_shutdown=1))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        yield ArchiveServer(f"http://127.0.0.1:{listening.getsockname()[1]}", registry)
        server.should_exit = True
        thread.join(10)


Behaviour = Callable[[BaseHTTPRequestHandler], None]


def cut(handler: BaseHTTPRequestHandler, *, reset: bool = False) -> None:
    """End the connection at once, politely or by a reset."""
    handler.wfile.flush()
    handler.close_connection = True
    if reset:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
    else:
        handler.connection.shutdown(socket.SHUT_RDWR)


def answer(
    status: int = 200,
    body: bytes = b"",
    *,
    length: int | None = None,
    framed: bool = True,
    pause: float = 0.0,
    reset: bool = False,
    **headers: str,
) -> Behaviour:
    """Answer with a status and a body; `length` announces another length, and then the connection is cut."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(pause)
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if framed:
            handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
        if not framed or length is not None:
            cut(handler, reset=reset)

    return behave


def file(body: bytes, *, stop: int | None = None, reset: bool = False, **headers: str) -> Behaviour:
    """Serve a file with ranges, as the standard says; `stop` cuts the connection after so many bytes of the file."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if handler.headers.get("If-Range") not in (None, *headers.values()):
            begin = 0
        extra = dict(headers)
        if begin:
            extra["Content_Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
        part = body[begin:stop]
        length = None if stop is None else len(body) - begin
        answer(206 if begin else 200, part, length=length, reset=reset, **extra)(handler)

    return behave


@dataclass
class RudeServer:
    """Answers each path with the next of its behaviours, the last one for ever, and remembers what it was asked."""

    url: str = ""
    script: dict[str, list[Behaviour]] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, path: str, *behaviours: Behaviour) -> None:
        self.script[path] = list(behaviours)

    def next(self, handler: BaseHTTPRequestHandler) -> Behaviour:
        with self.lock:
            self.seen.append((handler.command, handler.path, {k.lower(): v for k, v in handler.headers.items()}))
            behaviours = self.script.get(handler.path, [answer(404)])
            return behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _ in self.seen]


@contextlib.contextmanager
def misbehaving() -> Iterator[RudeServer]:
    """Run a rude server in threads."""
    state = RudeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 5
        disable_nagle_algorithm = True  # or each answer on a kept connection waits 40 ms for an acknowledgement

        def do_GET(self) -> None:
            with state.lock:
                state.now += 1
                state.most = max(state.most, state.now)
            try:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    state.next(self)(self)
            finally:
                with state.lock:
                    state.now -= 1

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

        def handle_error(self, *arguments: object) -> None:  # connections that a test resets
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield state
        server.shutdown()
