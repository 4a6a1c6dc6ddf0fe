"""Several hosts on one machine: network namespaces on a bridge, with as much bandwidth between them as is wanted.

Nothing of it can be reached from outside, and nothing of it reaches out: the bridge lies in a namespace of its own. It
takes root and iproute2. What a killed run left behind is removed by the next.
"""

import ctypes
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from benchmarks.machine import ONE_THREAD
from kira.errors import KiraError
from kira.stack import hadoop, spark_servers
from kira.stack.config import HOST, PROJECT, StackConfig

T = TypeVar("T")

_PREFIX, _FOLDER = "kira-", "kira-hosts-"
"""Of namespaces and of the folder; the id of the process that made them follows."""
_CLONE_NEWNET = 0x40000000
_HEAD = "head"
_MASTER_PORT, _MASTER_UI = 7077, 8080
_UP_SECONDS, _STOP_SECONDS = 120, 20
_WORKER_MEMORY = "1g"
_JAVA = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto"


class HostsFailed(KiraError):
    """Hosts could not be made, or a server on one of them did not come up."""


@dataclass(frozen=True)
class Host:
    """A namespace.

    Parameters
    ----------
    namespace, address : str
    port : str
        The bridge's end of its cable.
    """

    namespace: str
    address: str
    port: str


