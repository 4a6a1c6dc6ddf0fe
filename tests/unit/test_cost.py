"""What a backfill would cost, by what the archive lists and what the ledger knows."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from http_servers import RudeServer, answer

from kira.errors import NotInArchive
from kira.ledger import Context, Ledger, Outcome, Record, Stage
from kira.sdss import FrameId, Selection
from kira.sdss.archive import Archive, ArchiveClient
from kira.stages.cost import _bytes, cost

PROFILE = "kira-00000000"
FRAMES = [FrameId.parse(f"dr12-301-000094-1-{field:04d}-r") for field in (11, 12, 13, 14)]
ROOT = "/sas/dr12/boss/photoObj/frames/301/"


@pytest.fixture
def client(rude: RudeServer) -> Iterator[ArchiveClient]:
    rows = "".join(f'<a href="{f.file_name}">{f.file_name}</a>  2012-06-28 13:45  2.5M\n' for f in FRAMES)
    rude.on(ROOT, answer(body=_page('<a href="94/">94/</a>')))
    rude.on(f"{ROOT}94/", answer(body=_page('<a href="1/">1/</a>')))
    rude.on(f"{ROOT}94/1/", answer(body=_page(rows)))
    archive = Archive("rude", das=f"{rude.url}/das", sas=f"{rude.url}/sas")
    with ArchiveClient(archive, backoff=0.0, tries=2, timeout=5.0) as client:
        yield client


def _page(rows: str) -> bytes:
    return f'<html><body><pre><a href="../">../</a>\n{rows}</pre></body></html>\n'.encode()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path}/ledger.db")


def test_without_rates_no_hours_are_invented(client: ArchiveClient, ledger: Ledger) -> None:
    found = cost(ledger, client, Selection.parse("dr12"), PROFILE)
    assert (found.frames, found.published, found.to_do) == (4, 0, 4)
    assert found.size == 4 * 2.5 * 1024**2
    assert found.hours is None
    assert "no rates yet" in found.sentence()


def test_what_is_published_costs_nothing(
    client: ArchiveClient, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it is done, at so many seconds a frame: the other half takes as long."""
    context = Context("batch-1", "rude", "dr12", PROFILE, "run-1")
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for stage, seconds in ((Stage.MIRROR, 720), (Stage.EXTRACT, 1440), (Stage.PUBLISH, 0)):
        ledger.record(context, stage, [Record(frame, Outcome.OK, sources=1) for frame in FRAMES[:2]])
        ledger.add_attempt(context, stage, 2, began, began + timedelta(seconds=seconds))
    found = cost(ledger, client, Selection.parse("dr12"), PROFILE)
    assert (found.frames, found.published, found.to_do) == (4, 2, 2)
    assert found.size == 2 * 2.5 * 1024**2
    assert found.hours == pytest.approx((720 + 1440) / 3600)
    assert found.rates_of == "dr12"


def test_a_release_that_is_not_there(client: ArchiveClient, ledger: Ledger) -> None:
    with pytest.raises(NotInArchive, match="has no dr9"):
        cost(ledger, client, Selection.parse("dr9"), PROFILE)


@pytest.mark.parametrize(
    ("text", "size"),
    [("2318745", 2318745), ("2.5M", 2.5 * 1024**2), ("1 KiB", 1024), ("12 bytes", 12), ("3.1G", 3.1 * 1024**3),
     ("7 B", 7), ("-", 0), ("", 0)],
)  # fmt: skip
def test_sizes_as_index_pages_write_them(text: str, size: float) -> None:
    assert _bytes(text) == pytest.approx(size)
