"""The Spark job on clusters: a standalone one and YARN, whose executors have no Kira but what the job brings.

The servers are Spark's and Hadoop's own, each a process of its own on 127.0.0.1. Executors run a Python that has every
package of the project's environment but Kira itself.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil
import pyspark
import pytest
from clusters import WAIT, Standalone, without_kira
from test_spark import FRAMES, JOB, ODD_FRAMES, Job, end, image, new_job, until  # noqa: F401 - fixtures

from kira.stack.airflow_server import environment
from kira.stack.config import write_private
from kira.stack.local import LocalStack
from kira.stack.ports import free_ports
from kira.stack.yarn import Yarn
from kira.stages.extraction import JOB as JOB_NOTES
from kira.stages.extraction import read_tasks
from kira.storage import open_store

pytestmark = pytest.mark.integration

UNTIL_KILLED = "once"


@dataclass
class ClusterJob(Job):
    """A batch that is extracted with a file of properties, as `KIRA_SPARK_PROPERTIES` names one."""

    properties: dict[str, str] = field(default_factory=dict)

    def start(self, master: str, log: Path, **variables: str) -> subprocess.Popen[bytes]:
        file = log.with_suffix(".properties")
        write_private(file, "".join(f"{name} {value}\n" for name, value in self.properties.items()))
        command = [
            str(Path(sys.executable).with_name("spark-submit")), "--master", master, "--properties-file", str(file),
            str(JOB), "--manifest", self.store.uri(self.manifest.path),
        ]  # fmt: skip
        with log.open("wb") as out:
            return subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                env=environment(self.servers.config) | variables,
            )  # fmt: skip

    def notes(self) -> dict[str, object]:
        notes: dict[str, object] = json.loads(self.store.read(f"{self.manifest.extracted}/{JOB_NOTES}"))
        return notes


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    return without_kira(tmp_path_factory.mktemp("bare"))


def options(python: str, **more: str) -> dict[str, str]:
    """Properties of every job here: little memory, and Python as the machines have it."""
    return {
        "spark.ui.enabled": "false", "spark.driver.memory": "512m", "spark.executor.memory": "512m",
        "spark.locality.wait": "0", "spark.pyspark.python": python, "spark.pyspark.driver.python": sys.executable,
    } | more  # fmt: skip


def command_lines() -> list[str]:
    """Of all processes of this machine, as everybody may see them."""
    found = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert any("CoarseGrainedExecutorBackend" in words for words in found)
    return found


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    cluster = Standalone(tmp_path_factory.mktemp("standalone"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def expected(new_job: Callable[[str], Job], tmp_path_factory: pytest.TempPathFactory) -> str:  # noqa: F811
    """Digest of what Spark on this machine alone makes of the frames."""
    job = new_job("here")
    job.run("local[2]", tmp_path_factory.mktemp("here") / "log")
    return job.check_complete()


@pytest.fixture
def cluster_job(new_job: Callable[[str], Job], request: pytest.FixtureRequest) -> ClusterJob:  # noqa: F811
    job = new_job(request.node.name.replace("_", "-")[:40])
    return ClusterJob(job.servers, job.store, job.manifest)


def test_a_standalone_cluster_that_loses_a_worker_comes_to_the_same_catalogue(
    standalone: Standalone, cluster_job: ClusterJob, bare_python: str, expected: str, tmp_path: Path
) -> None:
    standalone.start_workers()
    cluster_job.properties = options(bare_python) | standalone.properties | {
        "spark.cores.max": "2",
        "spark.executorEnv.PYTHONPATH": str(ODD_FRAMES), "spark.executorEnv.ODD_MARK": str(tmp_path / "mark"),
        "spark.executorEnv.ODD_FRAMES": f"{FRAMES[8]}={UNTIL_KILLED}",
    }  # fmt: skip
    log = tmp_path / "log"
    process = cluster_job.start(standalone.url, log)
    try:
        until((tmp_path / "mark").exists, process, log)
        assert not [words for words in command_lines() if standalone.secret in words]
        standalone.kill_worker_of(int((tmp_path / "mark").read_text()))
        assert process.wait(300) == 0, log.read_text()[-3000:]
    finally:
        end(process)
    assert "24 frames in 4 tasks on 2 cores" in log.read_text()
    assert cluster_job.check_complete() == expected
    tasks = read_tasks(cluster_job.store, cluster_job.manifest.extracted)
    assert max(task.attempt for task in tasks) >= 1
    assert standalone.secret not in json.dumps(cluster_job.notes())
    assert standalone.secret not in log.read_text()


@pytest.mark.slow
def test_executors_that_come_and_go_with_the_work(
    standalone: Standalone, cluster_job: ClusterJob, bare_python: str, expected: str, tmp_path: Path
) -> None:
    standalone.start_workers()
    cluster_job.properties = options(bare_python) | standalone.properties | {
        "spark.dynamicAllocation.enabled": "true", "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.initialExecutors": "1", "spark.dynamicAllocation.maxExecutors": "2",
        "spark.executor.cores": "1",
    }  # fmt: skip
    said = cluster_job.run(standalone.url, tmp_path / "log")
    # Tasks are as small as two cores want them, though there was one when they were made.
    assert "24 frames in 4 tasks on 2 cores" in said
    assert cluster_job.check_complete() == expected


@pytest.fixture(scope="module")
def yarn(servers: LocalStack) -> Iterator[Yarn]:
    """A ResourceManager and two NodeManagers beside the HDFS of the tests."""
    ports = list(free_ports().values())
    cluster = Yarn(servers.config, ports[: Yarn.port_count()])
    cluster.fetch_jars()
    cluster.write_configuration()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME") if name in os.environ}
    processes = []
    try:
        for role in cluster.roles:
            with (servers.config.logs / f"{role}.log").open("ab") as out:
                processes.append(subprocess.Popen(
                    cluster.command(role), stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
                    cwd=servers.config.home, env=kept | cluster.environment(role),
                ))  # fmt: skip
        deadline = time.monotonic() + WAIT
        while active_nodes(cluster) < cluster.nodes:
            assert time.monotonic() < deadline, (servers.config.logs / "resourcemanager.log").read_text()[-2000:]
            time.sleep(0.2)
        yield cluster
    finally:
        for process in processes:
            end(process)


def active_nodes(cluster: Yarn) -> int:
    try:
        answer = httpx.get(f"{cluster.page}/ws/v1/cluster/metrics", trust_env=False)
        return int(answer.json()["clusterMetrics"]["activeNodes"]) if answer.is_success else 0
    except (httpx.HTTPError, ValueError):
        return 0


def test_yarn_comes_to_the_same_catalogue(
    yarn: Yarn, cluster_job: ClusterJob, bare_python: str, expected: str, tmp_path: Path
) -> None:
    cluster_job.properties = options(bare_python) | {
        "spark.executor.instances": "2",
        # Python's workers are outside of Java's memory; YARN kills what takes more than it was given.
        "spark.executor.memoryOverhead": "1g",
        # The nodes have Spark's jars, which would be sent to HDFS first.
        "spark.yarn.jars": f"local:{Path(pyspark.__file__).parent}/jars/*",
    }
    said = cluster_job.run("yarn", tmp_path / "log", HADOOP_CONF_DIR=str(yarn.client_folder))
    assert "24 frames in 4 tasks on 2 cores" in said
    assert cluster_job.check_complete() == expected
    spark = cluster_job.notes()["spark"]
    assert isinstance(spark, dict)
    assert spark["spark.master"] == "yarn"
    assert spark["spark.yarn.dist.archives"].endswith("#kira-code")


def test_a_name_service_of_which_one_namenode_is_away(
    servers: LocalStack, closed_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namenodes = {"away": closed_port, "here": servers.config.ports["namenode"]}
    properties = {"dfs.nameservices": "sky", "dfs.ha.namenodes.sky": ",".join(namenodes)} | {
        f"dfs.namenode.rpc-address.sky.{name}": f"127.0.0.1:{port}" for name, port in namenodes.items()
    }
    lines = "".join(f"<property><name>{k}</name><value>{v}</value></property>" for k, v in properties.items())
    (tmp_path / "core-site.xml").write_text("<configuration/>")
    (tmp_path / "hdfs-site.xml").write_text(f"<configuration>{lines}</configuration>")
    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    store = open_store("hdfs://sky/kira-name-service")
    store.write("a/b", b"x" * 1000)
    assert store.uri("a/b") == "hdfs://sky/kira-name-service/a/b"
    plain = open_store(f"hdfs://127.0.0.1:{namenodes['here']}/kira-name-service")
    assert plain.read("a/b") == store.read("a/b") == b"x" * 1000
    plain.delete("a")


class ApiServer(BaseHTTPRequestHandler):
    """A stand-in for the API server of Kubernetes, which cannot be had here: keeps what it is asked to make."""

    made: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.made.append(body)
        body["metadata"] |= {"uid": f"u{len(self.made)}", "resourceVersion": "1", "namespace": "kira"}
        self._answer(201, body)

    def do_GET(self) -> None:
        kind = "PodList" if self.path.partition("?")[0].endswith("/pods") else "ConfigMapList"
        self._answer(200, {"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []})

    def do_DELETE(self) -> None:
        self._answer(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_kubernetes_is_asked_for_executors_as_they_are_wanted(cluster_job: ClusterJob, tmp_path: Path) -> None:
    """As far as Spark's own client goes: the API server is a mock, and no pod ever runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cluster_job.properties = options("/opt/kira/bin/python") | {
            "spark.kubernetes.container.image": "registry.example/kira:1", "spark.kubernetes.namespace": "kira",
            "spark.executor.instances": "2", "spark.executor.cores": "3", "spark.executor.memoryOverhead": "2g",
            "spark.kubernetes.executor.enableApiWatcher": "false", "spark.kubernetes.executor.label.project": "kira",
        }  # fmt: skip
        log = tmp_path / "log"
        process = cluster_job.start(f"k8s://http://127.0.0.1:{server.server_port}", log)

        def pods() -> list[dict[str, Any]]:
            return [one for one in ApiServer.made if one["kind"] == "Pod"]

        try:
            until(lambda: len(pods()) >= 2, process, log)
        finally:
            end(process)
            server.shutdown()
    for pod in pods()[:2]:
        assert pod["metadata"]["labels"]["project"] == "kira"
        (container,) = pod["spec"]["containers"]
        assert container["image"] == "registry.example/kira:1"
        environment = {one["name"]: one.get("value") for one in container["env"]}
        assert environment["PYTHONPATH"] == "./kira-code"
        assert environment["SPARK_EXECUTOR_CORES"] == "3"
        assert container["resources"]["limits"]["memory"] == "2560Mi"
