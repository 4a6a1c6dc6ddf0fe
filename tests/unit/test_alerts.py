"""Alerts about runs: what they say, that they come to those who are named, and that their failure harms nothing."""

import json
import logging
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from kira import alerts
from kira.airflow_glue import alerting
from kira.airflow_glue.notifier import RunNotifier
from kira.alerts import Alert, Target, of_run, send, sending, targets_of
from kira.errors import InvalidInput
from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.sdss import FrameId

FRAMES = [FrameId.parse(f"dr12-301-000094-1-0012-{band}") for band in "ugriz"]
RUN = "scheduled__2026-11-22T00:00:00+00:00"
HOSTILE = "{{ 7 * 7 }} <!channel> <http://evil.example|here> & </pre><script>"
SECRET = "T0P/s3cret-token"  # noqa: S105 - stands for one
ALERT = Alert(True, "sdss_ingest", RUN, "Kira: failed", ("One.", HOSTILE), (("In Airflow", "http://a/dags/x"),))


class Hook(ThreadingHTTPServer):
    """A webhook that answers with the next of its statuses, the last one for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        self.statuses, self.bodies = [200], list[dict[str, Any]]()
        super().__init__(("127.0.0.1", 0), _HookHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{SECRET}"


class _HookHandler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


class MailServer(socketserver.ThreadingTCPServer):
    """As much of SMTP as it takes to be given a message."""

    daemon_threads = True

    def __init__(self) -> None:
        self.taken, self.refusals = list[tuple[list[str], Message]](), 0
        super().__init__(("127.0.0.1", 0), _MailHandler)


class _MailHandler(socketserver.StreamRequestHandler):
    server: MailServer

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def handle(self) -> None:
        to: list[str] = []
        self.say("220 here")
        while line := self.rfile.readline().decode().strip():
            word = line.upper().split()[0]
            if word == "DATA":
                self.say("354 go on")
                lines = list(iter(self.rfile.readline, b".\r\n"))
                self.server.taken.append((to, message_from_bytes(b"".join(lines))))
            if word == "MAIL" and self.server.refusals:
                self.server.refusals -= 1
                self.say("451 later")
                continue
            if word == "RCPT":
                to.append(line.partition("<")[2].rstrip(">"))
            self.say("221 bye" if word == "QUIT" else "250 ok")


def running(server: Any) -> Iterator[Any]:
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    yield from running(Hook())


@pytest.fixture
def mail_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    server = MailServer()
    connection = {
        "conn_type": "smtp", "host": "127.0.0.1", "port": server.server_address[1],
        "extra": {"disable_ssl": True, "disable_tls": True, "from_email": "kira@example.org", "timeout": 30},
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    yield from running(server)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other without a wait."""
    for name in ("FIRST_WAIT", "LONGEST_WAIT"):
        monkeypatch.setattr(sending, name, 0.0)
    for name in ("KIRA_ALERTS", "KIRA_ALERT_FRAMES", "KIRA_LEDGER_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setenv("KIRA_LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")
    made = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    context = Context("b-1", "shared", "dr12", "survey-1", RUN, log="http://a/dags/sdss_ingest/runs/x/tasks/y")
    made.record(context, Stage.PLAN, [Record(f, Outcome.OK) for f in FRAMES])
    bad = [Record(f, Outcome.CORRUPT_UPSTREAM, f"It is cut short: {HOSTILE}.") for f in FRAMES[:2]]
    made.record(context, Stage.MIRROR, [*bad, *(Record(f, Outcome.OK) for f in FRAMES[2:])])
    with pytest.raises(InvalidInput), made.attempt(context, Stage.STAGE, 3):
        raise InvalidInput("The store's URL is nonsense.")
    yield made
    made.engine.dispose()


def context(**more: Any) -> dict[str, Any]:
    return {"dag": DAG("sdss_ingest", schedule=None), "run_id": RUN, "reason": "task_failure"} | more


# -- what is said


def test_it_says_the_sentences_of_the_report(ledger: Ledger) -> None:
    text = of_run(ledger, "sdss_ingest", RUN, failed=True, base_url="http://a/", reason="task_failure").text()
    assert f"The DAG run {RUN} of sdss_ingest failed (Airflow says task_failure)." in text
    assert "Frames: 2 corrupt upstream, 3 unfinished." in text
    assert "3 frames stopped on the way without an outcome that says why, the first dr12-301-000094-1-0012-r" in text
    assert "The last failure: stage of batch b-1: InvalidInput: The store's URL is nonsense." in text
    assert "2 corrupt upstream in mirror, the first dr12-301-000094-1-0012-u: It is cut short" in text
    assert f"What to do: {Outcome.CORRUPT_UPSTREAM.advice}." in text
    assert "In Airflow: http://a/dags/sdss_ingest/runs/scheduled__2026-11-22T00%3A00%3A00%2B00%3A00" in text
    assert "Log of the last failure: http://a/dags/sdss_ingest/runs/x/tasks/y" in text


def test_a_run_without_frames_points_to_its_plan(ledger: Ledger) -> None:
    made = of_run(ledger, "sdss_ingest", "another", failed=True, base_url="http://a")
    assert "its plan failed" in made.text()
    assert made.left == 0
    assert "ledger cannot be had" in of_run(None, "sdss_ingest", RUN, failed=True, base_url="").text()


def test_what_counts_as_left_behind() -> None:
    frames = {"published": 90, "not_in_archive": 3, "withdrawn": 1, "same_bytes": 2, "unfinished": 4, "bad_frame": 5}
    assert alerts.message.left(frames) == 9


# -- to whom


def test_targets_are_understood() -> None:
    found, wrong = targets_of(
        f"https://h.example/{SECRET}\n slack:https://chat.example/x https://hooks.slack.com/a mailto:a@b.org,c@d.org "
        "mailto:e@f.org?connection=smtp_other"
    )
    assert not wrong
    assert [one.kind for one in found] == ["webhook", "slack", "slack", "mail", "mail"]
    assert (found[3].to, found[4].connection) == (("a@b.org", "c@d.org"), "smtp_other")
    assert targets_of('["https://h.example/a"]')[0] == [Target("webhook", "https://h.example/a")]
    assert targets_of("  ") == ([], [])
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    "text",
    ["nonsense", "ftp://h/x", "https://", "mailto:nobody", "mailto:a@b.org?connection=../x", "[1]", "[", "http://[::1/x",
     "mailto:a@b.org%0d%0aBcc:c@d.org", "slack:mailto:a@b.org"],
)  # fmt: skip
def test_what_is_not_understood_is_said_without_its_text(text: str) -> None:
    found, wrong = targets_of(f"https://h.example/a {text}" if not text.startswith("[") else text)
    assert len(wrong) == 1
    assert "is not understood" in wrong[0]
    assert len(found) == (0 if text.startswith("[") else 1)


