"""The containers of docker-compose.yml, really built and brought up, beside all others; `make compose-test`.

Not part of `make test`: it needs a Docker engine, and takes a quarter of an hour. The same frames are ingested by the
local stack, and by the containers while a DataNode and a Spark worker are killed; both catalogues must be the same.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kira.cli.archives import _name
from kira.stack import hadoop
from kira.stack.ports import free_ports

PROJECT = Path(__file__).resolve().parents[2]
NAME = "kira-test"
IMAGE = "kira:test"
PUBLISHED = {"AIRFLOW_PORT": "8080", "HDFS_PORT": "28321", "SPARK_PORT": "28332", "HISTORY_PORT": "28335"}
# Prints what a catalogue holds: a digest of the rows of each frame, without the id of the run that made them.
DIGESTS = """
import json, sys
from kira.catalog import read_parts
from kira.ledger import Ledger
from kira.ledger.status import catalogues
from kira.stack.config import StackConfig
from kira.stages.digests import digests_of
from kira.storage import catalogue_folder, open_store

config = StackConfig.load()
store = open_store(config.stage_url)
found = {}
for known in catalogues(Ledger(config.ledger_url)):
    for path, file in store.walk(catalogue_folder(known.archive, known.release, known.profile)):
        if file.name.endswith(".parquet"):
            found |= digests_of(read_parts([store.read(path)]))
json.dump(found, sys.stdout)
"""
# Prints what each batch tells of the code that made it.
CODES = """
import json, sys
from kira.ledger import Ledger
from kira.ledger.status import catalogues
from kira.stack.config import StackConfig
from kira.storage import catalogue_folder, open_store

config = StackConfig.load()
store = open_store(config.stage_url)
found = []
for known in catalogues(Ledger(config.ledger_url)):
    for path, file in store.walk(catalogue_folder(known.archive, known.release, known.profile)):
        if file.name == "_job.json":
            found.append(json.loads(store.read(path))["code"])
json.dump(found, sys.stdout)
"""
pytestmark = pytest.mark.timeout(3600)


class Containers:
    """A set of containers of its own: other names, other ports, other passwords."""

    def __init__(self, folder: Path) -> None:
        ports = [str(port) for port in free_ports().values()][: len(PUBLISHED)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KIRA_", "COMPOSE_"))}
        self.ports = dict(zip(PUBLISHED, ports, strict=True))
        self.environment = kept | self.ports | {
            "COMPOSE_PROJECT_NAME": NAME, "KIRA_ENV": str(folder / "env"), "QUIET": "1", "KIRA_TAG": IMAGE,
            "DOCKER_BUILDKIT": os.environ.get("DOCKER_BUILDKIT", "0"),
        }  # fmt: skip

    def compose(self, *words: str, ok: bool = True, **variables: str) -> str:
        done = subprocess.run(
            [PROJECT / "scripts" / "compose", *words], env=self.environment | variables, text=True, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=3000,
        )  # fmt: skip
        print(done.stdout[-4000:], done.stderr[-4000:])
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done.stdout

    def cli(self, *words: str, ok: bool = True) -> str:
        return self.compose("run", "--rm", "-T", "cli", *words, ok=ok)

    def begin(self, **variables: str) -> "subprocess.Popen[str]":
        """An ingestion that goes on while the test does something else."""
        return subprocess.Popen(
            [PROJECT / "scripts" / "compose", "run"], env=self.environment | variables, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def inspect(self) -> list[dict[str, Any]]:
        """What Docker says of all containers."""
        ids = docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={NAME}").split()
        return json.loads(docker("inspect", *ids)) if ids else []

    def of(self, service: str) -> list[str]:
        """Ids of a service's containers."""
        return [one["Id"] for one in self.inspect() if one["Config"]["Labels"]["com.docker.compose.service"] == service]


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True, timeout=300).stdout


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    if subprocess.run(["docker", "info"], check=False, capture_output=True).returncode:
        pytest.fail("No Docker engine answers: these tests are of real containers, and nothing was proven.")
    made = Containers(tmp_path_factory.mktemp("containers"))
    try:
        made.compose("up")
        yield made
    finally:
        if not os.environ.get("KIRA_KEEP"):
            made.compose("down", "--volumes", "--remove-orphans")
            # What it was built of stays, for the next time.
            subprocess.run(["docker", "image", "rm", "--no-prune", IMAGE], check=False, capture_output=True)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic frames; what the containers' user has to read must be open to it."""
    folder = tmp_path_factory.mktemp("archives") / "seen"
    subprocess.run([sys.executable, "-m", "kira.sample", folder, "--fields", "3"], check=True, timeout=900)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@pytest.fixture(scope="module")
