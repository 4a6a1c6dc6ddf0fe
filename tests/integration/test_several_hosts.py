"""Where frames lie, by a real NameNode and a real Spark; and hosts made of network namespaces."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import hosts
from kira.stack.airflow_server import environment
from kira.stack.local import LocalStack
from kira.storage import open_store

pytestmark = pytest.mark.integration
PROJECT = Path(__file__).resolve().parents[2]
ASK = """
import json, sys
from pyspark import SparkConf, SparkContext
from kira.extraction import Parameters
from kira.jobs import placement
from kira.stages.extraction import Task
from kira.storage import Entry
from kira.sdss import FrameId

url, paths = sys.argv[1], sys.argv[2:]
context = SparkContext("local[1]", conf=SparkConf().set("spark.ui.enabled", "false"))
replicas = placement._replicas(context, url, paths)
executors = sorted(placement._executors(context))
frame = FrameId.parse("dr12-301-000094-1-0012-r")
tasks = [Task(url, "x", n, Parameters(), (Entry(frame, "", "", path),)) for n, path in enumerate(paths)]
hosts = {paths[0]: ("127.0.0.1",), paths[1]: ("127.0.0.1", "elsewhere")}
located = placement.rdd(context, tasks, hosts)
java = located._jrdd.rdd()
wanted = [java.preferredLocations(one).mkString(" ") for one in java.partitions()]
came = located.map(lambda task: (task.number, task.entries[0].staged)).collect()
print("told:", json.dumps([replicas, executors, wanted, came]))
context.stop()
"""


def test_what_hdfs_tells_of_files_and_spark_of_tasks(servers: LocalStack) -> None:
    store = open_store(f"{servers.config.stage_url}-several-hosts")
    paths = [f"frames/{number}.blosc" for number in range(101)]
    for path in paths:
        store.write(path, b"x" * 100)
    variables = environment(servers.config) | {"PYTHONPATH": str(PROJECT), "PYSPARK_PYTHON": sys.executable}
    command = [sys.executable, "-c", ASK, store.url, *paths, "frames/gone.blosc"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    told = next(line for line in done.stdout.splitlines() if line.startswith("told: "))
    replicas, executors, wanted, came = json.loads(told.removeprefix("told: "))
    # Both DataNodes are on this host; one question is of 100 files at most, and who is not there is left out.
    assert replicas == {path: [["127.0.0.1", "127.0.0.1"]] * 2 for path in paths}
    assert executors == []  # in local mode there is the driver alone
    assert wanted == ["127.0.0.1", "127.0.0.1 elsewhere", *[""] * 100]
    assert came == [[number, path] for number, path in enumerate([*paths, "frames/gone.blosc"])]


@pytest.mark.skipif(bool(hosts.why_not()), reason=f"hosts cannot be made here: {hosts.why_not()}")
def test_hosts_are_made_and_removed() -> None:
    left = "kira-4194305-hub"  # no process has this number: that of a run which was killed
    subprocess.run(["ip", "netns", "add", left], check=True)
    with hosts.network(2) as made:
        assert left not in _namespaces()
        one, other = made.workers
        made.limit(100)
        before = made.sent()
        subprocess.run(
            ["ip", "netns", "exec", one.namespace, sys.executable, "-c",
             f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(bytes(1400), ('{other.address}', 9))"],
            check=True,
        )  # fmt: skip
        assert 1400 < made.sent() - before < 10_000
        with hosts.Inside(other) as inside:
            assert inside.call(os.listdir, "/sys/class/net") is not None
            assert inside.call(os.getpid) != os.getpid()
        process = subprocess.Popen(["ip", "netns", "exec", one.namespace, "sleep", "1000"])
        with pytest.raises(hosts.HostsFailed, match="netns"):
            hosts._do("ip", "netns", "add", one.namespace)
    assert process.wait(20) != 0
    assert not [name for name in _namespaces() if name.startswith(f"kira-{os.getpid()}-")]


def _namespaces() -> list[str]:
    told = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in told.splitlines()]