@dataclass(frozen=True)
class Network:
    """Hosts on a bridge.

    Parameters
    ----------
    hub : str
        Namespace of the bridge.
    hosts : tuple of Host
        The first is the head: it has no frames and no executors.
    """

    hub: str
    hosts: tuple[Host, ...]

    @property
    def head(self) -> Host:
        """Where NameNode, Spark's master and driver are."""
        return self.hosts[0]

    @property
    def workers(self) -> tuple[Host, ...]:
        """Where DataNodes and executors are."""
        return self.hosts[1:]

    def limit(self, mbit: int | None) -> None:
        """Let each host send and receive so many Mbit/s at most; as many as the machine can for None."""
        for host in self.hosts:
            for namespace, device in ((host.namespace, "eth0"), (self.hub, host.port)):
                subprocess.run(
                    ["tc", "-n", namespace, "qdisc", "del", "dev", device, "root"], capture_output=True, check=False
                )
                if mbit is not None:
                    # A burst of two milliseconds, and no less than the kernel hands over at once.
                    burst = max(128_000, mbit * 1_000_000 // 8 // 500)
                    _do("tc", "-n", namespace, "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{mbit}mbit",
                        "burst", str(burst), "latency", "100ms")  # fmt: skip

    def sent(self) -> int:
        """Bytes that hosts have sent to each other since they were made; what a host tells itself is not among them."""
        told = json.loads(_do("ip", "-n", self.hub, "-s", "-j", "link", "show", "type", "veth"))
        return sum(int(link["stats64"]["rx"]["bytes"]) for link in told)


def why_not() -> str:
    """Why hosts cannot be made here, in a sentence; empty if they can."""
    if missing := [program for program in ("ip", "tc") if shutil.which(program) is None]:
        return f"Hosts are made by iproute2, and {' and '.join(missing)} is not installed (Debian: iproute2)."
    if os.geteuid():
        return "Hosts are network namespaces, which only root can make: run this scenario as root."
    probe = f"{_PREFIX}{os.getpid()}-probe"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"This machine lets nobody make network namespaces: {done.stderr.strip()}"
    _do("ip", "netns", "del", probe)
    return ""


@contextmanager
def network(count: int) -> Iterator[Network]:
    """Make a head and so many hosts beside it; remove them, and end all that runs on them, at the end."""
    if reason := why_not():
        raise HostsFailed(reason)
    _remove(lambda owner: not psutil.pid_exists(owner))
    own = f"{_PREFIX}{os.getpid()}-"
    hub = f"{own}hub"
    names = [_HEAD, *(f"host{number}" for number in range(1, count + 1))]
    hosts = tuple(Host(f"{own}{name}", f"10.77.0.{10 + i}", f"port{i}") for i, name in enumerate(names))
    try:
        _do("ip", "netns", "add", hub)
        _do("ip", "-n", hub, "link", "add", "bridge", "type", "bridge")
        _do("ip", "-n", hub, "link", "set", "bridge", "up")
        for host in hosts:
            _do("ip", "netns", "add", host.namespace)
            _do("ip", "link", "add", "eth0", "netns", host.namespace, "type", "veth",
                "peer", "name", host.port, "netns", hub)  # fmt: skip
            _do("ip", "-n", hub, "link", "set", host.port, "master", "bridge", "up")
            _do("ip", "-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _do("ip", "-n", host.namespace, "link", "set", device, "up")
        yield Network(hub, hosts)
    finally:
        _remove(lambda owner: owner == os.getpid())


def _remove(of: Callable[[int], bool]) -> None:
    """Remove namespaces of some owners, by their process id, with all processes in them."""
    for line in _do("ip", "netns", "list").splitlines():
        name = line.split()[0]
        owner = name.removeprefix(_PREFIX).partition("-")[0]
        if not name.startswith(_PREFIX) or not owner.isdecimal() or not of(int(owner)):
            continue
        for pid in _do("ip", "netns", "pids", name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _do("ip", "netns", "del", name)


class Inside:
    """A process on a host that calls functions there: what it starts is there too.

    Parameters
    ----------
    host : Host
    """

    def __init__(self, host: Host) -> None:
        # Not forked: the HDFS client's threads stay in the namespace in which they were begun.
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _enter, (host.namespace,))

    def __enter__(self) -> "Inside":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function of a module there, and wait for what it returns."""
        return self._pool.submit(function, *arguments).result()


def _enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/run/netns/{namespace}").open() as handle:
        if libc.setns(handle.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {namespace}")


@dataclass(frozen=True)
class Servers:
    """HDFS and Spark on hosts.

    Parameters
    ----------
    network : Network
    folder : Path
        Of all their data and logs.
    hdfs, master : str
        URLs of the store's root and of Spark's master.
    variables : dict of str to str
        Environment of what uses them.
    datanode_page : int
        Port of the DataNodes' own words.
    """

    network: Network
    folder: Path
    hdfs: str
    master: str
    variables: dict[str, str]
    datanode_page: int

    def read(self) -> tuple[int, int]:
        """Bytes that DataNodes have given to readers on other hosts, and to all; called on the head."""
        elsewhere = everywhere = 0
        for host in self.network.workers:
            found = httpx.get(
                f"http://{host.address}:{self.datanode_page}/jmx",
                params={"qry": "Hadoop:service=DataNode,name=DataNodeActivity-*"},
            ).json()["beans"][0]
            elsewhere += int(found["RemoteBytesRead"])
            everywhere += int(found["BytesRead"])
        return elsewhere, everywhere


@contextmanager
def servers(count: int, take_jar: Callable[[StackConfig], None], say: Callable[[str], None]) -> Iterator[Servers]:
    """Start a NameNode and Spark's master on the head, and a DataNode and a worker of one core on each other host.

    Parameters
    ----------
    count : int
        Hosts beside the head.
    take_jar : callable
        Puts Hadoop's jar where a configuration wants it.
    say : callable
    """
    with ExitStack() as stack:
        made = stack.enter_context(network(count))
        for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
            owner = left.name.removeprefix(_FOLDER).partition("-")[0]
            if owner.isdecimal() and not psutil.pid_exists(int(owner)):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        variables = _variables()
        jar = StackConfig(folder / "jar")
        take_jar(jar)
        hadoop.fetch_jar(jar)
        head = made.head
        configs = {host: _configure(host, head, folder, hadoop.jar_path(jar)) for host in made.hosts}
        ports = configs[head].ports
        hadoop.format_namenode(configs[head])
        master = f"spark://{head.address}:{_MASTER_PORT}"
        say(f"  starting HDFS and Spark on {count} hosts")
        start = _Starter(stack, folder, variables)
        start(head, "namenode", hadoop.command(configs[head], "namenode"))
        start(head, "master", spark_servers.master(head.address, _MASTER_PORT, _MASTER_UI))
        for host in made.workers:
            start(host, "datanode", hadoop.command(configs[host], "datanode1"))
            work = folder / host.namespace / "work"
            start(host, "worker", spark_servers.worker(
                master, host.address, _MASTER_PORT + 1, _MASTER_UI + 1, cores=1, memory=_WORKER_MEMORY, folder=work
            ))  # fmt: skip
        with Inside(head) as inside:
            inside.call(_wait, f"http://{head.address}:{ports['namenode_http']}", count)
        root = f"hdfs://{head.address}:{ports['namenode']}/kira"
        yield Servers(made, folder, root, master, variables, ports["datanode1_http"])


def _variables() -> dict[str, str]:
    """Environment of servers and jobs: this very Python, and this very code, on all hosts."""
    kept = {name: os.environ[name] for name in ("JAVA_HOME", "HOME", "LANG") if name in os.environ}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ours = {"PATH": path, "PYTHONPATH": str(PROJECT), "PYSPARK_PYTHON": sys.executable, "HADOOP_USER_NAME": "root"}
    return kept | ours | ONE_THREAD


def _configure(host: Host, head: Host, folder: Path, jar: Path) -> StackConfig:
    """Write the configuration of the local stack's servers, with this host's address in the place of 127.0.0.1."""
    config = StackConfig(folder / host.namespace)
    hadoop.write_configuration(config)
    target = hadoop.jar_path(config)
    target.symlink_to(jar)
    name_node = f"{HOST}:{config.ports['namenode']}"
    for path in (config.home / "hadoop").glob("*/*.xml"):
        text = path.read_text("utf-8")
        text = text.replace(name_node, f"{head.address}:{config.ports['namenode']}").replace(HOST, host.address)
        path.write_text(text, "utf-8")
    return config


@dataclass
class _Starter:
    stack: ExitStack
    folder: Path
    variables: Mapping[str, str]

    def __call__(self, host: Host, name: str, command: Sequence[str]) -> None:
        """Start a server on a host; it is stopped when the stack is closed."""
        log = self.folder / f"{host.namespace}-{name}.log"
        with log.open("wb") as out:
            # There are many of them on few processors: little memory, one thread to collect it, the quick compiler.
            own = {"SPARK_LOCAL_IP": host.address, "SPARK_DAEMON_MEMORY": "256m", "JAVA_TOOL_OPTIONS": _JAVA}
            process = subprocess.Popen(
                ["ip", "netns", "exec", host.namespace, *command], stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True, env={**self.variables, **own}, cwd=self.folder,
            )  # fmt: skip
        self.stack.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(name_node: str, count: int) -> None:
    """Wait until all DataNodes and all workers are there; called on the head."""
    deadline = time.monotonic() + _UP_SECONDS
    address = name_node.removeprefix("http://").partition(":")[0]
    found = (0, 0)
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError, ValueError, KeyError, IndexError):
            query = "Hadoop:service=NameNode,name=FSNamesystemState"
            beans = httpx.get(f"{name_node}/jmx", params={"qry": query}).json()["beans"]
            workers = httpx.get(f"http://{address}:{_MASTER_UI}/json/").json()["aliveworkers"]
            found = int(beans[0]["NumLiveDataNodes"]), int(workers)
            if found == (count, count):
                return
        time.sleep(0.5)
    raise HostsFailed(
        f"After {_UP_SECONDS} s {found[0]} of {count} DataNodes and {found[1]} of {count} Spark workers were up."
    )


def _do(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostsFailed(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout
