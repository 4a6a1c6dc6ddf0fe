"""The proof that the mirror equals the archive: it sees every kind of difference, and changes nothing."""

import bz2
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from kira.cli.archives import find_source
from kira.errors import NotInArchive, StorageError
from kira.sdss import FrameId, Release, Selection
from kira.sdss.archive import Archive, ArchiveClient
from kira.stack.config import BUCKET
from kira.stack.local import LocalStack
from kira.stages.verify import Finding, Verdict, Verification, verify
from kira.storage import Mirrored, S3Mirror

pytestmark = pytest.mark.integration

BANDS = {band: FrameId.parse(f"dr12-301-000094-1-0012-{band}") for band in "ugriz"}
OTHER = FrameId.parse("dr12-301-002583-2-0136-r")
OLD = [FrameId.parse(text) for text in ("dr7-40-004192-4-0300-r", "dr7-40-005754-3-0280-r")]
DR12 = Selection.parse("dr12")


@dataclass
class Both:
    """An archive of real frames, and a mirror of it."""

    mirror: S3Mirror
    archive: Archive
    folder: Path

    def file(self, frame: FrameId) -> Path:
        return self.folder / frame.release.service / frame.archive_path

    def key(self, frame: FrameId) -> str:
        return f"{self.archive.name}/{frame.release.service}/{frame.archive_path}"

    def put(self, frame: FrameId) -> None:
        content = self.file(frame).read_bytes()
        facts = Mirrored(len(content), sha(content), 0, "")  # what is packed in it is not compared
        assert self.mirror.put(self.key(frame), content, facts, {"source": "a test"})

    def objects(self) -> dict[str, Any]:
        pages = self.mirror.client.get_paginator("list_objects_v2").paginate(Bucket=self.mirror.bucket)
        return {o["Key"]: (o["ETag"], o["Size"], o["LastModified"]) for page in pages for o in page.get("Contents", ())}

    def verify(self, selection: Selection = DR12, **options: Any) -> Verification:
        """Verify; and whatever comes of it, nothing was changed."""
        before = self.objects()
        with ArchiveClient(self.archive, tries=2, backoff=0.01, **options.pop("client", {})) as client:
            result = verify(self.mirror, client, selection, **options)
        assert self.objects() == before
        assert result.compared + result.counts[Verdict.NOT_MIRRORED] + result.counts[Verdict.GONE] == sum(
            result.counts.values()
        )
        return result


def sha(content: bytes, kind: str = "sha256") -> str:
    return hashlib.new(kind, content).hexdigest()


@pytest.fixture
def both(servers: LocalStack, shared_sdss: Path, tmp_path: Path) -> Iterator[Both]:
    folder = tmp_path / "archive"
    for frame in (*BANDS.values(), OTHER, *OLD):
        path = Path(frame.release.service) / frame.archive_path
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shared_sdss / path, folder / path)
    base = servers.serve_archive(f"verified-{tmp_path.name.replace('_', '-')}"[:40].strip("-").lower(), folder)
    archive = Archive("verified", das=f"{base}/das", sas=f"{base}/sas")
    # One bucket for all tests: SeaweedFS takes seconds to make room for a new one.
    made = Both(S3Mirror(servers.s3_client(), f"{BUCKET}-verified"), archive, folder)
    made.mirror.ensure_bucket()
    for frame in (*BANDS.values(), OTHER, *OLD):
        made.put(frame)
    yield made
    for key in made.objects():
        made.mirror.delete(key)


def publish_checksums(both: Both, *frames: FrameId) -> None:
    lines = (f"{sha(both.file(frame).read_bytes(), 'sha1')}  {frame.file_name}\n" for frame in frames)
    (both.file(frames[0]).parent / "frames.sha1sum").write_text("".join(lines))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_equal_by_fetching_again(both: Both) -> None:
    told: list[int] = []
    result = both.verify(progress=told.append)
    assert result.good
    assert result.counts == {Verdict.EQUAL: 6}
    assert (result.by_download, result.by_checksum, result.findings) == (6, 0, [])
    assert result.bytes == sum(both.file(frame).stat().st_size for frame in (*BANDS.values(), OTHER))
    assert told == [1, 2, 3, 4, 5, 6]
    assert result.sentence == "6 of 6 frames that are on both sides are equal."
    old = both.verify(Selection.parse("dr7"))
    assert old.counts == {Verdict.EQUAL: 2}


