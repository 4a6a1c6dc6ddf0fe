"""What happens to a task that failed, by the cause: tried again later, tried again soon, or failed at once.

Airflow asks the policy in the task's own process. A process that was killed cannot be asked: for that there are
Airflow's own retries, with the same count. The waits grow from `KIRA_RETRY_SECONDS` (default 10), twofold from try to
try, to ten minutes at most, and each is drawn at random from its upper half, so that tasks that failed together do not
come back together.
"""

import os
import random
from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.definitions.retry_policy import RetryDecision

RETRIES = 5
"""Tries of a stage after the first."""
_LONGEST = timedelta(minutes=10)


def first_wait() -> timedelta:
    """Before the second try."""
    text = os.environ.get("KIRA_RETRY_SECONDS") or "10"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    # Not an exception: this is asked while another one is handled, and that is the one to be told.
    return min(timedelta(seconds=seconds), _LONGEST) if 0 < seconds < float("inf") else timedelta(seconds=10)


class Cause(RetryRule):
    """A rule for exceptions by name, without importing them.

    Airflow's own would import what its names stand for when the DAG file is read: the stages, and all that they need.
    An exception that was raised has its classes with it.
    """

    def __post_init__(self) -> None:
        pass

    def matches(self, exc: BaseException) -> bool:
        """Whether the exception, or a class that it is of, has one of the names."""
        return any(_name(kind) in self._specs for kind in type(exc).__mro__)


class RetryByCause(ExceptionRetryPolicy):
    """Rules, the first that fits; a wait that grows and is drawn at random; a bug fails at once.

    A rule with a `retry_delay` is for what needs no patience: that is the first wait, and the others follow from there.
    Where a Spark driver failed, its cause decides.
    """

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Decide about a failure; see `ExceptionRetryPolicy`."""
        if _name(type(exception)) == "kira.errors.SparkDriverFailed" and exception.__cause__:
            return self.evaluate(exception.__cause__, try_number, max_tries, context)
        decision = super().evaluate(exception, try_number, max_tries, context)
        if decision.action is RetryAction.RETRY:
            soon = decision.retry_delay
            delay = wait(try_number) if soon is None else soon if try_number <= 1 else wait(try_number - 1)
            return RetryDecision.retry(delay, decision.reason)
        if decision.action is RetryAction.FAIL and decision.reason is None:
            return RetryDecision.fail(
                f"A {type(exception).__name__} that nobody foresaw is a bug, and would come again: it is not tried "
                "again. Its traceback is above."
            )
        return decision

    def serialize(self) -> dict[str, Any]:
        """The rules, for people: Airflow's scheduler knows no more of a policy than that there is one."""
        return super().serialize() | {"__type": type(self).__name__}


def wait(try_number: int) -> timedelta:
    """How long to wait after a try, which counts from 1."""
    longest = min(first_wait() * 2.0 ** min(max(try_number - 1, 0), 20), _LONGEST)
    part = random.uniform(0.5, 1)  # noqa: S311 - spreads load, hides nothing
    return timedelta(seconds=longest.total_seconds() * part)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _fail(reason: str, *exceptions: str) -> Cause:
    return Cause(list(exceptions), RetryAction.FAIL, reason=reason)


def _later(reason: str, *exceptions: str) -> Cause:
    return Cause(list(exceptions), RetryAction.RETRY, reason=reason)


POLICY = RetryByCause(
    [
        _fail("What was asked for is not of its form, and will not be at the next try.", "kira.errors.InvalidInput"),
        _fail(
            "The archive answered that it does not have this; it is looked for again by the next run.",
            "kira.errors.NotInArchive",
        ),
        _fail(
            "The batch is not fit to be published, and would not be if it were checked again.",
            "kira.errors.ValidationFailed",
        ),
        _fail("The report says what stopped frames on their way.", "kira.stages.summary.RunIncomplete"),
        _fail("The batch has used up its budget of attempts.", "kira.errors.BatchGivenUp"),
        _fail("Bytes came out wrong too often to be fetched again.", "kira.errors.Quarantined"),
        _later("The archive may answer again later.", "kira.errors.ArchiveUnavailable"),
        _later("S3, HDFS or the file system may be back later.", "kira.errors.StorageError"),
        _later("Frames failed in a way that may pass.", "kira.stages.work.TryAgain"),
        _later("Bytes were damaged on their way; they are fetched again.", "kira.errors.ChecksumMismatch"),
        _later("Spark gave up a task; it may have been the machine.", "kira.errors.SparkTaskFailed"),
        Cause(
            "kira.errors.SparkDriverKilled", RetryAction.RETRY, timedelta(seconds=2),
            "The Spark driver was killed: what killed it is hardly there still.",
        ),
        _later(
            "The ledger's database may be back later.",
            "sqlalchemy.exc.OperationalError", "sqlalchemy.exc.InterfaceError", "sqlalchemy.exc.TimeoutError",
        ),
        _later(
            "A server did not answer, or the machine was short of something.",
            "builtins.OSError", "builtins.MemoryError", "httpx.HTTPError", "botocore.exceptions.BotoCoreError",
            "botocore.exceptions.ClientError", "airflow.sdk.exceptions.AirflowRuntimeError",
            "airflow.sdk.exceptions.AirflowTaskTimeout",
        ),
        _fail("The driver of the Spark job failed, and would at the next try.", "kira.errors.SparkDriverFailed"),
        _fail("It would come out the same.", "kira.errors.KiraError"),
        Cause("builtins.SystemExit", RetryAction.RETRY, reason="The task's process was told to end."),
    ],
    default=RetryAction.FAIL,
)  # fmt: skip
"""For every task of Kira's DAGs. The cause of a failed Spark driver is told by `kira.airflow_glue.spark`."""
