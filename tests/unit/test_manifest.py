from dataclasses import replace
from pathlib import Path

import pytest

from kira.errors import InvalidInput, StorageError
from kira.sdss import FrameId
from kira.storage import Entry, Manifest, open_store

FRAMES = [FrameId.parse(f"dr7-40-004192-4-0300-{band}") for band in "ri"]
ENTRIES = tuple(
    Entry(
        frame, f"http://host/das/{frame.archive_path}", f"a/das/{frame.archive_path}", f"a/frames/{frame.staged_path}"
    )
    for frame in FRAMES
)
MANIFEST = Manifest("dr7-004192-0123456789ab", "a", "dr7", "kira-1", "plan", "manual__2026-11-22T08:00:00", ENTRIES)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/stage")
    known = replace(ENTRIES[0], size=1, sha256="a" * 64, plain_size=2, plain_sha256="b" * 64)
    after = MANIFEST.after("mirror", [known])
    uri = after.save(store)
    assert uri == f"file://{tmp_path}/stage/a/batches/dr7-004192-0123456789ab/mirror.jsonl"
    assert Manifest.load(store, uri) == after
    assert Manifest.root_of(uri) == store.url
    assert after.entries[0].plain_sha256 == "b" * 64
    with pytest.raises(StorageError, match=MANIFEST.batch):
        Manifest.load(store, store.uri(MANIFEST.path))


def test_an_empty_manifest_is_one() -> None:
    empty = MANIFEST.after("mirror", [])
    assert Manifest.from_text(empty.to_text()) == empty


def test_stages_keep_their_manifests_apart() -> None:
    after = MANIFEST.after("mirror", ENTRIES[:1])
    assert after.path != MANIFEST.path
    assert (after.batch, after.run, after.extracted, after.published) == (
        MANIFEST.batch, MANIFEST.run, MANIFEST.extracted, MANIFEST.published,
    )  # fmt: skip
    assert MANIFEST.published == "a/catalog/dr7/kira-1/batch=dr7-004192-0123456789ab"


LINES = MANIFEST.to_text().splitlines(keepends=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "<html>",
        "[]\n",
        "1\n",
        "{}\n",
        "".join(LINES[:-1]),
        "".join([*LINES, LINES[-1]]),
        "".join(LINES[1:]),
        MANIFEST.to_text()[:-20],
        MANIFEST.to_text().replace('"kira_manifest": 1', '"kira_manifest": 2'),
        MANIFEST.to_text().replace('"url"', '"address"'),
        MANIFEST.to_text().replace("0300-r", "300-r"),
        MANIFEST.to_text().replace('"batch"', '"unknown"'),
        LINES[0] + "null\n" * 2,
    ],
)
def test_what_is_no_whole_manifest_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^hdfs://x/plan\.jsonl is "):
        Manifest.from_text(text, "hdfs://x/plan.jsonl")
