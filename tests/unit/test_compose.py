"""docker-compose.yml, the Dockerfile and the servers' commands: what they promise, without a Docker engine.

With one, `make compose-test` really brings them up.
"""

import json
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from kira.airflow_glue.retries import first_wait
from kira.errors import InvalidInput, StackError
from kira.settings import Settings
from kira.stack import airflow_server, containers, hadoop, roles
from kira.stack.airflow_server import AirflowApi
from kira.stack.config import CONTAINER_HOSTS, CONTAINER_PORTS, DEFAULT_PORTS, Secrets, StackConfig
from kira.stack.local import LocalStack

PROJECT = Path(__file__).resolve().parents[2]
HEALTHY = PROJECT / "scripts" / "healthy"
DOCKERFILE = (PROJECT / "Dockerfile").read_text()
# Instructions with their continuation lines joined and the comments gone.
INSTRUCTIONS = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
IMAGE = "${KIRA_TAG:-kira:local}"
SERVICES = {
    "postgres", "s3", "namenode", "datanode1", "datanode2", "datanode3", "queue", "archive", "spark-master",
    "spark-worker", "spark-history", "airflow-init", "airflow-api-server", "airflow-scheduler",
    "airflow-dag-processor", "airflow-triggerer", "airflow-worker", "cli",
}  # fmt: skip


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def ours(compose: dict[str, Any]) -> dict[str, Any]:
    """Services of our image that are servers."""
    found = compose["services"]
    return {name: one for name, one in found.items() if one["image"] == IMAGE and name != "cli"}


@pytest.fixture
def contained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackConfig:
    """Configuration in a container that was given all passwords."""
    for name in Secrets().__dataclass_fields__:
        monkeypatch.setenv(f"KIRA_{name.upper()}", f"a {name}/@")
    return StackConfig.load(environment={"KIRA_CONTAINERS": "3", "KIRA_HOME": str(tmp_path)})


# -- the compose file


@pytest.mark.parametrize("name", ["docker-compose.yml", "Dockerfile", "scripts/compose", "scripts/healthy"])
def test_no_file_holds_a_secret(name: str) -> None:
    text = (PROJECT / name).read_text()
    given = re.findall(r"(?i)\b\w*(?:password|passwd|secret|token|fernet|access_key|jwt)\w*[ \t]*[:=][ \t]*(\S+)", text)
    # Nothing is given but what comes from .env, or is made at random.
    assert {value.lstrip('"')[:7] for value in given} <= {"", "${KIRA_", "$(rando"}, given


