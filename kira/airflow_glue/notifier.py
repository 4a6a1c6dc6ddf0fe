"""Airflow's notifier of the ends of Kira's DAG runs: once a run, not once a task.

Light, because DAG files import it. Airflow calls it in its dag-processor when a run has ended.
"""

from typing import Any

from airflow.sdk import BaseNotifier


class RunNotifier(BaseNotifier):
    """Tells those whom `KIRA_ALERTS` names of a run's end; see `kira.airflow_glue.alerting`.

    Parameters
    ----------
    failed : bool
        Whether it is for runs that failed, or for those that ended well.
    """

    def __init__(self, *, failed: bool) -> None:
        super().__init__()
        self.failed = failed

    def notify(self, context: Any) -> None:
        """Send what there is to say; what goes wrong with it is logged."""
        try:
            from kira.airflow_glue.alerting import alert

            alert(context, failed=self.failed)
        except Exception:  # an alert must not end what it is about
            self.log.exception("No alert was made of the end of a run")
