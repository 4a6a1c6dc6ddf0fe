"""State of the systems on the overview: by real answers of real servers, and each failing alone."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.config import Config
from fastapi.testclient import TestClient
from http_servers import RudeServer, answer, misbehaving, serving

from kira.errors import InvalidInput
from kira.ledger import Context, Outcome, Record, Stage
from kira.pages import systems
from kira.pages.app import create_app
from kira.pages.data import Data
from kira.pages.systems import System
from kira.pages.watching import Watched
from kira.sdss import FrameId
from kira.sdss.archive import Archive
from kira.settings import Settings

SCRIPT = "<script>alert(1)</script>"
FRAME = FrameId.parse("dr12-301-000094-1-0012-r")
NAME_SYSTEM = {
    "CapacityTotal": 100_000_000_000, "CapacityUsed": 30_000_000_000, "CapacityRemaining": 60_000_000_000,
    "NumLiveDataNodes": 2, "NumDeadDataNodes": 0, "BlocksTotal": 1234, "MissingBlocks": 0,
}  # fmt: skip
INFO = {"Safemode": "", "SoftwareVersion": "3.5.0"}
MASTER = {
    "status": "ALIVE", "aliveworkers": 2, "cores": 16, "coresused": 4, "memory": 32768, "memoryused": 2048,
    "activeapps": [{}],
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[RudeServer]:
    with misbehaving() as made:
        yield made


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not decide what a test says."""
    monkeypatch.setattr(systems, "WAIT", 60.0)


def opened(folder: Path, **options: Any) -> Data:
    places = {"stage_url": f"file://{folder}/stage", "bucket": "kira-mirror", "ledger_url": f"sqlite:///{folder}/l.db"}
    kept = {name: options.pop(name) for name in ("s3_client", "archives") if name in options}
    settings = Settings(**places | options)
    return Data(lambda: settings, **kept)


def client_of(url: str) -> Callable[[], Any]:
    """As Airflow's hook makes it."""
    config = Config(connect_timeout=1, read_timeout=1, retries={"max_attempts": 0}, proxies={})
    login = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    return lambda: boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=config, **login)


def of(data: Data, name: str) -> System:
    (found,) = [one for one in systems.systems(data) if one.name == name]
    return found


# -- S3


@pytest.mark.parametrize(
    ("status", "word", "sentence"),
    [(200, "up", "kira-mirror is there"), (404, "down", "no bucket kira-mirror"), (403, "down", "check the login"),
     (500, "down", "HTTP status 500")],
)  # fmt: skip
def test_s3_says_what_it_says(server: RudeServer, tmp_path: Path, status: int, word: str, sentence: str) -> None:
    server.on("/kira-mirror", answer(status))
    found = of(opened(tmp_path, s3_client=client_of(server.url)), "S3")
    assert found.word == word
    assert sentence in found.sentence


def test_an_s3_that_is_not_there(tmp_path: Path) -> None:
    found = of(opened(tmp_path, s3_client=client_of("http://127.0.0.1:9")), "S3")
    assert found.word == "down"
    assert "does not answer" in found.sentence


# -- HDFS


@pytest.mark.parametrize(
    ("changed", "word", "sentence"),
    [
        ({}, "up", "All DataNodes are live"), ({"NumDeadDataNodes": 1}, "look", "Dead DataNodes: 1"),
        ({"NumLiveDataNodes": 0}, "down", "No DataNode is live"), ({"MissingBlocks": 3}, "down", "Missing blocks: 3"),
        ({"Safemode": "Safe mode is ON."}, "down", "safe mode"), ({"CapacityRemaining": 5}, "look", "Less than 10%"),
    ],
)  # fmt: skip
def test_hdfs_by_the_figures_of_its_namenode(changed: dict[str, Any], word: str, sentence: str) -> None:
    found = systems.hdfs(NAME_SYSTEM | changed, INFO | changed)
    assert found.word == word
    assert sentence in found.sentence
    assert ("Hadoop", "3.5.0") in found.figures


def test_the_namenode_is_asked_over_http(server: RudeServer, tmp_path: Path) -> None:
    for name, bean in (("FSNamesystem", NAME_SYSTEM), ("NameNodeInfo", INFO)):
        path = f"/jmx?qry=Hadoop%3Aservice%3DNameNode%2Cname%3D{name}"
        server.on(path, answer(200, json.dumps({"beans": [bean]}).encode()))
    data = opened(tmp_path, stage_url="hdfs://127.0.0.1:9/kira", hdfs_ui=server.url)
    found = of(data, "HDFS")
    assert (found.word, dict(found.figures)["DataNodes"]) == ("up", "2 live, 0 dead")
    assert dict(found.figures)["Capacity"] == "100.0 GB, of which 30.0 GB are used by HDFS"


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"beans": []}', b"[]", b'{"beans": [{}]}'])
def test_what_is_no_namenode_is_said(server: RudeServer, tmp_path: Path, body: bytes) -> None:
    path = "/jmx?qry=Hadoop%3Aservice%3DNameNode%2Cname%3D"
    for name in ("FSNamesystem", "NameNodeInfo"):
        server.on(path + name, answer(200, body))
    found = of(opened(tmp_path, stage_url="hdfs://127.0.0.1:9/kira", hdfs_ui=server.url), "Staging store")
    assert found.word == "down"
    assert "NameNode" in found.sentence or "CapacityTotal" in found.sentence


