"""The compose file, the Dockerfile and the container's main process: what they promise, without a Docker engine."""

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from kira.stack import hadoop
from kira.stack.config import DEFAULT_PORTS

PROJECT = Path(__file__).resolve().parents[2]
SCRIPT = PROJECT / "scripts" / "container"
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
# Instructions with their continuation lines joined and the comments gone.
INSTRUCTIONS = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ").splitlines()


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "docker-compose.yml").read_text())


@pytest.fixture
def service(compose: dict[str, Any]) -> dict[str, Any]:
    return compose["services"]["kira"]


def options_of_kira_run(text: str) -> dict[str, str]:
    """Options of the `kira run` command in a shell text, with the variable that each gets its value from."""
    command = re.search(r"\bkira run ((?:.*\\\n)*.*)", text)
    assert command
    return dict(re.findall(r'--([a-z-]+) "\$+\{?([A-Z]+)', command[1]))


# -- the compose file


@pytest.mark.parametrize("name", ["docker-compose.yml", "Dockerfile", "scripts/container"])
def test_no_file_holds_a_secret(name: str) -> None:
    text = (PROJECT / name).read_text()
    assert not re.findall(r"(?i)\b\w*(?:password|passwd|secret|token|fernet|access_key|jwt)\w*\s*[:=]", text)


def test_environment_is_what_make_run_knows_and_no_more(service: dict[str, Any]) -> None:
    makefile = (PROJECT / "Makefile").read_text()
    exported = re.search(r"^export (.+)$", makefile, re.MULTILINE)
    assert exported
    defaults = dict(re.findall(r"^([A-Z]+) \?= ?(.*)$", makefile, re.MULTILINE))
    wanted = {name: f"${{{name}:-{defaults[name]}}}" for name in exported[1].split()}
    ports = {
        "AIRFLOW_PORT": f"${{AIRFLOW_PORT:-{DEFAULT_PORTS['airflow']}}}",
        "KIRA_PORT_BASE": f"${{KIRA_PORT_BASE:-{DEFAULT_PORTS['archive']}}}",
    }
    assert service["environment"] == wanted | ports