def local(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Digests of the catalogue that the local stack makes of the archive."""
    home = tmp_path_factory.mktemp("local")
    ports = free_ports()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KIRA_")}
    environment = kept | {"KIRA_HOME": str(home), "COLUMNS": "200"}
    if (jar := PROJECT / ".kira" / "hadoop" / hadoop.JAR).exists():
        (home / "hadoop").mkdir()
        shutil.copy(jar, home / "hadoop")
    (home / "stack.json").write_text(json.dumps({"ports": ports}))
    try:
        subprocess.run([program("kira"), "run", "--archive", archive], check=True, env=environment, timeout=1800)
        yield digests([sys.executable, "-c", DIGESTS], environment)
    finally:
        subprocess.run([program("kira"), "stack", "down"], check=True, env=environment, timeout=300)


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def digests(command: list[str], environment: dict[str, str]) -> dict[str, str]:
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True, timeout=600)
    return json.loads(done.stdout)


def wait_for(what: Any, seconds: float = 900) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(1)
    raise AssertionError("it did not come to that")


def test_only_pages_are_published_and_only_here(containers: Containers) -> None:
    found = {}
    for one in containers.inspect():
        assert not one["HostConfig"]["Privileged"]
        assert one["HostConfig"]["NetworkMode"] != "host"
        for port, at in (one["NetworkSettings"]["Ports"] or {}).items():
            for place in at or ():
                assert place["HostIp"] == "127.0.0.1"
                found[place["HostPort"]] = port
    assert found == {containers.ports[name]: f"{port}/tcp" for name, port in PUBLISHED.items()}


def test_no_server_is_root_and_none_has_rights_of_its_own(containers: Containers) -> None:
    for one in containers.inspect():
        assert one["Config"]["User"] == ("kira" if one["Config"]["Image"] == IMAGE else "postgres")
        assert one["HostConfig"]["CapDrop"] == ["ALL"]
        assert one["HostConfig"]["Memory"]
        assert one["HostConfig"]["PidsLimit"]


def test_each_is_given_the_passwords_that_it_needs_and_no_others(containers: Containers) -> None:
    secret = ("PASSWORD", "SECRET", "KEY")
    given = {}
    for one in containers.inspect():
        names = {line.partition("=")[0] for line in one["Config"]["Env"]}
        given[one["Config"]["Labels"]["com.docker.compose.service"]] = {n for n in names if n.endswith(secret)}
    assert given["namenode"] == given["datanode1"] == given["archive"] == set()
    assert given["spark-worker"] == given["spark-master"] == {"KIRA_SPARK_SECRET"}
    assert given["s3"] == {"KIRA_S3_ACCESS_KEY", "KIRA_S3_SECRET_KEY"}
    assert given["queue"] == {"KIRA_QUEUE_PASSWORD"}
    assert "KIRA_AIRFLOW_PASSWORD" not in given["airflow-worker"]
    assert "KIRA_POSTGRES_PASSWORD" not in given["airflow-worker"]


def test_same_catalogue_though_a_datanode_and_a_spark_worker_die(
    containers: Containers, archive: Path, local: dict[str, str]
) -> None:
    assert len(local) >= 20
    process = containers.begin(ARCHIVE=str(archive), BATCH="5")
    said: list[str] = []
    killed = []
    try:
        for line in process.stdout or ():
            print(line, end="")
            said.append(line)
            done = re.search(r"publish (\d+)/(\d+)", line)
            # In the middle: something is published, and much is not.
            if done and 0 < int(done[1]) < int(done[2]) / 2 and not killed:
                docker("kill", containers.of("datanode2")[0])
                wait_for(lambda: process.poll() is not None or executors(containers) > 0)
                docker("kill", containers.of("spark-worker")[0])
                killed = [done[0]]
        assert process.wait(60) == 0, "".join(said)
    finally:
        process.kill()
    assert killed
    assert digests_in(containers) == local
    containers.cli("kira", "status", "--check")


def test_a_catalogue_gets_out_of_the_containers(containers: Containers, local: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o777)  # the containers' user is another one
    noted = dict(line.split("=", 1) for line in Path(containers.environment["KIRA_ENV"]).read_text().splitlines())
    containers.compose(
        "run", "--rm", "-T", "-v", f"{out}:/out", "cli", "kira", "export", "/out/sources.parquet",
        "--archive", _name(noted["ARCHIVE_AT"]), "--release", "dr12",
    )  # fmt: skip
    assert pq.read_metadata(out / "sources.parquet").num_rows > 0


def executors(containers: Containers) -> int:
    """Cores of Spark's workers that are in use."""
    (master,) = containers.of("spark-master")
    ask = "import urllib.request as u; print(u.urlopen('http://spark-master:28332/json/').read().decode())"
    text = docker("exec", master, "python3", "-c", ask)
    return int(json.loads(text)["coresused"])


def digests_in(containers: Containers) -> dict[str, str]:
    return json.loads(containers.cli("python", "-c", DIGESTS).splitlines()[-1])


def test_records_tell_image_and_commit(containers: Containers, local: dict[str, str]) -> None:
    told = json.loads(containers.cli("python", "-c", CODES).splitlines()[-1])
    assert told
    image = docker("image", "inspect", "--format", "{{.Id}}", IMAGE).strip()
    commit = subprocess.run(["git", "-C", PROJECT, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    for code in told:
        assert code["image"] == image
        assert code["commit"] == commit.stdout.strip()


def test_what_was_killed_comes_back_and_nothing_is_done_again(
    containers: Containers, archive: Path, local: dict[str, str]
) -> None:
    for service in ("datanode2", "spark-worker"):
        for one in containers.of(service):
            docker("start", one)
    containers.compose("stop")
    containers.compose("up")
    (server,) = [one for one in containers.inspect() if one["Id"] in containers.of("archive")]
    assert str(archive) in [mount["Source"] for mount in server["Mounts"]]
    said = containers.compose("run", ARCHIVE=str(archive))
    assert "nothing to do" in said
    assert digests_in(containers) == local


def test_pages_ask_for_a_login(containers: Containers) -> None:
    import httpx

    at = f"http://127.0.0.1:{containers.ports['AIRFLOW_PORT']}"
    assert httpx.get(f"{at}/api/v2/version").status_code == 200
    assert httpx.get(f"{at}/api/v2/dags").status_code == 401
    assert httpx.get(f"{at}/kira/").status_code in (401, 403, 307)
