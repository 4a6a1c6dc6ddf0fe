"""The monitoring pages behind Airflow's login."""

import logging
from typing import Any

from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.connection import Connection
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.utils.session import create_session
from botocore.config import Config
from fastapi import Depends, FastAPI
from sqlalchemy import select

from kira.airflow_glue.request import ARCHIVE_CONNECTION
from kira.airflow_glue.tasks import S3_CONNECTION, archive_of
from kira.errors import InvalidInput
from kira.pages.app import create_app
from kira.pages.data import Data
from kira.pages.systems import WAIT
from kira.sdss.archive import Archive

log = logging.getLogger(__name__)
READ = requires_access_dag("GET", param_dag_id="sdss_ingest")
"""Whoever may see the ingestion in Airflow may see what became of its frames, and nobody else."""


def s3_client() -> Any:
    """A client of the mirror's S3 that is not patient: somebody looks at a page."""
    config = Config(connect_timeout=WAIT, read_timeout=WAIT, retries={"max_attempts": 0})
    return S3Hook(aws_conn_id=S3_CONNECTION, config=config).get_conn()


def archives() -> list[Archive]:
    """Archives that Airflow has a connection of, and SDSS's own where `kira_archive` is not defined."""
    query = select(Connection.conn_id).where(Connection.conn_id.startswith(f"{ARCHIVE_CONNECTION}_", autoescape=True))
    with create_session() as session:
        names = [str(name) for name in session.scalars(query.order_by(Connection.conn_id))]
    found = []
    for name in (ARCHIVE_CONNECTION, *names):
        try:
            found.append(archive_of(name))
        except InvalidInput as error:  # whoever ingests by it is told; the others are shown
            log.warning("%s", error)
    return found


def pages() -> FastAPI:
    """Application to be mounted in Airflow's api-server."""
    return create_app(Data(s3_client=s3_client, archives=archives), [Depends(READ)])
