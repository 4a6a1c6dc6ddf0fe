"""The operator that extracts a batch: `spark-submit`, every attempt on record, every failure told in a sentence."""

import ctypes
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

from kira.airflow_glue.links import OF_EXTRACT
from kira.jobs.conf import without_those_of

# The package's folder: the Spark job is handed over as a file.
JOB = Path(__file__).resolve().parents[1] / "jobs" / "extract.py"
_PR_SET_PDEATHSIG = 1
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it


def _end_with_parent() -> None:
    # In the child, between fork and exec: nothing may be looked up here any more.
    if _PRCTL:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)


class ExtractOperator(SparkSubmitOperator):
    """`SparkSubmitOperator` for one batch.

    Parameters
    ----------
    manifest : str
        URI of the batch's manifest of the stage stage.
    **options
        Of `SparkSubmitOperator`.
    """

    template_fields: Sequence[str] = (*SparkSubmitOperator.template_fields, "manifest")
    custom_operator_name = "SparkSubmitOperator"
    operator_extra_links = OF_EXTRACT

    def __init__(self, *, manifest: str, **options: Any) -> None:
        super().__init__(application=str(JOB), application_args=["--manifest", manifest], **options)
        self.manifest = manifest

    def execute(self, context: Any) -> None:
        """Run the job; on record before it begins and after it ended."""
        from kira.airflow_glue.tasks import extracting

        with extracting(self.manifest):
            self.set_up()
            super().execute(context)

    def set_up(self) -> None:
        """Take up `KIRA_SPARK_PROPERTIES`: not before the task runs, so that a missing file is its error alone."""
        from kira.settings import Settings

        if file := Settings.from_environment().spark_properties:
            self.conf = without_those_of(Path(file), self.conf or {})
            self.properties_file = file

    def _get_hook(self) -> SparkSubmitHook:
        # spark-submit must not outlive the task: one that was killed is tried again, and a driver that it left behind
        # would work on the same batch beside the new one.
        hook = super()._get_hook()
        hook.submit = partial(hook.submit, preexec_fn=_end_with_parent)  # type: ignore[method-assign]
        return hook
