"""The ledger's database dies in the middle of recording."""

from collections.abc import Iterator

import pytest
from archive_proxy import Proxy
from conftest import Moment, Undisturbed
from harness import Driver, Reader, whole
from pipeline import Pipeline
from postgres import Postgres

pytestmark = pytest.mark.faults


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def ledger_url(postgres: Postgres) -> str:
    return postgres.url


@pytest.mark.ci
def test_restarted_in_the_middle_of_a_stage(
    postgres: Postgres, proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader
) -> None:
    """Between the record that a stage began and its outcomes: connections are made anew, and nothing is lost."""
    proxy.once(r"fpC-009001-r3-0011", lambda: postgres.restart(1.0))
    driver.until_done()
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


@pytest.mark.parametrize(
    ("doing", "path"),
    [("rename", "/aside/"), ("read", "/frames/"), pytest.param("rename", "/extracted", marks=pytest.mark.ci)],
    ids=["stage", "extract", "publish"],
)  # fmt: skip
def test_away_until_the_third_try(
    doing: str, path: str, postgres: Postgres, moments: list[Moment], driver: Driver, pipeline: Pipeline,
    undisturbed: Undisturbed, reader: Reader, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """At publishing that is while the claims are held, just before the rename that a reader sees."""
    tries = iter(range(100))

    def between() -> None:
        if next(tries) == 1:
            postgres.start()

    driver.between = between
    moments.append(Moment(doing, path, 1, postgres.kill))
    driver.until_done()
    assert moments[0].done
    assert len(driver.told) >= 2
    first_lines = [sentence.splitlines()[0] for sentence in driver.told]
    assert all("ledger" in line.lower() for line in first_lines), first_lines
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)