def test_every_part_is_a_service(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == SERVICES


def test_each_service_runs_the_command_of_its_role(ours: dict[str, Any]) -> None:
    named = {name: one["command"] for name, one in ours.items()}
    assert all(command[:3] == ["kira", "stack", "serve"] for command in named.values())
    assert {command[3] for command in named.values()} == set(containers.ROLES)
    assert all(re.sub(r"(?<=datanode)\d", "", name) == command[3] for name, command in named.items())


def test_a_role_runs_what_the_local_stack_runs(contained: StackConfig, tmp_path: Path) -> None:
    local = StackConfig(tmp_path)
    for role, command in roles.commands(local).items():
        if role == "postgresql":  # the image postgres:16
            continue
        name = "datanode" if role.startswith("datanode") else role
        there = containers.command(contained, name, {})
        # Hosts and addresses are all that is otherwise.
        plain = [re.sub(r"0\.0\.0\.0|(?<=^-ip=)s3$", "127.0.0.1", word) for word in there]
        if role == "datanode2":
            plain = [word.replace("datanode1", "datanode2") for word in plain]
        expected = [
            word.replace(local_socket(command), f"-filer.localSocket={tmp_path}/filer.sock") for word in command
        ]
        expected = [word.replace(f"{tmp_path}/archives.json", f"{tmp_path}/archive/archives.json") for word in expected]
        assert plain == expected, role


def local_socket(command: list[str]) -> str:
    return next((word for word in command if word.startswith("-filer.localSocket=")), "no such option")


def test_hosts_and_ports_are_those_of_the_services(compose: dict[str, Any]) -> None:
    for host in CONTAINER_HOSTS.values():
        assert host in compose["services"]
    ports = DEFAULT_PORTS | CONTAINER_PORTS
    published = {str(one).rpartition(":")[2] for s in compose["services"].values() for one in s.get("ports", ())}
    assert published == {str(ports[name]) for name in ("airflow", "namenode_http", "spark_http", "history_http")}
    asked = {
        name: s["healthcheck"]["test"][2].removeprefix("own:") for name, s in compose["services"].items()
        if s.get("healthcheck", {}).get("test", [""] * 3)[2].removeprefix("own:").isdecimal()
    }  # fmt: skip
    port_of = {
        "s3": "s3", "namenode": "namenode_http", "datanode1": "datanode1_http", "datanode2": "datanode1_http",
        "datanode3": "datanode1_http", "queue": "queue", "archive": "archive", "spark-master": "spark_http",
        "spark-worker": "worker_http", "spark-history": "history_http", "airflow-api-server": "airflow",
    }  # fmt: skip
    assert asked == {name: str(ports[port]) for name, port in port_of.items()}


def test_number_of_datanodes_is_told(compose: dict[str, Any]) -> None:
    count = sum(name.startswith("datanode") for name in compose["services"])
    assert compose["x-settings"]["KIRA_CONTAINERS"] == str(count) == "3"


def test_only_pages_are_published_on_this_machine_alone(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert not service.get("privileged")
        assert service.get("network_mode") is None
        published = [str(port) for port in service.get("ports", ())]
        assert all(port.startswith("127.0.0.1:") for port in published)
        assert bool(published) == (name in {"namenode", "spark-master", "spark-history", "airflow-api-server"})


def test_limits_restart_and_health(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service["init"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        # The image's own user, who is not root either; see below.
        assert service.get("user") == (None if service["image"] == IMAGE else "postgres"), name
        assert service["restart"] in ("unless-stopped", "on-failure:5", "no"), name
        assert "healthcheck" in service or name in ("airflow-init", "cli"), name


def test_what_is_stored_is_in_named_volumes(compose: dict[str, Any]) -> None:
    used = set()
    for name, service in compose["services"].items():
        for volume in service.get("volumes", ()):
            source, _, target = re.sub(r"\$\{\w+:-([\w/]+)\}", r"\1", volume).partition(":")
            used.add(source)
            assert source in compose["volumes"], name
            if service["image"] == IMAGE:
                # A new volume takes its owner from the image.
                folder = target.removesuffix(":ro")
                assert folder == "/srv/archive" or folder.removeprefix("/var/lib/kira") in DOCKERFILE
    assert used == set(compose["volumes"])


def test_each_service_is_given_no_more_secrets_than_it_needs(compose: dict[str, Any]) -> None:
    def given(name: str) -> set[str]:
        words = compose["services"][name]["environment"]
        return {word for word in words if re.search("PASSWORD|SECRET|KEY", word)}

    assert given("namenode") == given("datanode1") == given("archive") == set()
    assert given("spark-master") == given("spark-worker") == given("spark-history") == {"KIRA_SPARK_SECRET"}
    assert given("s3") == {"KIRA_S3_ACCESS_KEY", "KIRA_S3_SECRET_KEY"}
    assert given("queue") == {"KIRA_QUEUE_PASSWORD"}
    assert given("airflow-init") - given("airflow-worker") == {"KIRA_POSTGRES_PASSWORD"}
    assert given("airflow-api-server") - given("airflow-worker") == {"KIRA_AIRFLOW_PASSWORD"}


def test_what_make_run_knows_the_containers_know() -> None:
    """The options of `kira run`, each from the variable that the Makefile gives it; STAGE is refused."""
    options = r'--([a-z-]+) "\$+\{?([A-Z]+)'
    makefile = re.search(r"\bkira run ((?:.*\\\n)*.*)", (PROJECT / "Makefile").read_text())
    script = re.search(r"\bcli kira run ((?:.*\\\n)*.*)", (PROJECT / "scripts" / "compose").read_text())
    assert makefile
    assert script
    known = dict(re.findall(options, makefile[1]))
    assert known.pop("stage") == "STAGE"
    assert known.pop("archive") == "ARCHIVE"
    assert dict(re.findall(options, script[1])) == known


# -- the image


def test_image_is_ours(compose: dict[str, Any]) -> None:
    built = [service["build"] for service in compose["services"].values() if "build" in service]
    assert [one["context"] for one in built] == ["."]
    assert "dockerfile" not in built[0]
    assert [line.split()[1] for line in INSTRUCTIONS if line.startswith("FROM")] == ["debian:bookworm-slim"]


def test_image_does_not_run_as_root() -> None:
    users = [line.split()[1] for line in INSTRUCTIONS if line.startswith("USER")]
    assert users
    assert users[-1] not in ("root", "0")


def test_what_is_copied_may_be_read_whatever_the_umask_of_the_checkout(tmp_path: Path) -> None:
    readable = "find . -name .venv -prune -o -exec chmod a+rX {} +"
    copies = [number for number, line in enumerate(INSTRUCTIONS) if line.startswith("COPY")]
    for number in range(max(copies)):
        if INSTRUCTIONS[number].startswith("USER kira"):  # all before it was made readable
            before = max(one for one in copies if one < number)
            assert any(readable in line for line in INSTRUCTIONS[before:number])
    rest = INSTRUCTIONS[max(copies) :]
    assert [line.split()[0] for line in rest[:3]] == ["COPY", "RUN", "USER"]
    assert rest[1] == f"RUN {readable}"
    (tmp_path / "kira").mkdir(mode=0o700)
    (tmp_path / ".venv").mkdir(mode=0o700)
    for name, mode in (("kira/code", 0o600), ("kira/program", 0o700), (".venv/code", 0o600)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    subprocess.run(["sh", "-c", readable], cwd=tmp_path, check=True)
    found = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert found == {"kira": 0o755, ".venv": 0o700, "kira/code": 0o644, "kira/program": 0o755, ".venv/code": 0o600}


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
    assert {"kira", "dags", "plugins", "datasets", "scripts/healthy", "requirements.txt"} <= allowed
    assert "\nCOPY . ./\n" in DOCKERFILE, "all of it goes beside the package, where it looks for the data sets' lists"
    assert not [path for path in allowed if path.startswith(".")]


# -- the servers' environment and files


def test_airflow_in_containers(contained: StackConfig) -> None:
    found = airflow_server.environment(contained)
    assert found["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    quoted = "a%20database_password%2F%40"
    assert (
        found["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"postgresql+psycopg://airflow:{quoted}@postgres:5432/airflow"
    )
    assert found["KIRA_LEDGER_URL"].startswith("postgresql+psycopg://kira:a%20ledger_password")
    assert found["AIRFLOW__CELERY__BROKER_URL"] == "redis://:a%20queue_password%2F%40@queue:28330/0"
    assert json.loads(found["AIRFLOW_CONN_KIRA_SPARK"])["host"] == "spark://spark-master:28331"
    assert json.loads(found["AIRFLOW_CONN_KIRA_S3"])["extra"]["endpoint_url"] == "http://s3:28301"
    assert found["KIRA_STAGE_URL"] == "hdfs://namenode:28320/kira"
    assert found["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://airflow-api-server:8080/execution/"
    assert "KIRA_JWT_SECRET" not in found


def test_what_airflow_is_told_it_is_told_in_containers(compose: dict[str, Any]) -> None:
    told = compose["x-airflow-settings"].keys() | {"KIRA_COMMIT"}  # which the image knows
    excepted = re.search(r"is not to be had in containers: ([^.]+)\.", (PROJECT / "docs" / "operating.md").read_text())
    assert excepted
    assert set(airflow_server._PASSED_ON) - told == set(re.findall(r"KIRA_\w+", excepted[1]))


def test_an_empty_setting_is_its_default(contained: StackConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = airflow_server.environment(contained)
    for name in airflow_server._PASSED_ON:
        monkeypatch.setenv(name, "")
    assert airflow_server.environment(contained) == plain
    for name in ("KIRA_STAGE_URL", "KIRA_S3_BUCKET", "KIRA_LEDGER_URL"):
        monkeypatch.setenv(name, plain[name])
    assert Settings.from_environment() == Settings(
        *(plain[name] for name in ("KIRA_STAGE_URL", "KIRA_S3_BUCKET", "KIRA_LEDGER_URL"))
    )
    assert first_wait().total_seconds() == 10


def test_pools_that_are_there_stay_as_somebody_set_them(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"kira_archive": {"slots": 7, "description": "mine", "include_deferred": True}}
    imported: list[dict[str, Any]] = []

    def airflow(_: object, failed: str, *words: str) -> None:
        if words[:2] == ("pools", "export"):
            Path(words[2]).write_text(json.dumps(there))
        else:
            assert words[:2] == ("pools", "import")
            imported.append(json.loads(Path(words[2]).read_text()))

    monkeypatch.setattr(airflow_server, "_airflow", airflow)
    airflow_server.make_pools({})
    assert [set(one) for one in imported] == [{"kira_backfill", "kira_spark"}]
    there |= imported[0]
    airflow_server.make_pools({})
    assert len(imported) == 1


def test_local_stack_is_as_it_was(tmp_path: Path) -> None:
    found = airflow_server.environment(StackConfig(tmp_path))
    assert found["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert found["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert found["SPARK_LOCAL_IP"] == "127.0.0.1"
    assert not [name for name in found if name.startswith("AIRFLOW__CELERY")]
    assert StackConfig(tmp_path).registry == tmp_path / "archives.json"


def test_hadoop_in_containers(contained: StackConfig) -> None:
    hadoop.write_configuration(contained)
    name_node = (contained.home / "hadoop" / "namenode" / "hdfs-site.xml").read_text()
    assert "<name>dfs.namenode.rpc-address</name><value>namenode:28320</value>" in name_node
    assert "<name>dfs.namenode.rpc-bind-host</name><value>0.0.0.0</value>" in name_node
    data_node = (contained.home / "hadoop" / "datanode1" / "hdfs-site.xml").read_text()
    assert "<name>dfs.datanode.address</name><value>0.0.0.0:28322</value>" in data_node


def test_secrets_are_in_files_that_nobody_else_reads(contained: StackConfig) -> None:
    roles.prepare_s3(contained)
    containers.prepare(contained, "queue")
    (path,) = containers.command(contained, "queue", {})[1:]
    for file in (contained.home / "s3.json", Path(path)):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "requirepass a queue_password/@" in Path(path).read_text()
    assert "a s3_secret_key/@" in (contained.home / "s3.json").read_text()


def test_spark_knows_its_own(contained: StackConfig) -> None:
    found = containers.spark_properties(contained, {"KIRA_EXECUTOR_CORES": "2"})
    assert found["spark.authenticate"] == "true"
    assert found["spark.executor.cores"] == "2"
    containers.prepare(contained, "spark-worker")
    assert stat.S_IMODE((contained.home / containers.PROPERTIES).stat().st_mode) == 0o600
    for role in containers.ROLES:
        command = " ".join(containers.command(contained, role, {})) if role != "airflow-init" else ""
        assert "spark_secret" not in command
        assert "password" not in command


def test_refusals_are_sentences(contained: StackConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="no role 'mail'"):
        containers.serve(contained, "mail")
    with pytest.raises(InvalidInput, match="in a container only"):
        containers.serve(StackConfig(tmp_path), "s3")
    with pytest.raises(InvalidInput, match="KIRA_EXECUTOR_CORES=many"):
        containers.command(contained, "spark-worker", {"KIRA_EXECUTOR_CORES": "many"})
    with pytest.raises(InvalidInput, match="KIRA_CONTAINERS=x"):
        StackConfig.load(environment={"KIRA_CONTAINERS": "x"})
    monkeypatch.setenv("KIRA_SPARK_SECRET", "")
    with pytest.raises(StackError, match="KIRA_SPARK_SECRET is empty"):
        containers.serve(contained, "spark-master")


def test_messages_name_what_there_is(contained: StackConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stack = LocalStack(contained, print, {"archive"})
    monkeypatch.setattr("kira.stack.local._READY_SECONDS", 0)
    monkeypatch.setattr("kira.stack.local._answers", lambda _: False)
    with pytest.raises(StackError, match=r"see scripts/compose logs archive$"):
        stack.up()
    monkeypatch.setattr(StackConfig, "url", lambda *_: "http://127.0.0.1:9")
    with pytest.raises(StackError, match=r"See what runs with: scripts/compose ps$"):
        AirflowApi(contained).call("GET", "/pools")
    here = StackConfig(tmp_path)
    assert (here.overview, here.log_of("s3")) == ("make status", f"{tmp_path}/logs/s3.log")


# -- scripts/compose


@dataclass
class Script:
    """scripts/compose with a `docker` that does nothing, but tells what it was asked for."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "bin").mkdir(parents=True)
        fake = self.folder / "bin" / "docker"
        asked = f"{self.folder}/asked"
        fake.write_text(f'#!/bin/sh\necho "$*" >>{asked}\n[ "$1" != image ] || echo "${{IMAGE:-}}"\n')
        fake.chmod(0o755)
        self.env = self.folder / "env"

    def run(self, *words: str, fails: bool = False, **variables: str) -> list[str]:
        """What docker-compose was asked for, without the file of passwords."""
        (self.folder / "asked").unlink(missing_ok=True)
        environment = {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "KIRA_ENV": str(self.env)} | variables
        done = subprocess.run(
            [PROJECT / "scripts" / "compose", *words], env=environment, check=False, capture_output=True, text=True
        )
        assert bool(done.returncode) is fails, done.stderr
        self.said = done.stdout + done.stderr
        start = f"compose --env-file {self.env} "
        asked = (self.folder / "asked").read_text().splitlines()
        return [line.removeprefix(start) for line in asked if line.startswith(start)]

    @property
    def noted(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.env.read_text().splitlines())


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path / "script")


def test_passwords_are_made_once_at_random(script: Script, tmp_path: Path) -> None:
    other = Script(tmp_path / "other")
    script.run("up")
    other.run("up")
    assert stat.S_IMODE(script.env.stat().st_mode) == 0o600
    text = (PROJECT / "docker-compose.yml").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    made = script.noted
    assert asked == set(made) - {"KIRA_IMAGE", "SPARK_WORKERS", "AIRFLOW_WORKERS"}
    assert all(len(made[name]) >= 18 and made[name] != other.noted[name] for name in asked)
    script.run("up")
    assert script.noted == made


def test_a_last_line_without_an_end_stays_as_it_is(script: Script) -> None:
    script.env.write_text("# mine\nKIRA_ALERTS=https://example.org/hook")
    script.run("up")
    lines = script.env.read_text().splitlines()
    assert lines[:2] == ["# mine", "KIRA_ALERTS=https://example.org/hook"]
    assert all(re.match(r"\w+=", line) for line in lines[2:])


def test_numbers_of_workers_are_kept(script: Script) -> None:
    def scaled(**variables: str) -> tuple[str, ...]:
        (up,) = [line for line in script.run("up", **variables) if line.startswith("up ")]
        return tuple(re.findall(r"--scale (\S+)", up))

    assert scaled() == ("spark-worker=2", "airflow-worker=1")
    assert scaled(SPARK_WORKERS="4", AIRFLOW_WORKERS="3") == ("spark-worker=4", "airflow-worker=3")
    assert scaled(SPARK_WORKERS="") == ("spark-worker=4", "airflow-worker=3")
    script.run("up", SPARK_WORKERS="many", fails=True)
    assert "SPARK_WORKERS=many is not a number." in script.said


def test_no_server_of_another_version_is_at_work_while_databases_are_migrated(
    script: Script, compose: dict[str, Any]
) -> None:
    assert not any(line.startswith("stop") for line in script.run("up", IMAGE="sha256:1"))
    assert not any(line.startswith("stop") for line in script.run("up", IMAGE="sha256:1"))
    asked = script.run("up", IMAGE="sha256:2")
    (stop,) = [line for line in asked if line.startswith("stop ")]
    assert set(stop.split()[1:]) == {
        name for name, one in compose["services"].items() if "airflow-init" in one.get("depends_on", ())
    } - {"spark-history"}
    assert asked.index(stop) < next(number for number, line in enumerate(asked) if line.startswith("up "))
    assert script.noted["KIRA_IMAGE"] == "sha256:2"


def test_a_folder_stays_mounted(script: Script, tmp_path: Path) -> None:
    folder = tmp_path / "an archive #1"
    folder.mkdir()
    script.run("up")
    asked = script.run("run", ARCHIVE=str(folder))
    assert asked[0] == "up --detach --no-build --no-deps archive"
    assert script.noted["ARCHIVE_FOLDER"] == f"'{folder}'"
    assert f" --archive {script.noted['ARCHIVE_AT']} " in asked[1]
    script.run("up")
    script.run("run")
    assert script.noted["ARCHIVE_FOLDER"] == f"'{folder}'"
    folder.rmdir()
    for words in (["up"], ["run"], ["run", "--rm", "cli", "kira", "status"]):
        script.run(*words, fails=True)
        assert f"The archive's folder {folder} is not there" in script.said
    assert script.run("down") == ["down"]


@pytest.mark.parametrize("name", ["it's", 'a"b', "a:b", "a$b", "a\\b"])
def test_a_folder_that_cannot_be_mounted_is_refused(script: Script, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    script.run("up")
    script.run("run", ARCHIVE=str(tmp_path / name), fails=True)
    assert "cannot be mounted" in script.said
    assert "ARCHIVE_FOLDER" not in script.noted


def test_the_page_is_where_the_file_says(script: Script) -> None:
    script.env.write_text("AIRFLOW_PORT=8099\n")
    script.run("up")
    assert "http://127.0.0.1:8099 ," in script.said
    script.run("up", AIRFLOW_PORT="8098")
    assert "http://127.0.0.1:8098 ," in script.said


def test_another_set_of_containers_may_have_an_image_of_its_own(script: Script) -> None:
    for variables, tag in (({}, "kira:local"), ({"KIRA_TAG": "kira:test"}, "kira:test")):
        script.run("up", **variables)
        assert f"image inspect --format {{{{.Id}}}} {tag}\n" in (script.folder / "asked").read_text()


def test_env_file_is_ignored_and_not_in_the_image() -> None:
    assert ".env" in (PROJECT / ".gitignore").read_text().splitlines()


# -- health


@contextmanager
def serving(status: int, body: object) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def healthy(*words: str) -> bool:
    # A proxy that is set must not be asked.
    environment = os.environ | {"http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, HEALTHY, *words], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0 or done.stderr.strip()
    return done.returncode == 0


@pytest.mark.parametrize(("status", "well"), [(200, True), (403, True), (500, False)])
def test_a_server_that_answers_is_well(status: int, well: bool) -> None:
    with serving(status, {}) as port:
        assert healthy(str(port), "/x") is well
        assert healthy(str(port))
        assert healthy(f"tcp://127.0.0.1:{port}")
    assert not healthy(str(port), "/x")
    assert not healthy(str(port))
    assert not healthy(f"tcp://127.0.0.1:{port}")


@pytest.mark.parametrize(("word", "well"), [("healthy", True), ("unhealthy", False), (None, False)])
def test_a_part_of_airflow_is_well_when_airflow_says_so(word: str | None, well: bool) -> None:
    with serving(200, {"scheduler": {"status": word}, "metadatabase": {"status": "healthy"}}) as port:
        assert healthy(f"http://127.0.0.1:{port}/api/v2/monitor/health", "scheduler") is well
        assert not healthy(f"http://127.0.0.1:{port}/api/v2/monitor/health", "triggerer")
