"""Where frames lie, in Spark's words; with HDFS's real answer in `tests/integration/test_several_hosts.py`."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from kira.jobs import placement
from kira.jobs.placement import Placement, on_executors, read_replicas
from kira.sdss import FrameId
from kira.storage import Entry, open_store

TOLD = "/kira/a/one.blosc\tnode1 10.0.0.1:9866\tnode2 10.0.0.2:9866\n/kira/a/two.blosc\tnode3 10.0.0.3:9866\n"


def addresses(host: str) -> Iterator[str]:
    yield from {"node1.example.org": ["10.0.0.1"], "driver": ["10.0.0.9"]}.get(host, [])


def test_what_hdfs_tells() -> None:
    assert read_replicas(TOLD, "/kira") == {
        "a/one.blosc": [("node1", "10.0.0.1"), ("node2", "10.0.0.2")],
        "a/two.blosc": [("node3", "10.0.0.3")],
    }
    assert read_replicas("", "/kira") == {}


@pytest.mark.parametrize(
    ("executors", "found"),
    [
        ({"node1", "node3"}, {"a/one.blosc": ("node1",), "a/two.blosc": ("node3",)}),
        ({"10.0.0.2", "10.0.0.1"}, {"a/one.blosc": ("10.0.0.1", "10.0.0.2")}),
        ({"node1.example.org", "node4"}, {"a/one.blosc": ("node1.example.org",)}),
        ({"driver"}, {}),
        (set(), {}),
    ],
)
def test_hosts_are_called_as_spark_calls_them(executors: set[str], found: dict[str, tuple[str, ...]]) -> None:
    assert on_executors(read_replicas(TOLD, "/kira"), executors, addresses) == found


def context(master: str = "spark://head:7077", kind: str | None = None) -> SimpleNamespace:
    """A Spark context without Spark: all that is asked of its JVM fails."""
    conf = SimpleNamespace(get=lambda _, default: kind or default)
    return SimpleNamespace(master=master, getConf=lambda: conf, parallelize=lambda tasks, n: (tasks, n))


def test_a_job_goes_on_where_nothing_can_be_found_out(caplog: pytest.LogCaptureFixture) -> None:
    store = open_store("hdfs://127.0.0.1:9/kira")
    entry = Entry(FrameId.parse("dr12-301-000094-1-0012-r"), "u", "k", "s")
    assert Placement(context(), store, [entry]).hosts() == {}
    assert "tasks run anywhere" in caplog.text
    assert placement.rdd(context(), [], {}) == ([], 0)


@pytest.mark.parametrize(
    ("master", "kind", "url"),
    [
        ("local[2,4]", None, "hdfs://127.0.0.1:9/kira"),
        ("spark://head:7077", "off", "hdfs://127.0.0.1:9/kira"),
        ("spark://head:7077", None, "file:///tmp/kira"),
    ],
)
def test_where_it_is_of_no_use_nothing_is_asked(
    master: str, kind: str | None, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert Placement(context(master, kind), open_store(url), []).hosts() == {}
    assert not caplog.text
