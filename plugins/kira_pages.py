"""Kira's monitoring pages as a plugin of Airflow: in its api-server, behind its login, in its navigation.

Thin, because all of Airflow's processes import it, each task's too: the pages themselves are made where the api-server
asks for them.
"""

from functools import cached_property
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/kira"


def _tab(destination: str, path: str) -> dict[str, Any]:
    """A tab "Kira" of a DAG, a run, a task or a task's instance."""
    route = f"kira-{destination.replace('_', '-')}"
    return {"name": "Kira", "href": f"{PREFIX}/from/{path}", "url_route": route, "destination": destination}


class KiraPages(AirflowPlugin):
    """Kira's pages in Airflow's UI."""

    name = "kira"
    external_views: ClassVar[list[Any]] = [
        {"name": "Kira", "href": f"{PREFIX}/", "url_route": "kira", "destination": "nav", "nav_top_level": True},
        # Tabs beside Airflow's own. The UI fills in the ids, encoded; the pages look them up.
        _tab("dag", "dag?dag={DAG_ID}"),
        _tab("dag_run", "run?dag={DAG_ID}&run={RUN_ID}"),
        _tab("task", "task?dag={DAG_ID}&task={TASK_ID}"),
        _tab("task_instance", "task-instance?dag={DAG_ID}&run={RUN_ID}&task={TASK_ID}&index={MAP_INDEX}"),
    ]

    @cached_property
    def fastapi_apps(self) -> list[Any]:
        """The pages' application; the api-server alone asks for it."""
        from kira.airflow_glue.pages import pages

        return [{"name": "Kira", "url_prefix": PREFIX, "app": pages()}]
