"""The same DAG file, by Airflow's own scheduler, with Spark's work done by a standalone cluster."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clusters import Standalone, without_kira
from conftest import Observatory

from kira.ledger import Ledger
from kira.sample import SampleSpec, write_sample
from kira.stack.airflow_server import AirflowApi
from kira.stack.config import write_private
from kira.stack.local import LocalStack
from kira.storage import open_store

# A stack more, with Airflow: minutes on a small machine.
pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    standalone = Standalone(tmp_path_factory.mktemp("standalone"))
    try:
        standalone.start()
        yield standalone
    finally:
        standalone.stop()


def test_a_dag_run_on_a_standalone_cluster(
    cluster: Standalone, new_stack: Callable[..., LocalStack], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    properties = {
        "spark.cores.max": "2", "spark.executor.memory": "512m", "spark.driver.memory": "600m",
        "spark.pyspark.python": without_kira(tmp_path_factory.mktemp("bare")),
        "spark.pyspark.driver.python": sys.executable,
    } | cluster.properties  # fmt: skip
    file = tmp_path / "spark.properties"
    write_private(file, "".join(f"{name} {value}\n" for name, value in properties.items()))
    sample = tmp_path / "sample"
    write_sample(SampleSpec(fields=1), sample)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIRA_SPARK_MASTER", cluster.url)
        patch.setenv("KIRA_SPARK_PROPERTIES", str(file))
        stack = new_stack(stage=f"file://{tmp_path}/stage", name="cluster")
    store = open_store(stack.config.stage_url)
    observatory = Observatory(stack, store, Ledger(stack.config.ledger_url), AirflowApi(stack.config))
    observatory.kira("run", "--archive", str(sample), "--release", "dr12")
    files = [path for top in store.top() for path, _ in store.walk(top.name)]
    (job,) = [path for path in files if path.endswith("/_job.json")]
    spark = json.loads(store.read(job))["spark"]
    assert spark["spark.master"] == cluster.url
    assert spark["spark.driver.memory"] == "600m"  # and not Kira's own 1g
    assert spark["spark.archives"].endswith("#kira-code")
    assert cluster.secret not in json.dumps(spark)
