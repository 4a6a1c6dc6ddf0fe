"""Scenario of several hosts: tasks where their frames lie, against tasks anywhere, on links of limited bandwidth."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hdfs_native import Client, WriteOptions

from benchmarks import agreement, hosts
from benchmarks.cluster import Cluster, SparkRun, take_jar
from benchmarks.contenders import Run
from benchmarks.frames import DR12, FrameFile
from benchmarks.hosts import Inside, Servers
from benchmarks.scenario import Bars, Result, Scenario, Setting, Table, Verdict
from benchmarks.spark import our_profile
from benchmarks.timing import Spread, order
from kira.catalog import digest, read_parts
from kira.extraction import Profile
from kira.jobs.placement import SETTING
from kira.storage import Entry, open_store

HOSTS = 3


@dataclass(frozen=True)
class Layout:
    """How frames lie on hosts.

    Parameters
    ----------
    name : str
    replicas : int
    from_one : bool
        Whether they were written by one of the hosts, which then has them all; else by one that has no DataNode, and
        the NameNode takes hosts by chance.
    """

    name: str
    replicas: int
    from_one: bool = False


@dataclass(frozen=True)
class Variant:
    """How tasks are told where to run.

    Parameters
    ----------
    name, placement, wait : str
        See `kira.jobs.placement.SETTING`, and `spark.locality.wait`.
    """

    name: str
    placement: str
    wait: str = "0"


LAYOUTS = (
    Layout("1 replica", 1), Layout("2 replicas", 2), Layout("3 replicas", 3),
    Layout("1 replica, all on one host", 1, from_one=True),
)  # fmt: skip
ANY = Variant("anywhere", "off")
BY_HOST = Variant("packed by host", "hosts")
VARIANTS = (
    ANY, Variant("packed by cost, near most frames", "tasks"), BY_HOST,
    Variant("packed by host, waits 3 s", "hosts", "3s"),
)  # fmt: skip
_METRICS_SECONDS = 11
"""A DataNode tells the same numbers for ten seconds; else what the round before was proven by would be counted here."""
SLOW, FAST = 100, 1000
"""Mbit/s of each link."""
ONE, TWO, THREE, LOPSIDED = LAYOUTS
NEAR, WAITS = VARIANTS[1], VARIANTS[3]
CASES = [
    (SLOW, ONE, ANY), (SLOW, ONE, BY_HOST), (SLOW, LOPSIDED, BY_HOST), (SLOW, LOPSIDED, WAITS), (SLOW, ONE, NEAR),
    (SLOW, TWO, ANY), (SLOW, TWO, BY_HOST), (SLOW, THREE, ANY), (SLOW, ONE, WAITS), (SLOW, TWO, NEAR),
    (SLOW, LOPSIDED, ANY), (SLOW, THREE, BY_HOST),
    (FAST, ONE, ANY), (FAST, ONE, BY_HOST), (FAST, LOPSIDED, BY_HOST), (FAST, LOPSIDED, WAITS),
]  # fmt: skip


@dataclass(frozen=True)
class OnHosts:
    """What a job on several hosts did.

    Parameters
    ----------
    run : Run
    makespan : float
        Seconds from the begin of the first task to the end of the last.
    sent : int
        Bytes that hosts sent to each other while it ran, whatever for.
    far, read : int
        Bytes that DataNodes gave to readers on other hosts, and to all.
    where : dict of str to int
        Tasks by the locality that Spark tells.
    rows : str
        Digest of the catalogue.
    """

    run: Run
    makespan: float
    sent: int
    far: int
    read: int
    where: dict[str, int]
    rows: str


class HostsCluster(Cluster):
    """HDFS and Spark on several hosts, seen from one of them: it must be made there.

    Parameters
    ----------
    servers : Servers
    layout : Layout
    """

    def __init__(self, servers: Servers, layout: Layout) -> None:
        # The local stack's cluster has its settings from a stack; there is none here.
        self.store = open_store(f"{servers.hdfs}-{layout.replicas}{'-one' if layout.from_one else ''}")
        self._folder = servers.folder
        head = servers.network.head.address
        self.variables = servers.variables | {"SPARK_LOCAL_IP": head}
        self._at = servers.master
        self._staged: dict[int, Entry] = {}
        self._replicas = layout.replicas
        self.events = servers.folder / "events"
        self.events.mkdir(exist_ok=True)
        self.settings = {
            "spark.driver.host": head, "spark.driver.bindAddress": head, "spark.executor.memory": "512m",
            # Else the first tasks begin before all hosts have come.
            "spark.scheduler.minRegisteredResourcesRatio": "1.0", "spark.cores.max": str(HOSTS),
            "spark.eventLog.enabled": "true", "spark.eventLog.dir": self.events.as_uri(),
            "spark.eventLog.rolling.enabled": "false", "spark.eventLog.compress": "false",
        }  # fmt: skip

    def _master(self, cores: int) -> str:
        assert cores == HOSTS
        return self._at

    def _write(self, path: str, content: bytes) -> None:
        root = self.store.url
        scheme, _, rest = root.partition("://")
        netloc, _, folder = rest.partition("/")
        client = Client(f"{scheme}://{netloc}")
        options = WriteOptions(create_parent=True, overwrite=True, replication=self._replicas)
        with client.create(f"/{folder}/{path}", options) as file:
            file.write(content)


def stage(servers: Servers, layout: Layout, files: Sequence[FrameFile]) -> list[Entry]:
    """Put frames into HDFS; called on the host that is to write them."""
    return HostsCluster(servers, layout).put(files)


def extract(
    servers: Servers, layout: Layout, variant: Variant, entries: Sequence[Entry], profile: Profile, name: str
) -> OnHosts:
    """Run the job once; called on the head."""
    cluster = HostsCluster(servers, layout)
    settings = cluster.settings | {SETTING: variant.placement, "spark.locality.wait": variant.wait}
    time.sleep(_METRICS_SECONDS)
    sent_before, read_before = servers.network.sent(), servers.read()
    done: SparkRun = cluster.submit(name, entries, profile, HOSTS, settings)
    sent = servers.network.sent() - sent_before
    far, read = (now - before for now, before in zip(servers.read(), read_before, strict=True))
    where: Counter[str] = Counter()
    for log in cluster.events.iterdir():
        where.update(_localities(log))
        log.unlink()
    rows = digest(read_parts(cluster.parts(name, profile)))
    cluster.remove(name, profile)
    return OnHosts(done.run, done.makespan, sent, far, read, dict(where), rows)


def _localities(log: Path) -> Iterator[str]:
    """Locality of each task of the job's last stage: that which extracts, the first only loads the workers."""
    events = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    ended = [event for event in events if event["Event"] == "SparkListenerTaskEnd"]
    last = max(event["Stage ID"] for event in ended)
    return (event["Task Info"]["Locality"] for event in ended if event["Stage ID"] == last)