# -- that it comes


def test_a_webhook_is_sent_all_of_it(hook: Hook) -> None:
    assert send(ALERT, [Target("webhook", hook.url)], no_mail) == 1
    (body,) = hook.bodies
    assert (body["severity"], body["dag"], body["run"]) == ("error", "sdss_ingest", RUN)
    assert HOSTILE in body["text"]


def test_slack_gets_no_markup_from_frames(hook: Hook) -> None:
    assert send(ALERT, [Target("slack", hook.url)], no_mail) == 1
    text = hook.bodies[0]["text"]
    assert "<!channel>" not in text
    assert "<http://evil" not in text
    assert "<http://a/dags/x|In Airflow>" in text


def no_mail(*_: Any) -> None:
    raise AssertionError("no mail was asked for")


def test_what_may_pass_is_tried_again(hook: Hook) -> None:
    hook.statuses = [503, 429, 200]
    assert send(ALERT, [Target("webhook", hook.url)], no_mail) == 1
    assert len(hook.bodies) == 3


@pytest.mark.parametrize(("statuses", "tries"), [([404], 1), ([302], 1), ([500], sending.TRIES)])
def test_what_is_refused_is_logged_without_its_address(
    hook: Hook, caplog: pytest.LogCaptureFixture, statuses: list[int], tries: int
) -> None:
    hook.statuses = statuses
    caplog.set_level(logging.DEBUG)
    other = Hook()
    other.server_close()  # nobody listens there any more
    assert send(ALERT, [Target("webhook", hook.url), Target("slack", other.url)], no_mail) == 0
    assert len(hook.bodies) == tries
    assert f"webhook at 127.0.0.1: it answers with HTTP status {statuses[0]}." in caplog.text
    assert "slack at 127.0.0.1: it does not answer (ConnectError)." in caplog.text
    assert "s3cret" not in caplog.text


