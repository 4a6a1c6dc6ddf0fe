"""How many cores a Spark application has: on a cluster its executors come one after the other."""

import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from py4j.protocol import Py4JError

from kira.jobs.shipping import needed
from kira.records import facts

log = logging.getLogger(__name__)

SETTLED = 3.0
"""Seconds without another executor after which those that are there are taken for all, if nobody said how many."""
_SETTLED_SHORT_OF = 15.0
"""The same where more were asked for: a cluster may have no more, or be busy."""
_POLL = 0.2


@dataclass(frozen=True)
class Cores:
    """Cores of an application.

    Parameters
    ----------
    now : int
        Of the executors that are there.
    most : int
        That it may come to have: more than `now` only with dynamic allocation.
    """

    now: int
    most: int


@dataclass(frozen=True)
class Asked:
    """What the configuration asks for.

    Parameters
    ----------
    cores : int or None
        To begin with; None for all that the cluster has.
    dynamic : bool
        Whether executors come and go with the work.
    most_executors, executor_cores : int or None
        None where nothing is said.
    """

    cores: int | None
    dynamic: bool = False
    most_executors: int | None = None
    executor_cores: int | None = None


def asked_for(conf: Mapping[str, str]) -> Asked:
    """What a configuration of Spark asks for, on any master that is not this machine alone."""
    master = conf.get("spark.master", "")
    each = _number(conf, "spark.executor.cores")
    if conf.get("spark.dynamicAllocation.enabled", "false").lower() == "true":
        if each is None and not master.startswith("spark://"):
            each = 1  # Spark's own default on YARN and Kubernetes; a standalone worker gives all that it has
        return Asked(None, True, _number(conf, "spark.dynamicAllocation.maxExecutors"), each)
    if master.startswith("spark://"):
        return Asked(_number(conf, "spark.cores.max"), executor_cores=each)
    if master.startswith("local-cluster["):
        workers, cores, _ = master[len("local-cluster[") : -1].split(",")
        return Asked(int(workers) * int(cores))
    return Asked((_number(conf, "spark.executor.instances") or 2) * (each or 1), executor_cores=each or 1)


def _number(conf: Mapping[str, str], name: str) -> int | None:
    return int(conf[name]) if name in conf else None


def wait_for(
    asked: Asked, cores_now: Callable[[], int], executors_now: Callable[[], int], patience: float, frames: int
) -> Cores:
    """Wait until the executors that were asked for are there, or no more seem to come.

    Parameters
    ----------
    asked : Asked
    cores_now, executors_now : callable
        What is registered by now.
    patience : float
        Seconds after which the wait has an end in any case.
    frames : int
        Of the batch: more cores than that are of no use.

    Returns
    -------
    Cores
    """
    began = changed = time.monotonic()
    seen = 0
    settled = _SETTLED_SHORT_OF if asked.cores else SETTLED
    while True:
        cores, executors, now = cores_now(), executors_now(), time.monotonic()
        if executors > seen:
            seen, changed = executors, now
        if executors and ((asked.cores and cores >= asked.cores) or now - changed >= settled):
            break
        if now - began >= patience:
            break
        time.sleep(_POLL)
    if not executors:
        log.warning(
            "No executor of Spark has come within %.0f s: the cluster may be busy, or have no worker with as many "
            "cores and as much memory as one needs. The job waits for one.", patience,
        )  # fmt: skip
    elif asked.cores and cores < asked.cores:
        log.warning("Spark has %d cores on %d executors, where %d were asked for", cores, executors, asked.cores)
    now_there = cores if executors else 1
    return Cores(now_there, max(now_there, min(_most(asked, cores, executors), frames)))


def _most(asked: Asked, cores: int, executors: int) -> int:
    if not executors:
        cores = 1
    if not asked.dynamic:
        return asked.cores or cores
    each = asked.executor_cores or max(1, cores // max(1, executors))
    return 1 << 30 if asked.most_executors is None else asked.most_executors * each


def cores_of(context: Any, frames: int) -> Cores:
    """Cores of a Spark context, after its executors have come.

    Parameters
    ----------
    context : SparkContext
    frames : int
        Of the batch.
    """
    conf = dict(context.getConf().getAll())
    java = context._jsc.sc()
    # Not `defaultParallelism`: that is 2 where there is one core, and anything that a configuration says.
    backend = java.schedulerBackend()
    if not needed(conf.get("spark.master", "local")):
        cores = _ask(backend, "totalCores") or context.defaultParallelism
        return Cores(cores, cores)
    each = _number(conf, "spark.executor.cores") or 1

    def executors() -> int:
        return int(java.getExecutorMemoryStatus().size()) - 1  # the driver is one of them

    def cores_now() -> int:
        known = _ask(backend, "totalCoreCount")
        return executors() * each if known is None else known

    per_task = int(conf.get("spark.task.cpus", "1"))
    patience = java.conf().getTimeAsMs("spark.scheduler.maxRegisteredResourcesWaitingTime", "30s") / 1000
    found = wait_for(asked_for(conf), cores_now, executors, patience, frames)
    return Cores(max(1, found.now // per_task), max(1, found.most // per_task))


def _ask(backend: Any, method: str) -> int | None:
    """What a scheduler of Spark says of its cores; None if it has no such method, which is Spark's own affair."""
    try:
        return int(getattr(backend, method)())
    except Py4JError:
        return None


@cache
def machine_here() -> tuple[str, dict[str, Any]]:
    """Name of this host, and what the machine is."""
    return socket.gethostname(), facts.machine()
