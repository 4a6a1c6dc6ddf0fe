"""To whom alerts go: webhooks, Slack, e-mail. What cannot be sent is logged, and stops nothing.

Addresses of webhooks are secrets: no text here holds more of one than its host.
"""

import json
import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from kira import __version__
from kira.alerts.message import Alert
from kira.errors import InvalidInput, KiraError
from kira.sdss.quoting import one_line

log = logging.getLogger(__name__)

TRIES = 3
SECONDS = 5.0
"""For one try. All tries together have to be done within the 50 s that Airflow gives to a callback."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 5.0
_MAIL = re.compile(r"[^\s@,<>\"]+@[^\s@,<>\"]+", re.ASCII)
_CONNECTION = re.compile(r"\w[\w.-]{0,200}", re.ASCII)
_AGAIN = {408, 425, 429, 500, 502, 503, 504}

Mail = Callable[[str, tuple[str, ...], str, str], None]
"""Sends an e-mail: Airflow connection of the server, recipients, subject, text."""


class NotSentError(KiraError):
    """An alert was not taken by whom it was for; the text has nothing secret."""


class _TryAgainError(NotSentError):
    """The same, and it may be taken at the next try."""


@dataclass(frozen=True)
class Target:
    """One who is to be told.

    Parameters
    ----------
    kind : {"webhook", "slack", "mail"}
    url : str
        Of the first two; secret, and so not in the text of this.
    to : tuple of str
        Recipients of mail.
    connection : str
        Airflow connection of the mail server.
    """

    kind: str
    url: str = field(default="", repr=False)
    to: tuple[str, ...] = ()
    connection: str = "smtp_default"

    @property
    def name(self) -> str:
        """For the log."""
        return (
            f"mail to {', '.join(self.to)}" if self.kind == "mail" else f"{self.kind} at {urlsplit(self.url).hostname}"
        )


def targets_of(text: str) -> tuple[list[Target], list[str]]:
    """Read the setting `KIRA_ALERTS`.

    Parameters
    ----------
    text : str
        Targets with white space between them, or a JSON list of them. `https://…` is a webhook, which is sent the
        alert as JSON; `slack:https://…` an incoming webhook of Slack, or of Mattermost; `mailto:a@b.org,c@d.org` mail
        by the Airflow connection `smtp_default`, or by that of `?connection=`.

    Returns
    -------
    list of Target
    list of str
        A sentence for each that is not understood, without its text.
    """
    found, wrong = [], []
    for number, item in enumerate(_items(text), 1):
        try:
            found.append(_target(item))
        except ValueError:
            wrong.append(
                f"Target {number} of KIRA_ALERTS is not understood: use https://…, slack:https://… or mailto:name@host."
            )
    return found, wrong


def _items(text: str) -> list[str]:
    if text.lstrip().startswith("["):
        try:
            items = json.loads(text)
        except ValueError:
            return [text]
        return [one if isinstance(one, str) else "" for one in items]
    return text.split()


def _target(item: str) -> Target:
    if item.startswith("mailto:"):
        parts = urlsplit(item)
        to = tuple(unquote(one) for one in parts.path.split(","))
        connection = parse_qs(parts.query).get("connection", ["smtp_default"])[0]
        if not (all(map(_MAIL.fullmatch, to)) and _CONNECTION.fullmatch(connection)):
            raise InvalidInput("Not an address.")
        return Target("mail", to=to, connection=connection)
    slack, url = item.startswith("slack:"), item.removeprefix("slack:")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput("Not a URL.")
    try:
        httpx.URL(url)
    except httpx.InvalidURL:
        raise InvalidInput("Not a URL.") from None
    return Target("slack" if slack or parts.hostname == "hooks.slack.com" else "webhook", url)


def send(alert: Alert, targets: Sequence[Target], mail: Mail) -> int:
    """Send an alert to all; each fails alone, and none raises.

    Parameters
    ----------
    alert : Alert
    targets : sequence of Target
    mail : callable

    Returns
    -------
    int
        How many took it.
    """
    # httpx logs addresses, and they are secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    hooks = [target for target in targets if target.kind != "mail"]
    with ThreadPoolExecutor(max(1, len(hooks))) as pool:
        posted = [pool.submit(_told, target, partial(_post, alert, target)) for target in hooks]
        # Airflow answers for connections in the thread that it started.
        mailed = [_told(one, partial(_mail, alert, one, mail)) for one in targets if one.kind == "mail"]
    return sum(mailed) + sum(one.result() for one in posted)


def _told(target: Target, how: Callable[[], None]) -> bool:
    retrying = Retrying(
        stop=stop_after_attempt(TRIES), wait=wait_exponential(FIRST_WAIT, LONGEST_WAIT, min=FIRST_WAIT),
        retry=retry_if_exception_type(_TryAgainError), reraise=True,
    )  # fmt: skip
    try:
        retrying(how)
    except NotSentError as error:
        log.error("No alert was sent by %s: %s", target.name, error)
        return False
    except Exception as error:  # noqa: BLE001 - an alert must not end what it is about; its text may hold an address
        log.error("No alert was sent by %s: a %s that nobody foresaw", target.name, type(error).__name__)
        return False
    log.info("An alert was sent by %s", target.name)
    return True


def _post(alert: Alert, target: Target) -> None:
    body = slack_of(alert) if target.kind == "slack" else alert.as_dict()
    try:
        answer = httpx.post(
            target.url, json=body, timeout=SECONDS, follow_redirects=False,
            headers={"User-Agent": f"kira/{__version__}"},
        )  # fmt: skip
    except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
        # Its text is not repeated: an address may be in it.
        raise _TryAgainError(f"it does not answer ({type(error).__name__}).") from None
    if answer.is_success:
        return
    kind = _TryAgainError if answer.status_code in _AGAIN else NotSentError
    raise kind(f"it answers with HTTP status {answer.status_code}.")


def slack_of(alert: Alert) -> dict[str, str]:
    """An alert as Slack's incoming webhooks take it.

    What a frame's reason holds must not become a link or call the whole channel: Slack knows three characters.
    """

    def plain(text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    links = " · ".join(f"<{url.replace('|', '%7C').replace('>', '%3E')}|{plain(name)}>" for name, url in alert.links)
    return {"text": "\n".join([f"*{plain(alert.subject)}*", *map(plain, alert.lines), links])}


def _mail(alert: Alert, target: Target, mail: Mail) -> None:
    try:
        mail(target.connection, target.to, one_line(alert.subject, 200), alert.text())
    except NotSentError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a mail server or its client can say; the caller tries again and logs it
        raise _TryAgainError(f"{type(error).__name__}: {one_line(str(error))}") from None
