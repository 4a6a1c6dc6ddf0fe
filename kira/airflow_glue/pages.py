"""The monitoring pages behind Airflow's login."""

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI

from kira.pages.app import create_app
from kira.pages.data import Data

READ = requires_access_dag("GET", param_dag_id="sdss_ingest")
"""Whoever may see the ingestion in Airflow may see what became of its frames, and nobody else."""


def pages() -> FastAPI:
    """Application to be mounted in Airflow's api-server."""
    return create_app(Data(), [Depends(READ)])
