"""Cores of a Spark application are those of its executors, whatever else a configuration says."""

from types import SimpleNamespace
from typing import Any

import pytest
from py4j.protocol import Py4JError

from kira.jobs import executors
from kira.jobs.executors import Cores, cores_of


class Backend:
    """A scheduler that knows its cores by one method, or by none."""

    def __init__(self, **known: int) -> None:
        self.known = known

    def __getattr__(self, name: str) -> Any:
        def ask() -> int:
            if name not in self.known:
                raise Py4JError(f"Method {name}([]) does not exist")
            return self.known[name]

        return ask


def context(backend: Backend, there: int, conf: dict[str, str]) -> Any:
    """As much of a SparkContext as is asked, with so many executors."""
    java = SimpleNamespace(
        schedulerBackend=lambda: backend,
        getExecutorMemoryStatus=lambda: SimpleNamespace(size=lambda: there + 1),
        conf=lambda: SimpleNamespace(getTimeAsMs=lambda *_: 30_000),
    )
    return SimpleNamespace(
        getConf=lambda: SimpleNamespace(getAll=lambda: list(conf.items())),
        _jsc=SimpleNamespace(sc=lambda: java),
        defaultParallelism=int(conf.get("spark.default.parallelism", 2)),
    )


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes on by a second whenever it is asked."""
    seconds = iter(range(1000))
    monkeypatch.setattr(executors.time, "monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr(executors.time, "sleep", lambda _: None)


def test_one_executor_of_two_is_not_all(caplog: pytest.LogCaptureFixture) -> None:
    """Spark's own default on YARN: two executors of one core, where Spark says 2 as soon as the first is there."""
    assert cores_of(context(Backend(totalCoreCount=1), 1, {"spark.master": "yarn"}), 100) == Cores(1, 2)
    assert "Spark has 1 cores on 1 executors, where 2 were asked for" in caplog.text


def test_a_parallelism_that_was_set_is_no_number_of_cores() -> None:
    conf = {"spark.master": "spark://m:7077", "spark.default.parallelism": "200", "spark.task.cpus": "2"}
    assert cores_of(context(Backend(totalCoreCount=8), 2, conf), 1000) == Cores(4, 4)
    conf["spark.master"] = "local[3]"
    assert cores_of(context(Backend(totalCores=3), 0, conf), 1000) == Cores(3, 3)


def test_a_scheduler_that_does_not_tell() -> None:
    conf = {"spark.master": "yarn", "spark.executor.cores": "4", "spark.default.parallelism": "200"}
    assert cores_of(context(Backend(), 2, conf), 1000) == Cores(8, 8)
    assert cores_of(context(Backend(), 0, {"spark.master": "local[*]"}), 1000) == Cores(2, 2)
