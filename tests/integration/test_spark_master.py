"""What a master of Spark lets those do who do not know the secret."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from clusters import Standalone
from test_spark import until

pytestmark = pytest.mark.integration


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Standalone]:
    cluster = Standalone(tmp_path)
    try:
        # Though its file asks for what must not be.
        cluster.start_master(
            f"spark.master.rest.enabled true\nspark.master.rest.port {cluster.ports[2]}\nspark.ui.killEnabled true\n"
        )
        # Its REST gateway, if there is one, comes up before it is elected.
        log = tmp_path / "master.log"
        until(lambda: "elected leader" in log.read_text(), cluster.processes["master"], log)
        yield cluster
    finally:
        cluster.stop()


def test_nobody_hands_in_a_job_or_ends_one_without_the_secret(master: Standalone) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{master.ports[2]}/v1/submissions/status/driver-1", trust_env=False)
    for page in ("/app/kill/", "/driver/kill/", "/workers/kill/"):
        data = {"id": "app-1", "terminate": "true", "host": "127.0.0.1"}
        answer = httpx.post(f"http://127.0.0.1:{master.ports[1]}{page}", data=data, trust_env=False)
        assert answer.status_code == 405, page