def test_one_that_fails_does_not_keep_the_others_from_it(hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    targets = [Target("mail", to=("a@b.org",)), Target("webhook", hook.url)]
    assert send(ALERT, targets, broken) == 1
    assert "No alert was sent by mail to a@b.org: ZeroDivisionError" in caplog.text


def test_mail_goes_through_airflows_connection(mail_server: MailServer) -> None:
    mail_server.refusals = 1
    assert send(ALERT, [Target("mail", to=("a@b.org", "c@d.org"))], alerting.mail) == 1
    to, message = mail_server.taken[-1]
    assert to == ["a@b.org", "c@d.org"]
    assert str(make_header(decode_header(message["Subject"]))) == "Kira: failed"
    (part,) = [one for one in message.walk() if one.get_content_type() == "text/html"]
    body = part.get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert "{{ 7 * 7 }}" in body, "no template"
    assert "&lt;script&gt;" in body
    assert "<script>" not in body


# -- from Airflow's callback


def test_a_failed_run_is_told_of_once_to_each(hook: Hook, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIRA_ALERTS", f"{hook.url} nonsense")
    RunNotifier(failed=True)(context())
    (body,) = hook.bodies
    assert body["frames"] == {"corrupt_upstream": 2, "unfinished": 3}
    assert body["subject"].startswith("Kira: sdss_ingest failed: 5 frames left behind")


def test_who_is_told_may_be_an_airflow_variable(hook: Hook, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_KIRA_ALERTS", json.dumps([hook.url]))
    assert alerting.alert(context(), failed=True) == 1
    monkeypatch.delenv("AIRFLOW_VAR_KIRA_ALERTS")
    assert alerting.alert(context(), failed=True) == 0


@pytest.mark.parametrize(("least", "told"), [("", 0), ("0", 0), ("6", 0), ("5", 1), ("1", 1)])
def test_a_run_that_ended_well_is_told_of_from_a_threshold_on(
    hook: Hook, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, least: str, told: int
) -> None:
    monkeypatch.setenv("KIRA_ALERTS", hook.url)
    monkeypatch.setenv("KIRA_ALERT_FRAMES", least)
    assert alerting.alert(context(reason="success"), failed=False) == told
    assert [body["severity"] for body in hook.bodies] == ["warning"] * told
    assert all("ended well, but left 5 frames behind" in body["text"] for body in hook.bodies)


def test_without_a_ledger_there_is_word_all_the_same(
    hook: Hook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KIRA_ALERTS", hook.url)
    monkeypatch.setenv("KIRA_LEDGER_URL", "postgresql+psycopg://kira:s3cret@127.0.0.1:9/kira")
    assert alerting.alert(context(), failed=True) == 1
    assert "The ledger cannot be had" in hook.bodies[0]["text"]
    assert "s3cret" not in caplog.text


def test_a_notifier_never_raises(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Airflow calls it: nothing of an alert may end the process that it is made in."""
    monkeypatch.setenv("KIRA_ALERTS", "https://h.example/a")
    monkeypatch.setenv("KIRA_ALERT_FRAMES", "many")
    RunNotifier(failed=False)(context())
    monkeypatch.setenv("KIRA_ALERTS", "https://h.example/a")
    with pytest.raises(InvalidInput, match="KIRA_ALERT_FRAMES=many"):
        alerting.alert(context(), failed=False)