def test_without_its_page_nothing_is_claimed_of_hdfs(tmp_path: Path) -> None:
    found = of(opened(tmp_path, stage_url="hdfs://127.0.0.1:9/kira"), "HDFS")
    assert (found.word, "KIRA_HDFS_UI" in found.sentence) == ("look", True)


def test_a_file_system_says_its_room(tmp_path: Path) -> None:
    found = of(opened(tmp_path), "Staging folder")
    assert " of " in dict(found.figures)["Room"]
    assert dict(found.figures)["Folder"] == f"file://{tmp_path}/stage"


# -- Spark


@pytest.mark.parametrize(
    ("changed", "word", "sentence"),
    [({}, "up", "alive"), ({"aliveworkers": 0}, "down", "No worker"), ({"status": "STANDBY"}, "look", "standby")],
)
def test_a_spark_master(
    server: RudeServer, tmp_path: Path, changed: dict[str, Any], word: str, sentence: str
) -> None:  # fmt: skip
    server.on("/json/", answer(200, json.dumps(MASTER | changed).encode()))
    found = of(opened(tmp_path, spark_ui=server.url), "Spark")
    assert found.word == word
    assert sentence in found.sentence
    assert ("Cores", "4 of 16 in use") in found.figures


def test_a_history_server(server: RudeServer, tmp_path: Path) -> None:
    server.on("/api/v1/version", answer(200, b'{"spark": "4.2.0"}'))
    found = of(opened(tmp_path, spark_ui=server.url), "Spark")
    assert (found.word, found.figures) == ("up", (("Version", "4.2.0"),))


def test_spark_that_comes_and_goes(tmp_path: Path) -> None:
    assert "starts with each batch" in of(opened(tmp_path), "Spark").sentence


# -- archive


def test_an_archive_of_the_catalogues_is_asked(tmp_path: Path) -> None:
    (tmp_path / "files" / "sas" / "dr12").mkdir(parents=True)
    with serving(tmp_path / "registry.json") as server:
        there = server.add("there", tmp_path / "files")
        other = Archive("other", das="http://127.0.0.1:9/das", sas="http://127.0.0.1:9/sas")
        data = opened(tmp_path, archives=lambda: [other, there])
        context = Context("b-1", "there", "dr12", "survey-1", "run-1")
        data.ledger.record(context, Stage.PLAN, [Record(FRAME, Outcome.OK)])
        found = [one for one in systems.systems(data) if one.name.startswith("Archive")]
    assert [(one.name, one.word) for one in found] == [("Archive there", "up")]


@pytest.mark.parametrize(
    ("behaviour", "word", "sentence"),
    [(answer(404), "look", "nothing at"), (answer(503), "down", "503"),
     (answer(302, Location="http://127.0.0.1:9/login"), "down", "redirects")],
)  # fmt: skip
def test_an_archive_that_does_not_serve(
    server: RudeServer, tmp_path: Path, behaviour: Any, word: str, sentence: str
) -> None:
    server.on("/sas/", behaviour)
    archive = Archive("there", das=f"{server.url}/das", sas=f"{server.url}/sas")
    found = of(opened(tmp_path, archives=lambda: [archive]), "Archive there")
    assert found.word == word
    assert sentence in found.sentence
    assert len(server.seen) == 1, "one try"


# -- together


def test_each_fails_alone_with_its_sentence(server: RudeServer, tmp_path: Path) -> None:
    def refused() -> Any:
        raise RuntimeError(SCRIPT)

    text = TestClient(create_app(opened(tmp_path, s3_client=refused, spark_ui=server.url), [])).get("/systems").text
    assert "RuntimeError: &lt;script&gt;" in text
    assert SCRIPT not in text
    assert "/api/v1/version answers with 404" in text
    assert "It can be reached" in text or "is left" in text


def test_what_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "WAIT", 0.2)
    held = threading.Event()
    data = opened(tmp_path, s3_client=held.wait, archives=held.wait)
    try:
        assert of(data, "S3").sentence == of(data, "Archive").sentence == "It did not answer within 0.2 s."
    finally:
        held.set()


def test_settings_that_are_missing_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KIRA_STAGE_URL", raising=False)
    assert "KIRA_STAGE_URL is not set" in of(Data(), "S3").sentence


