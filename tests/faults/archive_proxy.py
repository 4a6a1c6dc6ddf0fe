"""A real HTTP proxy before the archive's server, which does to an answer what a test tells it to."""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

LOGIN_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>SDSS login</title></head><body>"
    b'<form action="/login" method="post"><input name="user"></form></body></html>\n'
)


@dataclass
class Answer:
    """What the archive's server answered, on its way to the client."""

    status: int
    headers: dict[str, str]
    body: bytes
    length: int | None = None
    """Announced instead of the body's own."""
    pause: float = 0.0
    """Seconds between the pieces in which it is sent."""
    stop: int | None = None
    """Bytes after which the connection is cut."""


Fault = Callable[[Answer], Answer]


def untouched(answer: Answer) -> Answer:
    """As it came."""
    return answer


def status(number: int, text: bytes = b"Sorry.\n") -> Fault:
    """Another status, with a page of its own."""
    return lambda _: Answer(number, {"Content-Type": "text/html"}, text)


def slow(seconds: float) -> Fault:
    """A pause of that long before each of a few pieces."""

    def fault(answer: Answer) -> Answer:
        answer.pause = seconds
        return answer

    return fault


def cut(part: float = 0.5) -> Fault:
    """The connection ends in the middle."""

    def fault(answer: Answer) -> Answer:
        answer.stop = int(len(answer.body) * part)
        return answer

    return fault


def wrong_length(missing: int) -> Fault:
    """More is announced than is sent, and then the connection is closed politely."""

    def fault(answer: Answer) -> Answer:
        answer.length = len(answer.body) + missing
        return answer

    return fault


def shorter(part: float = 0.5) -> Fault:
    """Less is sent, and the length says so: nothing on the way looks wrong."""

    def fault(answer: Answer) -> Answer:
        answer.body = answer.body[: int(len(answer.body) * part)]
        return answer

    return fault


def flipped(answer: Answer) -> Answer:
    """One bit is another."""
    body = bytearray(answer.body)
    body[len(body) // 2] ^= 0x10
    answer.body = bytes(body)
    return answer


def login(answer: Answer) -> Answer:
    """Sent on to a page where one has to log in."""
    return Answer(302, {"Location": "/login?next=frame", "Content-Type": "text/html"}, LOGIN_PAGE)


def page(answer: Answer) -> Answer:
    """A web page under the frame's name, with status 200."""
    return Answer(200, {"Content-Type": "text/html"}, LOGIN_PAGE)


def half_listing(answer: Answer) -> Answer:
    """An index page that ends in the middle, of the length that it says: written so by the server."""
    answer.body = answer.body[: len(answer.body) // 2]
    return answer


@dataclass
class Rule:
    """Faults for the requests whose path matches: one after the other, the last for ever."""

    pattern: re.Pattern[str]
    faults: list[Fault]

    def next(self) -> Fault:
        return self.faults.pop(0) if len(self.faults) > 1 else self.faults[0]


@dataclass
class Proxy:
    """A running proxy; `on` says what it does."""

    upstream: str
    url: str = ""
    rules: list[Rule] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    hooks: list[tuple[re.Pattern[str], Callable[[], None]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, pattern: str, *faults: Fault) -> None:
        """From now on do this to answers whose path matches; without faults, leave all of them alone again."""
        with self.lock:
            self.rules = [rule for rule in self.rules if rule.pattern.pattern != pattern]
            if faults:
                self.rules.insert(0, Rule(re.compile(pattern), list(faults)))

    def once(self, pattern: str, action: Callable[[], None]) -> None:
        """Do something, once, before the next request that matches is answered."""
        with self.lock:
            self.hooks.append((re.compile(pattern), action))

    def count(self, pattern: str) -> int:
        """Requests that matched so far."""
        with self.lock:
            return sum(bool(re.search(pattern, path)) for path in self.asked)

    def take(self, path: str) -> tuple[Fault, list[Callable[[], None]]]:
        with self.lock:
            self.asked.append(path)
            actions = [action for pattern, action in self.hooks if pattern.search(path)]
            self.hooks = [hook for hook in self.hooks if not hook[0].search(path)]
            rule = next((rule for rule in self.rules if rule.pattern.search(path)), None)
            return (rule.next() if rule else untouched), actions


@contextlib.contextmanager
def proxying(upstream: str) -> Iterator[Proxy]:
    """Run a proxy before a server."""
    state = Proxy(upstream)
    client = httpx.Client(base_url=upstream, trust_env=False, timeout=60)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            fault, actions = state.take(self.path)
            for action in actions:
                action()
            passed = {name: value for name, value in self.headers.items() if name.lower() in ("range", "if-range")}
            came = client.request(self.command, self.path, headers=passed | {"Accept-Encoding": "identity"})
            kept = ("content-type", "etag", "last-modified", "content-range", "accept-ranges", "location")
            headers = {name: value for name, value in came.headers.items() if name in kept}
            if self.path.startswith("/login"):
                self._send(Answer(200, {"Content-Type": "text/html"}, LOGIN_PAGE))
                return
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._send(fault(Answer(came.status_code, headers, came.content)))

        do_HEAD = do_GET

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
            self.end_headers()
            body = answer.body if self.command != "HEAD" else b""
            body = body if answer.stop is None else body[: answer.stop]
            size = max(1, len(body) // 3 + 1)
            for start in range(0, len(body), size):
                time.sleep(answer.pause)
                self.wfile.write(body[start : start + size])
            if answer.stop is not None or answer.length is not None:
                self.wfile.flush()
                self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *arguments: object) -> None:
            pass  # a client that gave up waiting

    with Server(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield state
        server.shutdown()
    client.close()