def test_selections(both: Both) -> None:
    assert both.verify(Selection.parse("dr12", runs="94", bands="gr")).counts == {Verdict.EQUAL: 2}
    header = fits.getheader(io.BytesIO(bz2.decompress(both.file(BANDS["r"]).read_bytes())))
    row = [(94, 301, 1, 12, header["CRVAL1"], header["CRVAL2"])]
    names = ("RUN", "RERUN", "CAMCOL", "FIELD", "RA", "DEC")
    table = np.array(row, dtype=[(name, "f8" if name in ("RA", "DEC") else "i4") for name in names])
    path = both.folder / "sas" / str(Release(12).field_list)
    path.parent.mkdir(parents=True)
    fits.BinTableHDU(table).writeto(path)
    both.file(BANDS["u"]).unlink()
    near = f"cone {header['CRVAL1']:.6f} {header['CRVAL2']:.6f} 0.1"
    assert both.verify(Selection.parse("dr12", sky=near)).counts == {Verdict.EQUAL: 4, Verdict.GONE: 1}
    assert both.verify(Selection.parse("dr7", sky=near)).counts == {}


def test_published_checksums(both: Both) -> None:
    publish_checksums(both, *BANDS.values())
    result = both.verify()
    assert (result.counts, result.by_checksum, result.by_download) == ({Verdict.EQUAL: 6}, 5, 1)
    only = both.verify(from_checksums_only=True)
    assert only.counts == {Verdict.EQUAL: 5, Verdict.NOT_PROVEN: 1}
    assert only.good
    assert only.findings == [
        Finding(str(OTHER), Verdict.NOT_PROVEN, f"sha256:{sha(both.file(OTHER).read_bytes())}"),
    ]  # fmt: skip
    # A checksum file that is cut is no proof against anybody: the bytes are.
    checksums = both.file(OTHER).parents[3] / "301/94/1/frames.sha1sum"
    checksums.write_text(checksums.read_text()[:-5])
    assert both.verify().by_download == 6


def test_archive_has_other_bytes(both: Both) -> None:
    before = both.file(BANDS["g"]).read_bytes()
    for name in ("g", "r"):
        flip(both.file(BANDS[name]))
    after = both.file(BANDS["g"]).read_bytes()
    result = both.verify()
    assert not result.good
    assert result.counts == {Verdict.EQUAL: 4, Verdict.DIFFERS: 2}
    assert result.findings[0] == Finding(
        str(BANDS["g"]), Verdict.DIFFERS, f"sha256:{sha(before)}", f"sha256:{sha(after)}"
    )
    publish_checksums(both, BANDS["g"])
    result = both.verify(from_checksums_only=True)
    assert result.counts == {Verdict.DIFFERS: 1, Verdict.NOT_PROVEN: 5}
    assert result.findings[0] == Finding(
        str(BANDS["g"]), Verdict.DIFFERS, f"sha1:{sha(before, 'sha1')}", f"sha1:{sha(after, 'sha1')}"
    )


@pytest.mark.parametrize("checksums", [False, True])
def test_mirror_is_damaged(both: Both, checksums: bool) -> None:
    content = both.file(BANDS["i"]).read_bytes()
    metadata = both.mirror.client.head_object(Bucket=both.mirror.bucket, Key=both.key(BANDS["i"]))["Metadata"]
    both.mirror.client.put_object(
        Bucket=both.mirror.bucket, Key=both.key(BANDS["i"]), Body=content[:-1] + b"x", Metadata=metadata
    )
    both.mirror.client.put_object(Bucket=both.mirror.bucket, Key=both.key(BANDS["z"]), Body=content)
    if checksums:
        publish_checksums(both, *BANDS.values())
    result = both.verify()
    assert not result.good
    assert result.counts == {Verdict.EQUAL: 4, Verdict.DAMAGED: 2}
    assert result.findings == [
        Finding(str(BANDS["i"]), Verdict.DAMAGED, f"sha256:{sha(content[:-1] + b'x')}",
                f"recorded sha256:{sha(content)}"),
        Finding(str(BANDS["z"]), Verdict.DAMAGED, f"sha256:{sha(content)}", "",
                "the object carries no SHA-256: it was not mirrored by Kira"),
    ]  # fmt: skip


