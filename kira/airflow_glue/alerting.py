"""Alerts about DAG runs: who is told (`KIRA_ALERTS`), of what, and how Airflow sends mail.

Runs in Airflow's dag-processor, which needs the environment of the tasks for it.
"""

import html
import logging
import os
from typing import Any

from airflow.sdk import Variable
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowRuntimeError
from sqlalchemy.exc import SQLAlchemyError

from kira.alerts import of_run, send, targets_of
from kira.alerts.message import left
from kira.errors import InvalidInput, KiraError
from kira.ledger import Ledger
from kira.stages.summary import frames_by_outcome

log = logging.getLogger(__name__)

SETTING, VARIABLE = "KIRA_ALERTS", "kira_alerts"
LEAST = "KIRA_ALERT_FRAMES"


def alert(context: Any, *, failed: bool) -> int:
    """Tell those who are to be told of a run's end.

    Parameters
    ----------
    context : dict
        What Airflow gives to a callback of a DAG.
    failed : bool
        Whether the run failed. One that ended well is told of if it left at least `KIRA_ALERT_FRAMES` frames behind.

    Returns
    -------
    int
        How many took it.
    """
    logging.getLogger("kira").setLevel(logging.INFO)
    targets, wrong = targets_of(_setting())
    for sentence in wrong:
        log.error("%s", sentence)
    run = str(context["run_id"]) if "run_id" in context else str(context["dag_run"].run_id)
    if not targets:
        log.info("Nobody is told of the run %s: %s names nobody", run, SETTING)
        return 0
    ledger = _ledger()
    if not failed:
        least = least_frames()
        behind = left(_frames(ledger, run)) if ledger and least else 0
        if not least or behind < least:
            return 0
    made = of_run(
        ledger, str(context["dag"].dag_id), run, failed=failed, reason=str(context.get("reason") or ""),
        base_url=conf.get("api", "base_url", fallback="") or "http://localhost:8080",
    )  # fmt: skip
    return send(made, targets, mail)


def _frames(ledger: Ledger, run: str) -> dict[str, int]:
    return frames_by_outcome(ledger.figures(run), ledger.stuck(run, 0)[0])


def _setting() -> str:
    text = os.environ.get(SETTING, "")
    if text.strip():
        return text
    try:
        return str(Variable.get(VARIABLE, default="") or "")
    except AirflowRuntimeError:
        log.exception("The Airflow Variable %s cannot be read", VARIABLE)
        return ""


def _ledger() -> Ledger | None:
    """The ledger; None where it cannot be had: an alert that says little is better than none."""
    url = os.environ.get("KIRA_LEDGER_URL", "")
    try:
        return Ledger(url) if url else None
    except (KiraError, SQLAlchemyError) as error:
        # Its text may hold the password of the database.
        log.error("The ledger cannot be had: %s", type(error).__name__)
        return None


def least_frames() -> int:
    """Frames left behind by a run that ended well from which on it is told of; 0: never."""
    text = os.environ.get(LEAST, "") or "0"
    if not text.isdecimal():
        raise InvalidInput(f"{LEAST}={text} is not a number of frames.")
    return int(text)


def mail(connection: str, to: tuple[str, ...], subject: str, text: str) -> None:
    """Send an e-mail by an SMTP connection of Airflow.

    By the hook, not by `SmtpNotifier`: that takes its texts for Jinja templates, and reasons quote what files hold.
    """
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    with SmtpHook(smtp_conn_id=connection) as hook:
        hook.send_email_smtp(to=list(to), subject=subject, html_content=f"<pre>{html.escape(text)}</pre>")
