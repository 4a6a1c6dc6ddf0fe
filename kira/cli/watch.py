"""Watching DAG runs from the command line: stage, frames done of total, rate, time left."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from kira.errors import StackError, StorageError
from kira.ledger import Ledger, Outcome, Stage
from kira.stack.airflow_server import AirflowApi
from kira.stack.config import StackConfig
from kira.stack.supervision import Supervisor
from kira.stages.extraction import PROGRESS
from kira.stages.plan import report_path
from kira.storage import Store

DAG = "sdss_ingest"
_NOTICED = {
    "changed": "changed in the archive", "withdrawn": "not in the archive any more", "lost": "lost from the mirror",
}  # fmt: skip
STAGES = (Stage.MIRROR, Stage.STAGE, Stage.EXTRACT, Stage.VALIDATE, Stage.PUBLISH)
_POLL_SECONDS = 1.5
_MOST_TROUBLES = 40
_SAY_EVERY_SECONDS = 20.0


@dataclass
class _StageState:
    done: int = 0
    began: float | None = None
    ended: float | None = None

    def update(self, done: int, total: int, *, running: bool) -> None:
        now = time.monotonic()
        if self.began is None and (running or done):
            self.began = now - (0 if running and not done else _POLL_SECONDS)
        self.done = max(done, self.done)
        if total and self.done >= total and self.ended is None:
            self.ended = now

    def words(self, total: int) -> str:
        if self.began is None:
            return ""
        if not self.done:
            return "starting"
        rate = self.done / max((self.ended or time.monotonic()) - self.began, 0.1)
        left = "" if self.done >= total else f", about {(total - self.done) / rate:.0f} s left"
        return f"{rate:.1f} frames/s{left}"


@dataclass
class Watch:
    """Progress of some DAG runs of one archive.

    Parameters
    ----------
    config, api, ledger, store
        Of the local stack.
    archive : str
    runs : dict of str to str
        DAG run ids by release.
    console : rich.console.Console
    """

    config: StackConfig
    api: AirflowApi
    ledger: Ledger
    store: Store
    archive: str
    runs: dict[str, str]
    console: Console
    _plans: dict[str, dict[str, Any]] = field(default_factory=dict)
    _states: dict[Stage, _StageState] = field(default_factory=lambda: {stage: _StageState() for stage in STAGES})
    _said: float = 0.0
    _figures: list[int] = field(default_factory=list)

    def follow(self) -> dict[str, str]:
        """Watch until all runs have ended; returns their states by release."""
        with Progress(
            TextColumn("  {task.description:<9}"), BarColumn(30), MofNCompleteColumn(),
            TextColumn("{task.fields[words]}"), TimeElapsedColumn(),
            console=self.console, disable=not self.console.is_terminal,
        ) as bars:  # fmt: skip
            tasks = {stage: bars.add_task(str(stage), total=None, words="") for stage in STAGES}
            troubles = 0
            while True:
                try:
                    states = {release: self.api.run_state(DAG, run) for release, run in self.runs.items()}
                    self._look(bars, tasks)
                    troubles = 0
                except (StackError, StorageError):
                    # A slow answer is no reason to leave; a stack that went away is.
                    troubles += 1
                    self._fail_if_stack_is_gone()
                    if troubles >= _MOST_TROUBLES:
                        raise
                else:
                    if all(state in ("success", "failed") for state in states.values()):
                        return states
                time.sleep(_POLL_SECONDS)

    def _fail_if_stack_is_gone(self) -> None:
        if self.config.contained:
            return  # what starts containers starts them again
        processes = Supervisor(self.config).processes() or {}
        gone = [name for name, info in processes.items() if info["statename"] in ("FATAL", "EXITED", "STOPPED")]
        if gone or not processes:
            raise StackError(f"The stack is not whole any more ({', '.join(gone) or 'nothing runs'}): see make status.")

    def _look(self, bars: Progress, tasks: dict[Stage, TaskID]) -> None:
        for release, run in self.runs.items():
            if release not in self._plans:
                self._read_plan(release, run)
        planned = sum(plan["planned"] for plan in self._plans.values())
        lost, done = self._done()
        running = {
            task["task_id"].rpartition(".")[2]
            for run in self.runs.values()
            for task in self.api.tasks(DAG, run)
            if task["state"] == "running"
        }
        for stage, state in self._states.items():
            total = planned - lost[stage]
            state.update(done[stage], total, running=str(stage) in running)
            bars.update(
                tasks[stage], total=total if self._plans else None, completed=state.done, words=state.words(total)
            )
        if not self.console.is_terminal and planned:
            self._say(planned, lost)

    def _say(self, planned: int, lost: dict[Stage, int]) -> None:
        parts = []
        for stage, state in self._states.items():
            total = planned - lost[stage]
            words = state.words(total)
            parts.append(f"{stage} {state.done}/{total}" + (f" ({words})" if words and state.done < total else ""))
        figures = [state.done for state in self._states.values()]
        if figures != self._figures or time.monotonic() - self._said > _SAY_EVERY_SECONDS:
            self._said, self._figures = time.monotonic(), figures
            self.console.print("  " + " · ".join(parts), soft_wrap=True, highlight=False)

    def _read_plan(self, release: str, run: str) -> None:
        try:
            self._plans[release] = json.loads(self.store.read(report_path(self.archive, run, "plan")))
        except StorageError:
            return  # not planned yet
        plan = self._plans[release]
        words = [f"{plan['found']} frames in the archive"]
        words += [f"{plan['published']} published already"] if plan["published"] else []
        words += [f"{plan['settled']} failed for good before"] if plan["settled"] else []
        words += [f"{plan['missing']} asked for but not there"] if plan["missing"] else []
        for name in ("changed", "withdrawn", "lost"):
            words += [f"{plan[name]} {_NOTICED[name]}"] if plan[name] else []
        words += [f"{plan['elsewhere']} at work in another run"] if plan["elsewhere"] else []
        words += [f"{plan['left']} left for the next run"] if plan["left"] else []
        words += (
            [f"{plan['planned']} to do in {len(plan['batches'])} batches"] if plan["planned"] else ["nothing to do"]
        )
        self.console.print(f"  {release}: {', '.join(words)}", highlight=False, soft_wrap=True)

    def _done(self) -> tuple[dict[Stage, int], dict[Stage, int]]:
        """Frames that did not reach each stage, and frames that have passed it."""
        with_outcome: dict[str, int] = dict.fromkeys(Stage, 0)
        failed: dict[str, int] = dict.fromkeys(Stage, 0)
        for stage, outcome, frames, _ in self.ledger.progress(list(self.runs.values())):
            with_outcome[stage] += frames
            if stage != Stage.PLAN:
                failed[stage] += 0 if Outcome(outcome).goes_on else frames
        lost, gone = {}, 0
        for stage in STAGES:
            lost[stage] = gone
            gone += failed[stage]
        done = {stage: with_outcome[stage] for stage in STAGES}
        done[Stage.EXTRACT] = max(done[Stage.EXTRACT], self._extracting())
        return lost, done

    def _extracting(self) -> int:
        # While the Spark job runs, the ledger does not know yet; the driver keeps a small file.
        done = 0
        for plan in self._plans.values():
            for uri in plan["batches"]:
                folder = self.store.path_of(uri).rpartition("/")[0]
                if self.store.exists(f"{folder}/{PROGRESS}"):
                    done += int(json.loads(self.store.read(f"{folder}/{PROGRESS}"))["frames"])
        return done


def last_error(config: StackConfig, run: str, task: dict[str, Any]) -> str:
    """Sentence that a failed task left in its log."""
    name = f"task_id={task['task_id']}"
    place = config.logs / "tasks" / f"dag_id={DAG}" / f"run_id={run}" / name
    if task["map_index"] >= 0:
        place /= f"map_index={task['map_index']}"
    log = place / f"attempt={task['try_number']}.log"
    errors = []
    for line in log.read_text(errors="replace").splitlines() if log.exists() else []:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event.get("level") == "error":
            details = event.get("error_detail") or [{}]
            errors.append(str(details[0].get("exc_value") or event.get("event", "")))
    return f"{errors[-1] if errors else 'no reason given'} (log: {log})"