def test_disk_under_the_mirror_is_damaged(servers: LocalStack, both: Both) -> None:
    """Bytes flipped in the S3 server's own volume, below anything that it would tell by itself."""
    content = both.file(OTHER).read_bytes()
    piece = content[len(content) // 2 :][:256]
    flipped = 0
    for volume in (servers.config.home / "s3").rglob(f"{both.mirror.bucket}_*.dat"):
        data = volume.read_bytes()
        at = data.find(piece)
        while at >= 0:
            with volume.open("r+b") as file:
                file.seek(at)
                file.write(bytes([piece[0] ^ 1]))
            flipped += 1
            at = data.find(piece, at + 1)
    assert flipped
    result = both.verify()
    assert result.counts == {Verdict.EQUAL: 5, Verdict.DAMAGED: 1}
    assert [finding.frame for finding in result.findings] == [str(OTHER)]


def test_missing_on_either_side(both: Both) -> None:
    both.mirror.delete(both.key(BANDS["u"]))
    both.file(BANDS["g"]).unlink()
    shutil.rmtree(both.file(OTHER).parents[1])
    result = both.verify()
    assert result.good  # a mirror of a part is no wrong mirror
    assert result.counts == {Verdict.EQUAL: 3, Verdict.NOT_MIRRORED: 1, Verdict.GONE: 2}
    assert [(finding.frame, finding.verdict) for finding in result.findings] == [
        (str(BANDS["u"]), Verdict.NOT_MIRRORED), (str(BANDS["g"]), Verdict.GONE), (str(OTHER), Verdict.GONE),
    ]  # fmt: skip
    assert both.verify(Selection.parse("dr12", runs="94")).counts[Verdict.GONE] == 1
    shutil.rmtree(both.file(OLD[0]).parents[3])
    assert both.verify(Selection.parse("dr7")).counts == {Verdict.EQUAL: 1, Verdict.GONE: 1}


def test_archive_that_cannot_be_asked(both: Both) -> None:
    """A frame that cannot be fetched is not proven; an archive that cannot be listed proves nothing at all."""
    most = both.file(BANDS["u"]).stat().st_size
    result = both.verify(client={"max_bytes": most})
    assert not result.good
    assert result.counts[Verdict.UNREACHABLE] == sum(
        both.file(frame).stat().st_size > most for frame in (*BANDS.values(), OTHER)
    )
    assert all("longer than" in f.reason for f in result.findings)
    with pytest.raises(NotInArchive):
        both.verify(Selection.parse("dr13"))


def test_s3_does_not_answer(both: Both) -> None:
    with ArchiveClient(both.archive) as client, pytest.raises(StorageError, match="S3 could not list"):
        verify(S3Mirror(both.mirror.client, "there-is-no-such-bucket"), client, DR12)


def test_command(servers: LocalStack, both: Both) -> None:
    """`kira mirror verify` by itself: a table, JSON, one sentence and its exit status."""
    source = find_source(str(both.folder), both.folder / "none", servers)
    mirror = S3Mirror(servers.s3_client(), BUCKET)
    real = Both(mirror, source.archive, both.folder)
    for frame in (*BANDS.values(), OTHER, *OLD):
        real.put(frame)
    environment = os.environ | {"KIRA_HOME": str(servers.config.home), "COLUMNS": "200", "NO_COLOR": "1"}

    def kira(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [Path(sys.executable).with_name("kira"), "mirror", "verify", "--archive", both.folder, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = kira()
    assert done.returncode == 0, done.stderr
    assert "dr7: 2 of 2 frames that are on both sides are equal." in done.stdout
    assert "dr12: 6 of 6 frames that are on both sides are equal." in done.stdout

    flip(both.file(OTHER))
    done = kira("--release", "dr12")
    assert done.returncode == 1
    assert sha(both.file(OTHER).read_bytes()) in "".join(done.stdout.split())
    assert done.stderr.strip() == (
        "kira: The mirror is not proven to equal the archive. "
        "dr12: 5 of 6 frames that are on both sides are equal; 1 differs."
    )
    done = kira("--release", "dr12", "--json", "--runs", "2583")
    assert done.returncode == 1
    told = json.loads(done.stdout)["dr12"]
    assert (told["good"], told["compared"], told["frames"]["differs"]) == (False, 1, 1)
    assert told["findings"][0]["frame"] == str(OTHER)
    for key in real.objects():
        if key.startswith(source.archive.name):
            mirror.delete(key)
