"""What a batch is held against: the reference that is beside its frames, or the catalogue that was set."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from kira.errors import ChecksumMismatch, InvalidInput, StorageError
from kira.ledger import Outcome
from kira.sdss import FrameId
from kira.stages.extraction import Measured
from kira.stages.judging import ReferencesOf, Rules, catalogue, remarks_on
from kira.storage import Beside, Entry, Manifest, S3Mirror
from kira.validation import Thresholds
from kira.validation.references import Kind

FRAMES = [FrameId.parse(f"dr12-301-000094-1-0012-{band}") for band in "gr"]
OLD = FrameId.parse("dr7-40-004192-4-0300-r")


class Shelf:
    """Objects by key, and how often each was asked for; stands for the S3 mirror, which has tests of its own."""

    def __init__(self, **contents: bytes) -> None:
        self.contents, self.asked = contents, list[str]()

    def get(self, key: str, sha256: str) -> bytes:
        self.asked.append(key)
        if key not in self.contents:
            raise StorageError(f"S3 could not read {key}.")
        if hashlib.sha256(self.contents[key]).hexdigest() != sha256:
            raise ChecksumMismatch(f"{key} came out with another SHA-256.")
        return self.contents[key]


def batch(frames: list[FrameId], *beside: Beside) -> Manifest:
    entries = tuple(Entry(frame, "http://x", "k", "s", beside=beside) for frame in frames)
    return Manifest("b", "a", str(frames[0].release), "survey-1", "stage", "run", entries)


def beside(kind: str, content: bytes, key: str = "object") -> Beside:
    return Beside(kind, "http://x", key, "", len(content), hashlib.sha256(content).hexdigest(), 1, "0" * 64)


def references(manifest: Manifest, rules: Rules | None = None, **contents: bytes) -> tuple[ReferencesOf, Shelf]:
    shelf = Shelf(**contents)
    return ReferencesOf(cast("S3Mirror", shelf), manifest, rules or Rules()), shelf


def test_photo_obj_is_read_once_for_all_bands(shared_sdss: Path) -> None:
    content = (shared_sdss / "sas" / str(FRAMES[0].photoobj_path)).read_bytes()
    of, shelf = references(batch(FRAMES, beside("photoObj", content)), object=content)
    found = [of(frame) for frame in FRAMES]
    assert found[0] is found[1] is not None
    assert (found[0].kind, found[0].field) == (Kind.PHOTO_OBJ, (94, 1, 12))
    assert shelf.asked == ["object"]
    assert of.remarks == []


def test_without_a_reference_there_is_none(shared_sdss: Path) -> None:
    of, _ = references(batch(FRAMES, replace(beside("photoObj", b""), missing="not in the archive.")))
    assert of(FRAMES[0]) is None
    # photo failed on M2: its photoObj has no table.
    m2 = FrameId.parse("dr12-301-002583-2-0136-r")
    content = (shared_sdss / "sas" / str(m2.photoobj_path)).read_bytes()
    of, _ = references(batch([m2], beside("photoObj", content)), object=content)
    assert (of(m2), of.remarks) == (None, [])


@pytest.mark.parametrize("kind", ["photoObj", "truth"])
def test_what_cannot_be_used_is_said_and_does_not_hold_up(kind: str) -> None:
    of, _ = references(batch(FRAMES, beside(kind, b"nonsense")), object=b"nonsense")
    assert of(FRAMES[0]) is None
    assert of.remarks[0].startswith(f"dr12-301-000094-1-0012-g was not held against {kind}: ")
    of, _ = references(batch(FRAMES, beside(kind, b"other bytes")), object=b"nonsense")
    assert of(FRAMES[0]) is None
    assert "another SHA-256" in of.remarks[0]
    of, _ = references(batch(FRAMES, beside(kind, b"gone")))
    assert of(FRAMES[0]) is None
    assert "S3 could not read" in of.remarks[0]


def test_a_catalogue_is_for_those_that_have_nothing_beside_them(shared_sdss: Path) -> None:
    stars = shared_sdss / "reference" / "stripe82-stars.fits"
    for place in (str(stars), stars.as_uri()):
        of, _ = references(batch([OLD]), Rules.of("", place))
        found = of(OLD)
        assert found is not None
        assert (found.kind, found.name, len(found) > 20_000) == (Kind.CATALOGUE, "stripe82-stars.fits", True)
    content = (shared_sdss / "sas" / str(FRAMES[0].photoobj_path)).read_bytes()
    of, _ = references(batch(FRAMES, beside("photoObj", content)), Rules.of("", str(stars)), object=content)
    first = of(FRAMES[0])
    assert first is not None
    assert first.kind == Kind.PHOTO_OBJ
    assert catalogue(str(stars)) is catalogue(str(stars))


def test_rules_of_settings(tmp_path: Path) -> None:
    assert Rules.of("", "") == Rules()
    file = tmp_path / "mine.toml"
    file.write_text("max_not_finite = 0.5\n")
    assert Rules.of(str(file), "").thresholds == replace(Thresholds(), max_not_finite=0.5)
    file.write_text("max_not_finit = 0.5\n")
    with pytest.raises(InvalidInput, match="max_not_finite"):
        Rules.of(str(file), "")


def test_what_frames_lacked_is_said_once_with_their_number() -> None:
    fpm = [f"fpM-000094-{band}1-0012.fit.gz is not in the archive." for band in "ugr"]
    other = "psField says that the PSF was not measured in this field (status 4)."
    measured = [Measured(str(FRAMES[0]), Outcome.OK, remarks=[one]) for one in fpm]
    measured.append(Measured(str(FRAMES[1]), Outcome.OK, remarks=[other]))
    assert remarks_on(measured) == [f"{fpm[0]} The same of 2 more frames.", other]
    assert remarks_on(measured, most=1) == [f"{fpm[0]} The same of 2 more frames."]
