"""Kira's monitoring pages as a plugin of Airflow: in its api-server, behind its login, in its navigation.

Thin, because all of Airflow's processes import it, each task's too: the pages themselves are made where the api-server
asks for them.
"""

from functools import cached_property
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/kira"


class KiraPages(AirflowPlugin):
    """Kira's pages in Airflow's UI."""

    name = "kira"
    external_views: ClassVar[list[Any]] = [
        {"name": "Kira", "href": f"{PREFIX}/", "url_route": "kira", "destination": "nav", "nav_top_level": True},
    ]

    @cached_property
    def fastapi_apps(self) -> list[Any]:
        """The pages' application; the api-server alone asks for it."""
        from kira.airflow_glue.pages import pages

        return [{"name": "Kira", "url_prefix": PREFIX, "app": pages()}]
