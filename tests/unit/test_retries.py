"""What becomes of a task that failed, by the cause: the policy that Airflow asks."""

import json
from datetime import timedelta

import httpx
import pytest
import sqlalchemy.exc
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout
from botocore.exceptions import ClientError, EndpointConnectionError

from kira import errors
from kira.airflow_glue.retries import POLICY, RETRIES, first_wait
from kira.stages.summary import RunIncomplete
from kira.stages.work import TryAgain

FAIL, RETRY = RetryAction.FAIL, RetryAction.RETRY
REFUSED = ClientError({"Error": {"Code": "SlowDown"}}, "PutObject")


def driver_failed(cause: Exception | None) -> errors.SparkDriverFailed:
    error = errors.SparkDriverFailed("The driver ended with an error.")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("exception", "action"),
    [
        (errors.InvalidInput("x"), FAIL),
        (errors.NotInArchive("x"), FAIL),
        (errors.ValidationFailed("x"), FAIL),
        (errors.BatchGivenUp("x"), FAIL),
        (errors.Quarantined("x"), FAIL),
        (errors.BadFrame("x"), FAIL),
        (RunIncomplete("x"), FAIL),
        (errors.ArchiveUnavailable("x"), RETRY),
        (errors.StorageError("x"), RETRY),
        (errors.ChecksumMismatch("x"), RETRY),
        (TryAgain("x"), RETRY),
        (errors.SparkTaskFailed("x"), RETRY),
        (errors.SparkDriverKilled("x"), RETRY),
        (driver_failed(None), FAIL),
        (driver_failed(KeyError("x")), FAIL),
        (driver_failed(errors.StorageError("x")), RETRY),
        (sqlalchemy.exc.OperationalError("SELECT", {}, Exception("gone")), RETRY),
        (sqlalchemy.exc.ProgrammingError("SELECT", {}, Exception("no such table")), FAIL),
        (httpx.ConnectTimeout("x"), RETRY),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), RETRY),
        (REFUSED, RETRY),
        (ConnectionResetError("x"), RETRY),
        (OSError(28, "No space left on device"), RETRY),
        (MemoryError(), RETRY),
        (SystemExit(1), RETRY),
        (AirflowTaskTimeout("x"), RETRY),
        (AirflowException("x"), FAIL),
        (KeyError("x"), FAIL),
        (AssertionError(), FAIL),
        (TypeError("x"), FAIL),
        (ZeroDivisionError("x"), FAIL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_the_cause_decides(exception: BaseException, action: RetryAction) -> None:
    decision = POLICY.evaluate(exception, try_number=1, max_tries=RETRIES)
    assert decision.action is action
    assert decision.reason
    assert decision.reason.endswith(".")


def test_every_kind_of_error_has_a_rule() -> None:
    """None of Kira's own is taken for a bug."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert len(kinds) > 15
    for kind in kinds:
        assert "bug" not in (POLICY.evaluate(kind("x"), 1, RETRIES).reason or ""), kind


def test_waits_grow_and_differ() -> None:
    waits = [[_wait(errors.StorageError("x"), number) for _ in range(50)] for number in range(1, 12)]
    for number, drawn in enumerate(waits, 1):
        longest = min(timedelta(seconds=10) * 2 ** (number - 1), timedelta(minutes=10))
        assert all(longest / 2 <= wait <= longest for wait in drawn)
        assert len(set(drawn)) > 40, "tasks that failed together would come back together"


def test_what_was_killed_comes_back_soon_and_then_with_patience() -> None:
    killed = errors.SparkDriverKilled("x")
    assert _wait(killed, 1) == timedelta(seconds=2)
    assert timedelta(seconds=5) <= _wait(killed, 2) <= timedelta(seconds=10)
    assert timedelta(seconds=20) <= _wait(killed, 4) <= timedelta(seconds=40)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0.5", 0.5), ("60", 60), ("1e9", 600), ("soon", 10), ("-1", 10), ("0", 10), ("nan", 10)]
)
def test_the_first_wait_can_be_set(monkeypatch: pytest.MonkeyPatch, text: str, seconds: float) -> None:
    monkeypatch.setenv("KIRA_RETRY_SECONDS", text)
    assert first_wait() == timedelta(seconds=seconds)


def test_the_policy_can_be_told_to_people() -> None:
    told = json.loads(json.dumps(POLICY.serialize()))
    assert told["default"] == "fail"
    assert all(rule["reason"] for rule in told["rules"])


def _wait(exception: Exception, number: int) -> timedelta:
    delay = POLICY.evaluate(exception, number, RETRIES).retry_delay
    assert delay is not None
    return delay
