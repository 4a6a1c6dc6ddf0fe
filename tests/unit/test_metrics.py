"""Numbers for dashboards: what is counted, and that real receivers of OpenTelemetry and StatsD get it from Airflow."""

import atexit
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk._shared.observability.metrics.otel_logger import flush_otel_metrics
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils
from opentelemetry import metrics as otel
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from kira.airflow_glue import metrics
from kira.errors import LedgerUnavailable
from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.sdss import FrameId
from kira.stages.plan import Plan
from kira.storage import Manifest

RUN = "manual__1"
FRAMES = [FrameId.parse(f"dr12-301-000094-1-0012-{band}") for band in "ugriz"]
CONTEXT = Context("b-1", "shared", "dr12", "survey-1", RUN)
MANIFEST = Manifest("b-1", "shared", "dr12", "survey-1", "stage", RUN, ())
TAGS = {"archive": "shared", "release": "dr12", "profile": "survey-1"}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    made.record(CONTEXT, Stage.PLAN, [Record(f, Outcome.OK) for f in FRAMES])
    fetched = [Record(f, Outcome.OK, size=100, seconds=0.5, checks=3) for f in FRAMES[:3]]
    bad = Record(FRAMES[3], Outcome.CORRUPT_UPSTREAM, "cut short", seconds=1.0, checks=1, failed_checks=1)
    made.record(CONTEXT, Stage.MIRROR, [*fetched, bad, Record(FRAMES[4], Outcome.OK, size=100, again=True)])
    other = Context("b-2", "shared", "dr12", "survey-1", RUN)
    made.record(other, Stage.MIRROR, [Record(FRAMES[0], Outcome.OK, size=7, seconds=1.0)])
    for stage in (Stage.EXTRACT, Stage.VALIDATE, Stage.PUBLISH):
        made.record(CONTEXT, stage, [Record(f, Outcome.OK, sources=10 + n) for n, f in enumerate(FRAMES[:3])])
    yield made
    made.engine.dispose()


def test_counts_of_a_stage_are_those_of_its_batch(ledger: Ledger) -> None:
    assert metrics.counts_of(ledger, "b-1", RUN, (Stage.MIRROR,)) == {
        "kira.frames.mirror.ok": 3, "kira.frames.mirror.corrupt_upstream": 1, "kira.frames.mirror.done_before": 1,
        "kira.bytes.mirror": 300, "kira.checks.made": 10, "kira.checks.failed": 1,
    }  # fmt: skip
    assert metrics.counts_of(ledger, "b-1", RUN, (Stage.PUBLISH,)) == {
        "kira.frames.publish.ok": 3, "kira.sources.u": 10, "kira.sources.g": 11, "kira.sources.r": 12,
    }  # fmt: skip
    assert metrics.counts_of(ledger, "b-1", RUN, ()) == {}


def test_what_an_earlier_try_did_counts_once(ledger: Ledger) -> None:
    """A second try of the stage finds the first one's frames done, and is the one that tells."""
    before = metrics.counts_of(ledger, "b-1", RUN, (Stage.MIRROR,))
    ledger.record(CONTEXT, Stage.MIRROR, [Record(f, Outcome.OK, size=100, again=True) for f in FRAMES[:3]])
    assert metrics.counts_of(ledger, "b-1", RUN, (Stage.MIRROR,)) == before


def test_every_stage_is_told_of_once() -> None:
    told = [stage for stages in metrics.TOLD_AT.values() for stage in stages]
    assert sorted(told) == sorted(set(Stage) - {Stage.PLAN})


def test_a_ledger_that_is_away_fails_no_task(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> Any:
        raise LedgerUnavailable("The ledger is away.")

    monkeypatch.setattr(ledger, "figures", away)
    metrics.of_batch(ledger, MANIFEST, RUN, Stage.MIRROR)
    assert "could not be told" in caplog.text


def tell_all(ledger: Ledger) -> None:
    metrics.of_plan(Plan("all", "shared", "dr12", "survey-1", planned=5, missing=2))
    metrics.of_batch(ledger, MANIFEST, RUN, Stage.MIRROR)
    metrics.of_batch(ledger, MANIFEST, RUN, Stage.PUBLISH)
    metrics.of_run({"dag_run": RUN, "plan": TAGS, "frames": {"published": 3}})


@pytest.fixture
def initialized(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Airflow's metrics as a task's process has them."""

    def begin(**settings: str) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(f"AIRFLOW__METRICS__{name}", value)
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)

    yield begin
    # Airflow would tell the receiver of the test once more when the process ends.
    atexit.unregister(flush_otel_metrics)
    stats.initialize(factory=NoStatsLogger, export_legacy_names=True)


def test_opentelemetry_gets_them_with_tags(ledger: Ledger, initialized: Any) -> None:
    taken: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        port = str(server.server_address[1])
        initialized(OTEL_ON="True", OTEL_HOST="127.0.0.1", OTEL_PORT=port, OTEL_INTERVAL_MILLISECONDS="3600000")
        tell_all(ledger)
        otel.get_meter_provider().shutdown()  # type: ignore[attr-defined]
        server.shutdown()
    found: dict[str, float] = {}
    for body in taken:
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for one in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                points = one.sum.data_points or one.gauge.data_points
                found[one.name] = sum(point.as_int or point.as_double for point in points)
                assert {a.key: a.value.string_value for a in points[0].attributes} == TAGS
    assert found["airflow.kira.frames.mirror.ok"] == 3
    assert found["airflow.kira.frames.mirror.corrupt_upstream"] == 1
    assert found["airflow.kira.frames.plan.not_in_archive"] == 2
    assert found["airflow.kira.bytes.mirror"] == 300
    assert found["airflow.kira.sources.r"] == 12
    assert found["airflow.kira.run.frames.published"] == 3


def test_statsd_gets_them(ledger: Ledger, initialized: Any) -> None:
    pytest.importorskip("statsd", reason="not installed here; it is in the lock")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        initialized(STATSD_ON="True", STATSD_HOST="127.0.0.1", STATSD_PORT=str(receiver.getsockname()[1]))
        tell_all(ledger)
        stats.incr("the.last")
        found: dict[str, str] = {}
        while "airflow.the.last" not in found:
            found.update(line.split(":") for line in receiver.recv(65536).decode().splitlines())
    assert found["airflow.kira.frames.mirror.ok"] == "3|c"
    assert found["airflow.kira.frames.mirror.done_before"] == "1|c"
    assert found["airflow.kira.checks.failed"] == "1|c"
    assert found["airflow.kira.sources.u"] == "10|c"
    assert found["airflow.kira.run.frames.published"] == "3|g"


def test_the_dashboard_asks_for_what_is_told(ledger: Ledger) -> None:
    """Names as a statsd_exporter without a mapping makes them of ours."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "grafana.json").read_text()
    asked = set(re.findall(r"airflow_(kira_(?:frames|bytes|seconds|checks|sources)_\w+)[\[{]", text))
    stages = [str(stage) for stages in metrics.TOLD_AT.values() for stage in stages]
    told = {f"kira_{what}_{stage}" for what in ("bytes", "seconds") for stage in stages}
    told |= {f"kira_frames_{stage}_{outcome}" for stage in stages for outcome in Outcome}
    told |= {f"kira_sources_{band}" for band in "ugriz"} | {"kira_checks_made", "kira_checks_failed"}
    assert len(asked) > 10
    assert asked <= told
    assert json.loads(text)["title"] == "Kira"
