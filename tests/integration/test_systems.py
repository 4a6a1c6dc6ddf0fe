"""State of the systems as real servers tell it: SeaweedFS, a NameNode with its DataNodes, the archive server."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from kira.pages import systems
from kira.pages.app import create_app
from kira.pages.data import Data
from kira.sdss.archive import Archive
from kira.settings import Settings
from kira.stack.config import BUCKET
from kira.stack.local import LocalStack

pytestmark = pytest.mark.integration


def test_all_of_the_local_stack_is_up(
    servers: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(systems, "WAIT", 60.0)  # a busy machine must not decide
    config = servers.config
    (tmp_path / "files" / "sas" / "dr12").mkdir(parents=True)
    base = servers.serve_archive("seen", tmp_path / "files")
    settings = Settings(
        config.stage_url, BUCKET, f"sqlite:///{tmp_path}/ledger.db", hdfs_ui=config.url("namenode_http")
    )
    archive = Archive("seen", das=f"{base}/das", sas=f"{base}/sas")
    data = Data(lambda: settings, s3_client=servers.s3_client, archives=lambda: [archive])
    found = {one.name: one for one in systems.systems(data)}
    assert {name: found[name].word for name in ("S3", "Spark", "Archive seen")} == {
        "S3": "up", "Spark": "up", "Archive seen": "up"
    }, found  # fmt: skip
    # How full the disk of this machine is, is not the question.
    assert found["HDFS"].sentence in (
        "All DataNodes are live, and no block is missing.", "Less than 10% of its capacity is left."
    )  # fmt: skip
    hdfs = dict(found["HDFS"].figures)
    assert hdfs["DataNodes"] == "2 live, 0 dead"
    assert hdfs["Blocks"].endswith(" 0 missing")
    assert hdfs["Hadoop"].startswith("3.")
    assert "2 live, 0 dead" in TestClient(create_app(data, [])).get("/systems").text
