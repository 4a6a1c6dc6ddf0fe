"""Where frames lie, for Spark: which of its executors' hosts hold a replica, and tasks that begin there.

HDFS tells the hosts of a file's blocks, hdfs-native does not hand them on, and PySpark has no way to say where a task
should run: both are asked for in the driver's JVM. What cannot be found out leaves the job as it is without: tasks
then run anywhere. The catalogue does not depend on it.
"""

import logging
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote, urlsplit

from kira.stages.extraction import Task
from kira.stages.packing import preferred
from kira.storage import Entry, Store

log = logging.getLogger("kira.extract")

SETTING = "spark.kira.placement"
"""`hosts`: frames are packed into tasks by where they lie, and tasks prefer those hosts; `tasks`: packed without regard
to it, and tasks prefer the hosts of most of their frames; `off`: neither."""
BY_HOST, AS_EVER = "hosts", "tasks"
_AT_ONCE = 100
"""Files that a NameNode tells of in one answer (dfs.namenode.batched.listing.limit)."""
_MOST_SECONDS = 60
"""To wait for HDFS once the workers have loaded: by then it has answered, or does not answer at all."""
_LOOP = f"""
org.apache.hadoop.hdfs.DistributedFileSystem hdfs = (org.apache.hadoop.hdfs.DistributedFileSystem) fs;
String[] all = paths.split("\\n");
StringBuilder told = new StringBuilder();
for (int begin = 0; begin < all.length; begin += {_AT_ONCE}) {{
    java.util.ArrayList some = new java.util.ArrayList();
    for (int i = begin; i < all.length && i < begin + {_AT_ONCE}; ++i) {{
        some.add(new org.apache.hadoop.fs.Path(all[i]));
    }}
    org.apache.hadoop.fs.RemoteIterator listings = hdfs.batchedListLocatedStatusIterator(some);
    while (listings.hasNext()) {{
        org.apache.hadoop.fs.PartialListing listing = (org.apache.hadoop.fs.PartialListing) listings.next();
        java.util.List files;
        try {{
            files = listing.get();
        }} catch (java.io.IOException gone) {{
            continue;
        }}
        for (int i = 0; i < files.size(); ++i) {{
            org.apache.hadoop.fs.LocatedFileStatus file = (org.apache.hadoop.fs.LocatedFileStatus) files.get(i);
            org.apache.hadoop.fs.BlockLocation[] blocks = file.getBlockLocations();
            if (blocks == null || blocks.length == 0) continue;
            told.append(file.getPath().toUri().getPath());
            String[] hosts = blocks[0].getHosts();
            String[] addresses = blocks[0].getNames();
            for (int k = 0; k < hosts.length; ++k) {{
                told.append('\\t').append(hosts[k]).append(' ').append(addresses[k]);
            }}
            told.append('\\n');
        }}
    }}
}}
return told.toString();
"""
"""Java, because it is the loop that costs: from Python each file is half a dozen calls into the JVM, and one question
to the NameNode. Compiled by Janino, which Spark brings for the code that it generates itself. Of a file the first block
counts: a frame has one."""

Replicas = Mapping[str, Collection[tuple[str, str]]]
"""By the path of a file in its store: name and address of each host that holds it."""


class Placement:
    """What is found out about a batch while its workers still load.

    Parameters
    ----------
    context : SparkContext
    store : Store
    entries : sequence of Entry
    """

    def __init__(self, context: Any, store: Store, entries: Sequence[Entry]) -> None:
        self._context = context
        self.kind = str(context.getConf().get(SETTING, BY_HOST))
        self._asked: Future[Replicas] | None = None
        here_only = str(context.master).startswith("local")
        if store.url.startswith("hdfs://") and not here_only and self.kind in (BY_HOST, AS_EVER):
            with_one = ThreadPoolExecutor(1, "placement")
            self._asked = with_one.submit(_replicas, context, store.url, [entry.staged for entry in entries])
            with_one.shutdown(wait=False)

    def hosts(self) -> dict[str, tuple[str, ...]]:
        """Executors' hosts that hold each file, by its path; empty where that is not known. Executors must be up."""
        if self._asked is None:
            return {}
        try:
            replicas = self._asked.result(_MOST_SECONDS)
            executors = _executors(self._context)
            found = on_executors(replicas, executors)
        except Exception as error:  # noqa: BLE001 - of no consequence for the result
            said = str(error).strip().partition("\n\tat ")[0] or type(error).__name__
            log.warning("where the frames lie could not be found out, so tasks run anywhere: %s", said)
            return {}
        if not found:
            log.info(
                "no executor (%s) is on a host that holds a frame (%s): tasks run anywhere",
                _some(executors), _some({host for where in replicas.values() for host, _ in where}),
            )  # fmt: skip
        return found


