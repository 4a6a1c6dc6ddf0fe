"""Word to people when a run has failed or left frames behind: what is said (`message`), and to whom (`sending`).

Knows nothing of Airflow; how a run's end comes here is in `kira.airflow_glue.notifier`.
"""

from kira.alerts.message import Alert, of_run
from kira.alerts.sending import Target, send, targets_of

__all__ = ["Alert", "Target", "of_run", "send", "targets_of"]
