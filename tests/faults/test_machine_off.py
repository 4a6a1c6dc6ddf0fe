"""The machine is switched off at random moments of an ingestion: every process SIGKILLed at once, then `make run`."""

import os
import random
import time
from functools import cache

import pytest
from machine import Machine

pytestmark = [pytest.mark.faults, pytest.mark.ci]

MOMENTS = int(os.environ.get("KIRA_FAULT_MOMENTS", "20"))
SEED = int(os.environ.get("KIRA_FAULT_SEED", random.SystemRandom().randrange(10**6)))
_usual: list[float] = []


@cache
def moments() -> list[float]:
    """Parts of an ingestion, from 0 (triggered) to 1 (its usual end), one from each of as many equal spans."""
    rng = random.Random(SEED)
    parts = [(number + rng.random()) / MOMENTS for number in range(MOMENTS)]
    rng.shuffle(parts)
    return parts


def usual(machine: Machine) -> float:
    """Seconds that an ingestion takes at which nothing is broken."""
    if not _usual:
        source = machine.archive("usual")
        began = time.monotonic()
        run = machine.trigger(source)
        machine.wait()
        assert machine.state(run) == "success"
        _usual.append(time.monotonic() - began)
        machine.check(source)
    return _usual[0]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", range(MOMENTS))
def test_switched_off_at_a_random_moment(number: int, machine: Machine) -> None:
    part = moments()[number]
    seconds = part * usual(machine)
    print(f"KIRA_FAULT_SEED={SEED} moment {number}: {part:.3f} of an ingestion of {usual(machine):.0f} s")
    source = machine.archive(f"off-{number}")
    run = machine.trigger(source)
    time.sleep(seconds)
    state, tasks = machine.state(run), machine.running_task(run)
    print(f"switched off after {seconds:.1f} s: the run is {state}, at work: {sorted(tasks)}")
    assert machine.switch_off() >= 10
    assert machine.listening() == set()
    began = time.monotonic()
    said = machine.run(source)
    again = time.monotonic() - began
    # It ends when all that it was asked for is there, be it by a run that was interrupted and taken up again.
    machine.check(source)
    assert "nothing published" not in said
    waited = machine.wait()
    print(f"make run took {again:.0f} s, all DAG runs had ended {waited:.0f} s later")
    machine.check(source)


def test_nothing_happens_to_them_afterwards(machine: Machine) -> None:
    """What the interrupted DAG runs did when Airflow took them up again has changed nothing."""
    machine.wait()
    home = machine.stack.config.home
    folders = sorted((home.parent / f"archives-{home.name}").glob("off-*"))
    assert len(folders) == MOMENTS
    for folder in folders:
        from kira.cli.archives import find_source

        machine.check(find_source(str(folder), folder, machine.stack))
