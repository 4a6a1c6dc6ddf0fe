"""Today's stages go on where the first release stopped: nothing is done twice, and what was left is finished."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from first_release import DAMAGED, FIRST, PLANNED, PUBLISHED, Left, put
from pipeline import Pipeline, serve

from kira.catalog import read_parts
from kira.extraction import Parameters
from kira.ledger import Ledger, Outcome, Stage
from kira.sample.archive import write_sample
from kira.sample.spec import SampleSpec
from kira.sdss import FrameId, Release, Selection
from kira.stack.local import LocalStack
from kira.stages.places import mirror_key
from kira.stages.work import Services
from kira.storage import open_store

pytestmark = pytest.mark.integration

SELECTION = Selection.parse("dr7", "9001", "3", "11-12")
# The first release measured by SEP; by the same parameters it is the same catalogue.
OLD_PARAMETERS = Parameters(engine="sep")


@pytest.fixture
def upgraded(servers: LocalStack, services: Services, tmp_path: Path) -> Iterator[tuple[Pipeline, Left]]:
    """What the first release left, with an archive and a mirror that hold what they held then."""
    archive = tmp_path / "archive"
    spec = SampleSpec(
        releases=(Release(7),), first_field=12, fields=1, bands=("r",), star_density=2000, galaxy_density=5000
    )
    write_sample(spec, archive, processes=1)
    left = put(tmp_path / "left")
    ledger = Ledger(left.ledger_url)
    pipeline = serve(servers, replace(services, store=open_store(left.stage_url), ledger=ledger), archive, "sample")
    pipeline = replace(pipeline, selection=SELECTION, profile=OLD_PARAMETERS)
    mirrored = {row.frame: row.size or 0 for row in ledger.outcomes(FIRST, Stage.MIRROR) if row.frame in PUBLISHED}
    for name in [*PUBLISHED, DAMAGED]:
        # Nobody reads them again, so that the sizes do: the frames themselves are no part of what was kept.
        pipeline.file(name).parent.mkdir(parents=True, exist_ok=True)
        pipeline.file(name).write_bytes(b"\0" * mirrored.get(name, 100_000))
    for name, size in mirrored.items():
        key = mirror_key(pipeline.services.archive, FrameId.parse(name))
        pipeline.services.mirror.client.put_object(Bucket=services.mirror.bucket, Key=key, Body=b"\0" * size)
    yield pipeline, left
    ledger.engine.dispose()


def test_only_what_the_first_release_left_is_done(upgraded: tuple[Pipeline, Left]) -> None:
    pipeline, left = upgraded
    store = pipeline.services.store
    before = {path: store.read(path) for path, _ in store.walk("sample/catalog")}
    plan = pipeline.plan()
    assert (plan.found, plan.published, plan.settled, plan.planned, plan.why) == (6, 4, 1, 1, {"unfinished": 1})
    assert (plan.new, plan.changed, plan.lost, plan.withdrawn) == (0, 0, 0, 0)
    manifest = pipeline.planned()
    assert [str(entry.frame) for entry in manifest.entries] == [PLANNED]
    pipeline.finish(pipeline.stage(pipeline.mirror(manifest)))
    assert pipeline.outcomes(Stage.PUBLISH)[PLANNED].outcome == Outcome.OK
    # The old folder is as it was, to the byte; the frame that was left has one of its own in the same catalogue.
    assert {path: store.read(path) for path in before} == before
    folders = {entry.name for entry in store.listing(f"sample/catalog/dr7/{OLD_PARAMETERS.slug}")}
    assert folders == {path.split("/")[4] for path in before} | {f"batch={manifest.batch}"}
    files = [path for path, file in store.walk("sample/catalog") if file.name.endswith(".parquet")]
    table = read_parts(store.read(path) for path in files)
    assert table.num_rows > sum(left.expected["sources"].values())
    assert pipeline.summary()["frames"] == {"published": 1, "not_in_archive": 4}
    again = pipeline.again("manual__3").plan()
    assert (again.published, again.planned) == (5, 0)