def rdd(context: Any, tasks: Sequence[Task], hosts: Mapping[str, Sequence[str]]) -> Any:
    """RDD with one task in each partition, which prefers the hosts that hold the task's frames.

    Parameters
    ----------
    context : SparkContext
    tasks : sequence of Task
    hosts : mapping of str to sequence of str
        As of `Placement.hosts`.
    """
    if hosts:
        try:
            return _located(context, tasks, [preferred(task.entries, hosts) for task in tasks])
        except Exception as error:  # noqa: BLE001 - of no consequence for the result
            log.warning("Spark could not be told where tasks should run, so they run anywhere: %s", error)
    return context.parallelize(tasks, len(tasks))


def on_executors(
    replicas: Replicas, executors: Collection[str], resolve: Callable[[str], Iterable[str]] | None = None
) -> dict[str, tuple[str, ...]]:
    """Put what HDFS tells into Spark's words: Spark compares names of hosts as they are written.

    Parameters
    ----------
    replicas : mapping
    executors : collection of str
        Hosts of executors, in Spark's words: names or addresses.
    resolve : callable, optional
        Addresses of a host.

    Returns
    -------
    dict of str to tuple of str
        Executors' hosts that hold a file, sorted; what no executor's host holds is not in it.
    """
    resolve = resolve or _addresses
    known: dict[str, str] = {}
    for executor in sorted(executors):
        for word in (executor, *resolve(executor)):
            known.setdefault(word, executor)
    found = {}
    for path, where in replicas.items():
        matched = {known.get(name) or known.get(address) for name, address in where} - {None}
        if matched:
            found[path] = tuple(sorted(filter(None, matched)))
    return found


def read_replicas(told: str, root: str) -> dict[str, list[tuple[str, str]]]:
    """Read what the JVM has told: a line for each file, its path, and name and address of each host."""
    replicas = {}
    for line in told.splitlines():
        path, *where = line.split("\t")
        pairs = (one.partition(" ")[::2] for one in where)
        replicas[path.removeprefix(f"{root}/")] = [(name, address.rpartition(":")[0]) for name, address in pairs]
    return replicas


def _replicas(context: Any, url: str, paths: Sequence[str]) -> Replicas:
    began = time.monotonic()
    jvm, gateway = context._jvm, context._gateway

    def array(kind: Any, *values: Any) -> Any:
        made = gateway.new_array(kind, len(values))
        for i, value in enumerate(values):
            made[i] = value
        return made

    def type_of(name: str) -> Any:
        return jvm.java.lang.Class.forName(name)

    folder = unquote(urlsplit(url).path).rstrip("/")
    root = jvm.org.apache.hadoop.fs.Path(url)
    file_system = root.getFileSystem(context._jsc.hadoopConfiguration())
    script = jvm.org.codehaus.janino.ScriptEvaluator()
    script.setParentClassLoader(file_system.getClass().getClassLoader())
    script.setReturnType(type_of("java.lang.String"))
    types = (type_of("org.apache.hadoop.fs.FileSystem"), type_of("java.lang.String"))
    script.setParameters(array(jvm.java.lang.String, "fs", "paths"), array(jvm.java.lang.Class, *types))
    script.setThrownExceptions(array(jvm.java.lang.Class, type_of("java.lang.Exception")))
    script.cook(_LOOP)
    asked = "\n".join(f"{folder}/{path}" for path in paths)
    replicas = read_replicas(str(script.evaluate(array(jvm.java.lang.Object, file_system, asked))), folder)
    log.info("HDFS told where %d of %d frames lie, in %.2f s", len(replicas), len(paths), time.monotonic() - began)
    return replicas


def _executors(context: Any) -> set[str]:
    """Hosts of executors, in Spark's words; the driver, which Spark counts among them, is not one."""
    hosts = [str(info.host()) for info in context._jsc.sc().statusTracker().getExecutorInfos()]
    driver = context.getConf().get("spark.driver.host", "")
    if driver in hosts:
        hosts.remove(driver)
    return set(hosts)


def _located(context: Any, tasks: Sequence[Task], hosts: Sequence[Sequence[str]]) -> Any:
    from pyspark import RDD
    from pyspark.serializers import BatchedSerializer, CPickleSerializer

    jvm = context._jvm
    serializer = BatchedSerializer(CPickleSerializer(), 1)
    pairs = jvm.java.util.ArrayList()
    for task, where in zip(tasks, hosts, strict=True):
        names = jvm.java.util.ArrayList()
        for name in where:
            names.add(name)
        pairs.add(jvm.scala.Tuple2(bytearray(serializer.serializer.dumps([task])), jvm.PythonUtils.toSeq(names)))
    # PySpark has no makeRDD; this is what its own `parallelize` makes of a file that the driver writes.
    of_bytes = getattr(getattr(jvm.scala.reflect, "ClassTag$"), "MODULE$").apply(jvm.java.lang.Class.forName("[B"))
    made = context._jsc.sc().makeRDD(jvm.PythonUtils.toSeq(pairs), of_bytes).toJavaRDD()
    return RDD(made, context, serializer)


def _addresses(host: str) -> list[str]:
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None)})
    except OSError:
        return []


def _some(names: Collection[str], most: int = 3) -> str:
    return ", ".join(sorted(names)[:most]) + (" …" if len(names) > most else "")
