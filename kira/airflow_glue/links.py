"""Links of Kira's tasks in Airflow's UI: to the batch on Kira's pages, to Spark, to the batch's folder in HDFS.

Light, because DAG files import it. Airflow asks for a link in the task's own process when the task has ended, well or
not, and keeps it as an XCom; an empty one is not shown.
"""

import os
from typing import Any
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink

_IN_UI = "/plugin/kira/kira"
"""Kira's pages with Airflow's navigation around them: route of the plugin, then the page's own path."""


def pages_url(path: str) -> str:
    """Address of one of Kira's pages, within Airflow's UI.

    Parameters
    ----------
    path : str
        From the root of the pages, quoted.
    """
    from airflow.sdk.configuration import conf

    # Without the host: the UI may be known by other names than the one that is configured.
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    return f"{base}{_IN_UI}{path}"


def manifest_of(operator: Any) -> str:
    """URI of the manifest that a task was given; empty if it was given none."""
    given = getattr(operator, "manifest", None) or next(iter(getattr(operator, "op_args", ())), "")
    return given if isinstance(given, str) else ""


def server(variable: str) -> str:
    """Address of a page that an environment variable names; empty if it names none."""
    url = os.environ.get(variable, "").rstrip("/")
    return url if url.startswith(("http://", "https://")) else ""


class BatchLink(BaseOperatorLink):
    """What became of the frames of the task's batch."""

    name = "Kira: this batch"
    xcom_key = "_link_kira_batch"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Address of the page."""
        batch = manifest_of(operator).rpartition("/")[0].rpartition("/")[2]
        return pages_url(f"/batches/{quote(batch, safe='')}?run={quote(ti_key.run_id, safe='')}") if batch else ""


class RunLink(BaseOperatorLink):
    """The report of the DAG run."""

    name = "Kira: this run"
    xcom_key = "_link_kira_run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Address of the page."""
        return pages_url(f"/from/run?dag={quote(ti_key.dag_id, safe='')}&run={quote(ti_key.run_id, safe='')}")


class SparkLink(BaseOperatorLink):
    """Spark's master or history server, where there is one."""

    name = "Spark"
    xcom_key = "_link_kira_spark"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Address of its page."""
        return server("KIRA_SPARK_PAGE") or server("KIRA_SPARK_UI")


class HdfsLink(BaseOperatorLink):
    """The folder with the batch's manifests, in the NameNode's browser of files.

    A NameNode from Hadoop's Maven artifacts, as that of the local stack, has no such page: its `KIRA_HDFS_PAGE` ends in
    /webhdfs/v1, and the link leads to that API's list of the folder.
    """

    name = "HDFS"
    xcom_key = "_link_kira_hdfs"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Address of the page."""
        parts, page = urlsplit(manifest_of(operator)), server("KIRA_HDFS_PAGE") or server("KIRA_HDFS_UI")
        if not page or parts.scheme != "hdfs":
            return ""
        folder = quote(parts.path.rpartition("/")[0])
        return f"{page}{folder}?op=LISTSTATUS" if page.endswith("/webhdfs/v1") else f"{page}/explorer.html#{folder}"


OF_BATCH = (BatchLink(), HdfsLink())
OF_EXTRACT = (BatchLink(), SparkLink(), HdfsLink())
OF_RUN = (RunLink(),)
