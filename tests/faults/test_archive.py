"""The archive misbehaves, over real HTTP: what may pass is tried again, what is damaged is never published."""

import logging
import threading
from pathlib import Path

import pytest
from archive_proxy import Proxy, cut, flipped, half_listing, login, page, shorter, slow, status, untouched, wrong_length
from conftest import Undisturbed
from harness import Driver, Reader, reasons, whole
from pipeline import Pipeline

from kira.ledger import Outcome, Stage

pytestmark = pytest.mark.faults

FRAME = r"fpC-009001-r3-0011"
ANY = r"\.fit\.gz$"
LISTING = r"/corr/3/$"


def mended(proxy: Proxy, *patterns: str) -> None:
    for pattern in patterns or (FRAME, ANY, LISTING):
        proxy.on(pattern)


@pytest.mark.ci
def test_503_for_a_while(
    proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Longer than the client's own tries, shorter than the task's."""
    proxy.on(ANY, *[status(503)] * 6, untouched)
    assert driver.until_done() == 1
    assert len(driver.told) >= 1
    assert all("failed in stage mirror in a way that may pass" in sentence for sentence in driver.told)
    assert "no proper answer in 2 tries; at last status 503" in caplog.text
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


def test_503_for_longer_than_a_whole_run(
    proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader
) -> None:
    """One frame cannot be had in any try of the first DAG run: the others are published, it follows."""
    proxy.on(FRAME, status(503))
    assert driver.run()[0] == 2
    (reason,) = reasons(pipeline, Stage.MIRROR)
    assert "no proper answer in 2 tries; at last status 503" in reason
    mended(proxy)
    driver.until_done()
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


@pytest.mark.ci
def test_404_for_one_file(
    proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader
) -> None:
    """Listed, and not there when it is fetched: recorded at once, not tried again in this run; the next looks again."""
    proxy.on(FRAME, status(404))
    assert driver.run() == (2, True)
    assert proxy.count(FRAME) == 1
    assert driver.told == []
    rows = [row for row in pipeline.services.ledger.outcomes("manual__1", Stage.MIRROR) if row.outcome != Outcome.OK]
    assert [(row.frame, row.outcome) for row in rows] == [("dr7-40-009001-3-0011-r", Outcome.NOT_IN_ARCHIVE)]
    assert "is not in the archive (status 404)" in rows[0].reason
    mended(proxy)
    driver.until_done()
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


def test_slow(proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader) -> None:
    """Pieces that come seconds apart are waited for."""
    proxy.on(ANY, slow(1.0))
    assert driver.until_done() == 1
    assert driver.told == []
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


def test_silent(
    proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that takes the request and says nothing more is given up after the time-out, and asked again."""
    proxy.on(FRAME, slow(12.0), untouched)
    assert driver.until_done() == 1
    assert "ReadTimeout" in caplog.text
    whole(pipeline, undisturbed.digest, undisturbed.frames)


@pytest.mark.parametrize(
    "fault", [pytest.param(cut(), marks=pytest.mark.ci), cut(0.0), wrong_length(1000)],
    ids=["cut", "no-byte", "wrong-length"],
)  # fmt: skip
def test_cut_in_the_middle(
    fault: object, proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The first five answers break: the client takes the file up where it broke, or the task begins anew."""
    proxy.on(ANY, *[fault] * 5, untouched)
    assert driver.until_done() == 1
    assert "RemoteProtocolError" in caplog.text
    assert "again soon" in caplog.text
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


@pytest.mark.parametrize(
    "fault", [pytest.param(flipped, marks=pytest.mark.ci), shorter(), page],
    ids=["flipped-bit", "half-a-file", "web-page"],
)  # fmt: skip
def test_wrong_bytes_once(
    fault: object, proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed,
    reader: Reader, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Nothing on the way looks wrong but the bytes themselves: found by decompressing, fetched again at once."""
    proxy.on(FRAME, fault, untouched)
    assert driver.until_done() == 1
    assert driver.told == []
    assert proxy.count(FRAME) == 2
    assert "dr7-40-009001-3-0011-r came damaged and was fetched again" in caplog.text
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param(flipped, "damaged", marks=pytest.mark.ci), (shorter(), "truncated"),
        (page, "an HTML page under a frame's name"),
    ],
    ids=["flipped-bit", "half-a-file", "web-page"],
)  # fmt: skip
def test_wrong_bytes_every_time(
    fault: object, words: str, proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed,
    reader: Reader, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The archive's own copy is damaged: never mirrored, never published; all others are; mended with *Try again*."""
    proxy.on(FRAME, fault)
    driver.until_done()
    (reason,) = reasons(pipeline, Stage.MIRROR)
    assert words in reason
    assert "fetched twice from http://" in reason
    assert reason in caplog.text
    told = pipeline.services.ledger.published("faulty", "dr7", pipeline_slug())
    assert sum(map(len, told.values())) == undisturbed.frames - 1
    mended(proxy)
    driver.run(again=True)
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


@pytest.mark.ci
def test_wrong_bytes_where_the_archive_publishes_checksums(
    proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, sample: Path, reader: Reader,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Damage is a mismatch then, fetched again, put into quarantine in the end, and said with both checksums."""
    (published,) = sample.parent.glob("*.sha1sum")
    beside = sample / "das/imaging/9001/40/corr/3" / published.name
    beside.write_bytes(published.read_bytes())
    try:
        proxy.on(FRAME, flipped)
        driver.run()
        (reason,) = reasons(pipeline, Stage.MIRROR)
        assert "came with SHA-1" in reason
        assert "the archive's own checksum file says" in reason
        assert "came with SHA-1" in caplog.text
        told = pipeline.services.ledger.published("faulty", "dr7", pipeline_slug())
        assert sum(map(len, told.values())) == undisturbed.frames - 1
        mended(proxy)
        driver.run(again=True)
        driver.until_done()
        whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)
    finally:
        beside.unlink()


def pipeline_slug() -> str:
    from pipeline import PARAMETERS

    return PARAMETERS.slug


@pytest.mark.ci
def test_redirect_to_a_login_page(
    proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The page is never taken for a frame; the reason names where the archive wanted to lead us."""
    proxy.on(FRAME, login)
    driver.run()
    (reason,) = reasons(pipeline, Stage.MIRROR)
    assert "redirect" in reason
    assert "/login" in reason
    assert reason in caplog.text
    mended(proxy)
    driver.until_done()
    assert proxy.count("^/login") == 0
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)


def test_a_listing_half_written_for_a_while(
    proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.on(LISTING, half_listing, half_listing, half_listing, untouched)
    assert driver.until_done() == 1
    assert "the index page is cut short" in caplog.text
    assert len(driver.told) == 1
    whole(pipeline, undisturbed.digest, undisturbed.frames)


@pytest.mark.ci
def test_a_listing_half_written_throughout_a_run(
    proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed
) -> None:
    """Half a listing must not look like missing frames: the plan fails with a sentence, and writes nothing."""
    driver.run()
    expected = len(pipeline.services.ledger.outcomes("manual__1"))
    proxy.on(LISTING, half_listing)
    assert driver.run() == (0, False)
    assert driver.told
    assert all("the index page is cut short" in sentence for sentence in driver.told)
    assert pipeline.services.ledger.outcomes("manual__2") == []
    assert len(pipeline.services.ledger.outcomes("manual__1")) == expected
    mended(proxy)
    assert driver.until_done() == 0
    whole(pipeline, undisturbed.digest, undisturbed.frames)


def test_everything_at_once(
    proxy: Proxy, driver: Driver, pipeline: Pipeline, undisturbed: Undisturbed, reader: Reader
) -> None:
    """A different fault for each of the first requests, again and again."""
    faults = [status(503), cut(), flipped, login, shorter(), status(500), wrong_length(7), page, untouched]
    number, lock = iter(range(10**6)), threading.Lock()

    def next_fault(answer):  # type: ignore[no-untyped-def]
        with lock:
            return faults[next(number) % len(faults)](answer)

    proxy.on(ANY, next_fault)
    logging.getLogger("faults").info("a run with everything")
    driver.run()
    driver.run()
    mended(proxy)
    driver.run(again=True)
    driver.until_done()
    whole(pipeline, undisturbed.digest, undisturbed.frames, reader=reader)