class Locality(Scenario):
    """Several hosts."""

    name = "locality"
    title = "Several hosts: tasks where their frames lie, and tasks anywhere"
    expectation = """
    On three hosts with links of limited bandwidth, a job whose tasks run anywhere reads two thirds of its frames over
    the network where there is one replica, a third where there are two, and none where there are three, because the
    NameNode names the reader's own DataNode first. Packed by host, at most a tenth is read over the network, and with
    links of 100 Mbit/s, which bring a frame in twice the time that it takes to measure it, the job is faster the more.
    Where all frames lie on one host, waiting for locality leaves the other hosts idle, and not waiting is faster.
    """

    def run(self, setting: Setting, result: Result) -> None:
        """All cases in alternation; their catalogues must be the same in every round."""
        if reason := hosts.why_not():
            raise hosts.HostsFailed(reason)
        profile, count = our_profile(), setting.sizes.hosts
        files = setting.frames.make(count, DR12)
        result.notes.append(
            f"Load of the machine when it began: {os.getloadavg()[0]:.1f} on {setting.cores} processors."
        )
        cases = {
            f"{mbit} Mbit/s, {layout.name}: {variant.name}": (mbit, layout, variant) for mbit, layout, variant in CASES
        }
        done: dict[str, list[OnHosts]] = {name: [] for name in cases}
        with hosts.servers(HOSTS, take_jar, setting.say) as servers, Inside(servers.network.head) as head:
            entries: dict[Layout, list[Entry]] = {}
            for layout in LAYOUTS:
                with Inside(servers.network.workers[0]) as one:
                    entries[layout] = (one if layout.from_one else head).call(stage, servers, layout, files)
            staged = sum(head.call(_sizes, servers, [entry.staged for entry in entries[ONE]]))
            # The first run warms the machine up and says what the catalogue is.
            first = head.call(extract, servers, ONE, ANY, entries[ONE], profile, "proof")
            for number, name in order(list(cases), setting.long_repeats):
                mbit, layout, variant = cases[name]
                servers.network.limit(mbit)
                one_run = head.call(extract, servers, layout, variant, entries[layout], profile, "turn")
                servers.network.limit(None)
                if one_run.rows != first.rows:
                    raise agreement.Disagreement(f"{name}: its catalogue is not that of the first run.")
                done[name].append(one_run)
                setting.say(
                    f"  round {number + 1}: {name}: {one_run.makespan:.1f} s, {one_run.far / one_run.read:.0%} read "
                    f"from other hosts, {one_run.sent / 1e6:.1f} MB sent, {one_run.where}"
                )
        result.proofs.append(
            f"{sum(map(len, done.values())) + 1} catalogues of {count} frames, {first.run.sources:,} sources, from "
            f"{len(cases)} cases: all equal in every column to the last bit"
        )
        self._say(result, cases, done, staged, count)

    @staticmethod
    def _say(
        result: Result,
        cases: dict[str, tuple[int, Layout, Variant]],
        done: dict[str, list[OnHosts]],
        staged: int,
        count: int,
    ) -> None:
        columns = ["links", "frames lie", "tasks", "read from other hosts", "MB sent", "NODE_LOCAL", "makespan, s"]
        table = Table(f"{count} frames, {staged / 1e6:.1f} MB packed, on {HOSTS} hosts of one core", columns)
        share: dict[tuple[int, Layout, Variant], float] = {}
        times: dict[tuple[int, Layout, Variant], Spread] = {}
        for name, runs in done.items():
            mbit, layout, variant = case = cases[name]
            result.runs += [run.run.as_dict() | asdict(run) | {"contender": name, "staged": staged} for run in runs]
            sent, times[case] = Spread.of([run.sent / 1e6 for run in runs]), Spread.of([run.makespan for run in runs])
            far = Spread.of([100 * run.far / run.read for run in runs])
            share[case] = far.median / 100
            near = sum(run.where.get("NODE_LOCAL", 0) for run in runs)
            tasks = sum(sum(run.where.values()) for run in runs)
            table.rows.append([
                f"{mbit} Mbit/s", layout.name, variant.name, f"{far.text()} %", sent.text(), f"{near / tasks:.0%}",
                times[case].text(),
            ])  # fmt: skip
        result.tables.append(table)
        result.notes.append(
            "What is read from another host is told by the DataNodes; NODE_LOCAL is the part of the tasks of which "
            "Spark says so. What is sent has all in it that crossed the bridge: frames, the catalogue's files with "
            "their second replica, Kira's code and kernels for each executor, and what driver and executors tell each "
            "other."
        )
        result.verdicts += [
            Verdict(
                f"1 replica, {SLOW} Mbit/s: read from other hosts, packed by host over anywhere",
                share[SLOW, ONE, BY_HOST] / share[SLOW, ONE, ANY], 0.5, True,
            ),
            Verdict(
                f"1 replica, {SLOW} Mbit/s: makespan, packed by host over anywhere",
                times[SLOW, ONE, BY_HOST].median / times[SLOW, ONE, ANY].median, 1.0, True,
            ),
            *(
                Verdict(
                    f"all on one host, {mbit} Mbit/s: makespan without waiting over that with spark.locality.wait=3s",
                    times[mbit, LOPSIDED, BY_HOST].median / times[mbit, LOPSIDED, WAITS].median, 1.0, True,
                )
                for mbit in (SLOW, FAST) if (mbit, LOPSIDED, WAITS) in times
            ),
        ]  # fmt: skip
        bars = {f"{layout.name}: {variant.name}": v for (mbit, layout, variant), v in share.items() if mbit == SLOW}
        result.plots.append(
            Bars(
                "locality",
                "Frames read from other hosts",
                "part of the bytes",
                {name: [v, v, v] for name, v in bars.items()},
            )
        )


def _sizes(servers: Servers, paths: Sequence[str]) -> list[int]:
    store = HostsCluster(servers, ONE).store
    return [store.size(path) or 0 for path in paths]