def test_many_who_look_are_one_who_asks(server: RudeServer, tmp_path: Path) -> None:
    server.on("/kira-mirror", answer(200))
    data = opened(tmp_path, s3_client=client_of(server.url))
    for _ in range(5):
        systems.systems(data)
    assert server.paths == ["/kira-mirror"]


def test_a_question_that_hangs_is_not_asked_twice() -> None:
    asked: list[int] = []
    held = threading.Event()

    def ask() -> int:
        asked.append(1)
        held.wait(30)
        return 7

    watched = Watched(ask, 1000, 0.01)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            watched()
    held.set()
    assert watched(30) == 7
    assert (asked, watched()) == ([1], 7)


def test_a_failure_is_remembered_and_asked_again_later() -> None:
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        raise InvalidInput("no")

    kept, never = Watched(ask, 1000, 5), Watched(ask, -1, 5)
    for watched, times in ((kept, 1), (never, 2)):
        asked.clear()
        for _ in range(2):
            with pytest.raises(InvalidInput):
                watched()
        assert len(asked) == times


@pytest.mark.parametrize("url", ["ftp://host", "http://user:secret@host", "not a url", "http://"])
def test_a_page_of_nonsense_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("KIRA_STAGE_URL", "KIRA_S3_BUCKET", "KIRA_LEDGER_URL"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("KIRA_HDFS_UI", url)
    with pytest.raises(InvalidInput, match="KIRA_HDFS_UI") as caught:
        Settings.from_environment()
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("KIRA_HDFS_UI", "http://namenode:9870/")
    assert Settings.from_environment().hdfs_ui == "http://namenode:9870"


# -- on the overview


def published(data: Data, archive: str, synthetic: str) -> None:
    context = Context(f"b-{archive}", archive, "dr12", "survey-1", "run-1")
    for stage in Stage:
        data.ledger.record(context, stage, [Record(FRAME, Outcome.OK)])
    sink = pa.BufferOutputStream()
    table = pa.table({"ra": [1.0]}).replace_schema_metadata({"synthetic": synthetic})
    pq.write_table(table, sink)
    data.store.write(f"{archive}/catalog/dr12/survey-1/batch=b-{archive}/part-0.parquet", sink.getvalue().to_pybytes())


def test_catalogues_of_synthetic_frames_are_labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kira.pages.synthetic.WAIT", 20.0)
    data = opened(tmp_path)
    published(data, "sample", "yes")
    published(data, "sdss", "no")
    text = TestClient(create_app(data, [])).get("/").text
    sections = {part.split("·")[0].split(">")[-1].strip(): part for part in text.split("<section")[1:]}
    assert "synthetic frames" in sections["sample"]
    assert "synthetic frames" not in sections["sdss"]
    client = TestClient(create_app(data, []))
    for archive, labelled in (("sample", True), ("sdss", False)):
        assert ("synthetic frames" in client.get(f"/batches/b-{archive}").text) is labelled


def test_a_damaged_part_and_a_dead_store_do_not_break_the_overview(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = opened(tmp_path)
    context = Context("b-1", "sample", "dr12", "survey-1", "run-1")
    data.ledger.record(context, Stage.PLAN, [Record(FRAME, Outcome.OK)])
    data.store.write("sample/catalog/dr12/survey-1/batch=b-1/part-0.parquet", b"PAR1 is not all")
    client = TestClient(create_app(data, []))
    monkeypatch.setattr("kira.pages.synthetic.WAIT", 20.0)
    assert "1 of 1 frames are to do" in client.get("/").text
    held = threading.Event()
    monkeypatch.setattr(type(data.store), "listing", lambda *_: held.wait(60))
    monkeypatch.setattr("kira.pages.synthetic.WAIT", 0.05)
    dead = opened(tmp_path)
    answered = TestClient(create_app(dead, [])).get("/")
    assert not held.is_set(), "the page came while the store was silent"
    held.set()
    assert answered.status_code == 200


def test_failed_counts_lead_to_their_problems(tmp_path: Path) -> None:
    data = opened(tmp_path)
    context = Context("b-1", "sample", "dr12", "survey-1", "run-1")
    data.ledger.record(context, Stage.MIRROR, [Record(FRAME, Outcome.CORRUPT_UPSTREAM, "cut")])
    text = TestClient(create_app(data, [])).get("/").text
    assert '/problems?catalogue=1&amp;stage=mirror"' in text
    assert '/problems?catalogue=1&amp;outcome=corrupt_upstream"' in text


def test_the_overview_does_not_wait_for_systems(tmp_path: Path) -> None:
    asked: list[int] = []
    data = opened(tmp_path, s3_client=lambda: asked.append(1))
    text = TestClient(create_app(data, [])).get("/").text
    assert 'hx-get="/systems"' in text
    assert not asked
