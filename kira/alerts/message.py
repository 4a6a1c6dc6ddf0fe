"""What an alert says: the sentences of the run's report."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from kira.ledger import Ledger, Outcome
from kira.stages.summary import not_whole, what_became

MOST_CAUSES = 5
"""Causes that are told of with a frame each; the rest is counted."""
_NOT_FAILED = {"published", "unfinished", str(Outcome.NOT_IN_ARCHIVE), str(Outcome.WITHDRAWN), str(Outcome.SAME_BYTES)}


@dataclass(frozen=True)
class Alert:
    """An alert.

    Parameters
    ----------
    failed : bool
        Whether the DAG run failed; else it ended well, and left frames behind.
    dag, run : str
        Ids of Airflow.
    subject : str
    lines : tuple of str
        Sentences.
    links : tuple of (str, str)
        Names and addresses.
    frames : dict of str to int
        By what became of them.
    """

    failed: bool
    dag: str
    run: str
    subject: str
    lines: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    frames: dict[str, int] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Frames that failed, could not be had, or stopped on their way."""
        return left(self.frames)

    def text(self) -> str:
        """All of it, as plain text."""
        return "\n".join([*self.lines, "", *(f"{name}: {url}" for name, url in self.links)])

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON takes it; a webhook is sent this."""
        return {
            "source": "kira", "severity": "error" if self.failed else "warning", "dag": self.dag, "run": self.run,
            "subject": self.subject, "text": self.text(), "frames": self.frames, "left": self.left,
            "links": dict(self.links),
        }  # fmt: skip


def left(frames: dict[str, int]) -> int:
    """Frames of a run that failed, could not be had, or stopped on their way; what the archive never had is none."""
    return sum(n for name, n in frames.items() if name not in _NOT_FAILED) + frames.get("unfinished", 0)


def of_run(ledger: Ledger | None, dag: str, run: str, *, failed: bool, base_url: str, reason: str = "") -> Alert:
    """Alert about the end of a DAG run.

    Parameters
    ----------
    ledger : Ledger or None
        None where it cannot be had: then no more is said than what Airflow knows.
    dag, run : str
    failed : bool
    base_url : str
        Of Airflow's UI, for links.
    reason : str
        Airflow's word for why the run failed.
    """
    became = _became(ledger, run)
    frames: dict[str, int] = became["frames"]
    counts = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in frames.items())
    behind = left(frames)
    how = "failed" if failed else f"ended well, but left {behind:,} frames behind"
    lines = [f"The DAG run {run} of {dag} {how}{f' (Airflow says {reason})' if failed and reason else ''}."]
    if ledger is None:
        lines.append("The ledger cannot be had where alerts are made, so that no more is known here.")
    elif not frames:
        lines.append("It has no frames: its plan failed, or never ended. See why its first task failed.")
    else:
        lines += [f"Frames: {counts}.", *filter(None, [not_whole(ledger, became)]), *_causes(became)]
    about = f"{behind:,} frames left behind" if frames else "no frames planned"
    base, quoted = base_url.rstrip("/"), quote(run, safe="")
    links = [
        ("In Airflow", f"{base}/dags/{quote(dag, safe='')}/runs/{quoted}"),
        ("Report", f"{base}/plugin/kira/kira/from/run?dag={quote(dag, safe='')}&run={quoted}"),
    ]
    logs = [row.log for row in (ledger.attempts(run) if ledger else ()) if row.error and row.log]
    if logs:
        links.append(("Log of the last failure", logs[-1]))
    subject = f"Kira: {dag} {'failed' if failed else 'left frames behind'}: {about} ({run})"
    return Alert(failed, dag, run, subject, tuple(lines), tuple(links), frames)


def _became(ledger: Ledger | None, run: str) -> dict[str, Any]:
    if ledger is None:
        return {"frames": {}, "problems": [], "stuck": []}
    return what_became(ledger, run, ledger.figures(run))


def _causes(became: dict[str, Any]) -> list[str]:
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for one in became["problems"]:
        if one["outcome"] not in _NOT_FAILED:
            groups.setdefault((one["stage"], one["outcome"]), []).append(one)
    by_size = sorted(groups.items(), key=lambda item: -len(item[1]))
    lines = [
        f"{len(rows):,} {outcome.replace('_', ' ')} in {stage}, the first {rows[0]['frame']}: "
        f"{rows[0]['reason'].rstrip('.') or 'no reason is recorded'}. What to do: {rows[0]['advice']}."
        for (stage, outcome), rows in by_size[:MOST_CAUSES]
    ]
    if len(by_size) > MOST_CAUSES:
        lines.append(f"… and {len(by_size) - MOST_CAUSES} more causes, in the report.")
    return lines
