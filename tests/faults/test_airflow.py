"""Airflow's own processes, and the processes of its tasks, are killed in the middle of an ingestion."""

import os
import signal
import time

import psutil
import pytest
from harness import until
from machine import Machine

from kira.cli.archives import Source

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1500)]

STAGES = ("mirror", "stage", "extract", "validate", "publish")


def at_stage(machine: Machine, source: Source, stage: str) -> str:
    """Trigger an ingestion in one batch, and wait until it is at work on a stage; its id."""
    run = machine.trigger(source, batch_size=4)
    end = time.monotonic() + 400
    while f"batch.{stage}" not in machine.running_task(run):
        assert machine.state(run) in ("queued", "running"), f"the run ended before its stage {stage} was seen"
        assert time.monotonic() < end, f"stage {stage} did not begin"
        time.sleep(0.1)
    return run


def task_processes(machine: Machine) -> list[psutil.Process]:
    """The processes in which tasks run: children of those that watch over them, which are the scheduler's."""
    pid = (machine.stack.supervisor.processes() or {})["airflow-scheduler"]["pid"]
    scheduler = psutil.Process(pid)
    watching = {child.pid for child in scheduler.children()}
    return [p for p in scheduler.children(recursive=True) if p.ppid() in watching]


@pytest.mark.parametrize("server", ["scheduler", "dag-processor", "triggerer", "api-server"])
def test_a_server_of_airflow_is_killed(server: str, machine: Machine) -> None:
    """Its supervisor starts it again; the DAG run comes to its end, or `make run` again brings it there."""
    source = machine.archive(f"server-{server}")
    run = at_stage(machine, source, "mirror")
    name = f"airflow-{server}"
    pid = (machine.stack.supervisor.processes() or {})[name]["pid"]
    os.kill(pid, signal.SIGKILL)

    def again() -> bool:
        process = (machine.stack.supervisor.processes() or {})[name]
        return process["statename"] == "RUNNING" and process["pid"] != pid

    until(again, 60, f"{name} to be started again")
    machine.stack.up()
    waited = machine.wait(1200)
    print(f"{name} was killed; all had ended {waited:.0f} s later, the run is {machine.state(run)}")
    if machine.state(run) != "success":
        machine.run(source)
    machine.check(source)


@pytest.mark.parametrize("stage", STAGES)
def test_a_task_is_killed(stage: str, machine: Machine) -> None:
    """The process that does a stage's work: whoever watches over it tells Airflow, and it is tried again."""
    source = machine.archive(f"task-{stage}")
    run = at_stage(machine, source, stage)
    processes = task_processes(machine)
    assert processes
    for process in processes:
        process.kill()
    waited = machine.wait(1200)
    print(f"the task of stage {stage} was killed; the run had ended {waited:.0f} s later")
    assert machine.state(run) == "success"
    assert machine.tries(run, f"batch.{stage}") == 2
    machine.check(source)


def test_a_task_is_killed_with_its_watcher(machine: Machine) -> None:
    """Nobody tells Airflow: it notices that the task has given no sign of life."""
    source = machine.archive("watcher")
    run = at_stage(machine, source, "extract")
    pid = (machine.stack.supervisor.processes() or {})["airflow-scheduler"]["pid"]
    tasks = task_processes(machine)
    watchers = {process.ppid() for process in tasks}
    assert pid not in watchers
    for watcher in watchers:
        os.kill(watcher, signal.SIGKILL)
    for process in tasks:
        if process.is_running():
            process.kill()
    waited = machine.wait(1200)
    print(f"task and watcher were killed; all had ended {waited:.0f} s later, the run is {machine.state(run)}")
    assert machine.state(run) == "success"
    machine.check(source)