def test_nothing_is_reachable_from_outside(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        published = [str(port) for port in service.get("ports", ())]
        assert service.get("network_mode") == "host" or published
        assert all(port.startswith("127.0.0.1:") for port in published)
        assert not service.get("privileged")


def test_runs_what_make_run_runs(service: dict[str, Any]) -> None:
    assert service["command"] == ["/opt/kira/scripts/container"]
    makefile = options_of_kira_run((PROJECT / "Makefile").read_text())
    selection = {"archive", "release", "runs", "camcols", "fields", "bands", "sky"}
    assert set(makefile) == selection | {"stage", "batch-size", "profile"}
    assert options_of_kira_run(SCRIPT.read_text()) == makefile


def test_limits_restart_and_health(service: dict[str, Any]) -> None:
    assert service["mem_limit"]
    assert service["restart"].startswith("on-failure")
    assert service["healthcheck"]["test"] == ["CMD", "/opt/kira/scripts/container", "healthy"]


def test_state_is_in_a_named_volume(compose: dict[str, Any], service: dict[str, Any]) -> None:
    assert service["volumes"] == ["state:/var/lib/kira"]
    assert "state" in compose["volumes"]
    assert "KIRA_HOME=/var/lib/kira" in DOCKERFILE


# -- the image


def test_image_is_ours(service: dict[str, Any]) -> None:
    assert service["build"]["context"] == "."
    assert "dockerfile" not in service["build"]
    assert [line.split()[1] for line in INSTRUCTIONS if line.startswith("FROM")] == ["debian:bookworm-slim"]


def test_image_does_not_run_as_root() -> None:
    users = [line.split()[1] for line in INSTRUCTIONS if line.startswith("USER")]
    assert users
    assert users[-1] not in ("root", "0")


def test_image_installs_the_lock_with_its_hashes() -> None:
    installs = [part for line in INSTRUCTIONS for part in line.split("&&") if re.search(r"\bpip install\b", part)]
    assert sum("--require-hashes -r requirements.txt" in " ".join(part.split()) for part in installs) == 1
    # besides: uv itself at the version below, and this package without its dependencies
    others = [part for part in installs if "--require-hashes" not in part]
    assert all("uv==$UV_VERSION" in part or "--no-deps" in part for part in others)


def test_image_has_the_versions_of_the_checkout() -> None:
    uv = re.search(r"^uv_version=(\S+)$", (PROJECT / "scripts" / "setup").read_text(), re.MULTILINE)
    assert uv
    assert f"ARG UV_VERSION={uv[1]}\n" in DOCKERFILE
    assert "hadoop.fetch_jar(" in DOCKERFILE  # which knows version and checksum


def test_only_what_is_named_goes_into_the_image() -> None:
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert {"kira", "dags", "plugins", "scripts/container", "requirements.txt"} <= allowed
    assert not [path for path in allowed if path.startswith(".")]


# -- the main process, with a `kira` that only says what it was told


FAKE_KIRA = """#!/usr/bin/env bash
echo "$@" >>"$KIRA_HOME/calls"
case "$1 $2" in
  "run --archive")
    [ -z "$FAKE_REFUSES" ] || exit 3
    sleep 300 & echo $! >"$KIRA_HOME/supervisord.pid"
    exit "${FAKE_STATUS:-0}" ;;
  "stack down") kill "$(cat "$KIRA_HOME/supervisord.pid")" ;;
esac
"""


class Container:
    """The main process on folders of its own."""

    def __init__(self, folder: Path) -> None:
        self.home, self.seed = folder / "home", folder / "seed"
        for made in (self.home, self.seed / "hadoop", folder / "bin"):
            made.mkdir(parents=True)
        (self.seed / "hadoop" / hadoop.JAR).write_bytes(b"jar")
        (folder / "bin" / "kira").write_text(FAKE_KIRA)
        (folder / "bin" / "kira").chmod(0o755)
        self.environment = {
            "PATH": f"{folder}/bin:{os.environ['PATH']}", "KIRA_HOME": str(self.home), "KIRA_SEED": str(self.seed),
        }  # fmt: skip
        self.process: subprocess.Popen[str] | None = None

    def start(self, **environment: str) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [SCRIPT], env=self.environment | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return self.process

    def calls(self) -> list[str]:
        file = self.home / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def supervisor(self) -> int:
        """Process id of the fake supervisor, when it runs."""
        file = self.home / "supervisord.pid"
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if file.exists() and (text := file.read_text().strip()):
                return int(text)
            time.sleep(0.05)
        raise AssertionError("the stack was not started")

    def clear(self) -> None:
        file = self.home / "supervisord.pid"
        if file.exists() and (text := file.read_text().strip()) and int(text) != os.getpid():
            subprocess.run(["kill", text], check=False, capture_output=True)
        if self.process:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = Container(tmp_path)
    yield made
    made.clear()


def test_stays_while_the_supervisor_runs_and_stops_the_stack_when_told(container: Container) -> None:
    process = container.start(ARCHIVE="sdss", RELEASE="dr12", RUNS="94", BATCH="7", AGAIN="1")
    container.supervisor()
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert container.calls() == [
        "run --archive sdss --release dr12 --runs 94 --camcols  --fields  --bands ugriz --sky  --stage  --batch-size 7"
        " --profile kira --again",
        "stack down",
    ]


def test_brings_the_jar_once(container: Container) -> None:
    container.start()
    container.supervisor()
    jar = container.home / "hadoop" / hadoop.JAR
    assert jar.read_bytes() == b"jar"
    container.clear()
    jar.write_bytes(b"the one that is there")
    (container.home / "supervisord.pid").unlink()
    container.start()
    container.supervisor()
    assert jar.read_bytes() == b"the one that is there"


def test_ends_with_the_status_of_what_was_refused(container: Container) -> None:
    # The file of a killed container names a process that lives here, but is no supervisor.
    (container.home / "supervisord.pid").write_text(str(os.getpid()))
    assert container.start(FAKE_REFUSES="1").wait(timeout=20) == 3


def test_stays_after_a_failed_ingestion(container: Container) -> None:
    process = container.start(FAKE_STATUS="1")
    container.supervisor()
    time.sleep(1)
    assert process.poll() is None
    process.terminate()
    assert "that failed" in process.communicate(timeout=20)[0]


def test_ends_when_the_supervisor_is_gone(container: Container) -> None:
    process = container.start()
    os.kill(container.supervisor(), signal.SIGKILL)
    assert process.wait(timeout=20) == 1


@pytest.mark.parametrize(
    ("scheduler", "status"), [("healthy", 0), ("unhealthy", 1), (None, 1)], ids=["healthy", "unhealthy", "no server"]
)
def test_health_is_airflows_own_word(scheduler: str | None, status: int, container: Container) -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/api/v2/monitor/health"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(
                json.dumps({"metadatabase": {"status": "healthy"}, "scheduler": {"status": scheduler}}).encode()
            )

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_port
    if scheduler is None:
        server.shutdown()
        server.server_close()
    # A proxy that is set must not be asked.
    environment = container.environment | {"AIRFLOW_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run([SCRIPT, "healthy"], env=environment, capture_output=True, text=True, check=False, timeout=60)
    if scheduler is not None:
        server.shutdown()
        server.server_close()
    assert done.returncode == status
    assert ("scheduler" in done.stderr) == (scheduler == "unhealthy")
