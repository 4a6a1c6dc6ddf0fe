"""The page about a validated batch: what is on it, that it is escaped, labelled, and bounded in size."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.image import imread
from validated import FIELD, Batch, real, strip, with_column

from kira.sdss import FrameId
from kira.validation import Report, Validation, examine
from kira.validation.page import page
from kira.validation.plots import plots
from kira.validation.references import Reference, read_photo_obj

ALL = {
    "Offsets from the reference", "Zero-point against magnitude", "Completeness against magnitude", "Number counts",
    "Star locus", "Sky, noise and sources by frame", "Flags",
}  # fmt: skip


@pytest.fixture(scope="module")
def photo_obj(shared_sdss: Path) -> Reference:
    content = (shared_sdss / "sas/dr12/boss/photoObj/301/94/1/photoObj-000094-1-0012.fits").read_bytes()
    found = read_photo_obj(content, "photoObj <1>")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def field(shared_sdss: Path) -> Batch:
    return real(shared_sdss, FIELD)


@pytest.fixture(scope="module")
def validation(field: Batch, photo_obj: Reference) -> Validation:
    return examine(*field, references=lambda _: photo_obj)


class _Page(HTMLParser):
    """Tags that were opened, and the text of table cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_what_is_on_the_page(validation: Validation) -> None:
    text = page(validation, "batch 7")
    assert text.startswith("<!doctype html>")
    assert "All 21 checks passed (5 frames" in text
    names = re.findall(r"<h2>([^<]*)</h2>", text)
    assert set(names) == {"Numbers by band", "Checks", *ALL}
    for check in validation.report.checks:
        assert f"<td>{check.name}</td>" in text
    pictures = re.findall(r'src="data:image/png;base64,([^"]*)"', text)
    assert len(pictures) == len(ALL)
    for one in pictures:
        assert base64.b64decode(one).startswith(b"\x89PNG")
    assert "Synthetic" not in text
    assert "(synthetic" not in text
    assert page(validation, "batch 7") == text


def test_nothing_is_loaded_or_run_whatever_a_name_holds(field: Batch, photo_obj: Reference) -> None:
    bad = "<script>alert('1')</script> \" & <img src=x onerror=y>"
    named = replace(photo_obj, name=bad)
    stranger = replace(named, field=(94, 1, 13))
    found = examine(*field, references=lambda frame: stranger if frame.band == "u" else named)
    assert bad in found.report.caveats[0]
    parsed = _Page(page(found, bad))
    assert not {"script", "link", "iframe"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    sources = [value or "" for name, value in parsed.attributes if name in {"src", "href"}]
    assert len(sources) == len(ALL)
    assert all(value.startswith("data:image/png;base64,") for value in sources)


def test_synthetic_frames_are_called_so(validation: Validation, photo_obj: Reference, field: Batch) -> None:
    assert validation.comparisons is not None
    told = page(validation, "batch 7", synthetic=True)
    assert "<strong>Synthetic frames:</strong>" in told
    assert told.index("ynthetic frames") < told.index("<h2>")
    for png in plots(validation.comparisons, synthetic=True).values():
        assert b"(synthetic frames)" in png  # as its description; the title is the same text
    assert not any(b"synthetic" in png for png in plots(validation.comparisons).values())
    by_reference = examine(*field, references=lambda _: replace(photo_obj, synthetic=True))
    assert "<strong>Synthetic frames:</strong>" in page(by_reference, "batch 7")


def test_without_reference_or_bands_there_are_fewer_plots(field: Batch) -> None:
    table, expected = field
    red = table.filter(pa.compute.equal(table["band"], "r"))
    found = examine(red, [expected[2]]).comparisons
    assert found is not None
    assert set(plots(found)) == {"Number counts", "Sky, noise and sources by frame", "Flags"}
    nothing = examine(table.slice(0, 0), []).comparisons
    assert nothing is not None
    assert plots(nothing) == {}


def test_a_batch_of_another_schema_has_a_page_that_says_so(field: Batch) -> None:
    table, expected = field
    found = examine(table.drop_columns(["ra"]), expected)
    text = page(found, "batch 7")
    assert "columns differ" in text
    assert 'class="failed"' in text
    assert "<img" not in text
    assert page(Validation(Report((), 0, 0), None), "nothing")


def test_large_batches_have_small_pages(field: Batch, photo_obj: Reference) -> None:
    """400 fields of five bands: 2,000 frames and 766,000 sources."""
    table, expected = strip(field, 400)
    rng = np.random.default_rng(1)
    table = with_column(table, "ra", lambda v: v + rng.normal(0, 0.05 / 3600, len(v)))
    of_field = {n: replace(photo_obj, field=(94, 1, n)) for n in range(12, 412)}

    def reference(frame: FrameId) -> Reference:
        return of_field[frame.field]

    found = examine(table, expected, references=reference)
    assert found.report.frames == 2_000
    text = page(found, "batch 7")
    assert len(text.encode()) < 1_000_000
    assert found.comparisons is not None
    assert sum(one.matched for one in found.report.figures) > 400 * 500
    assert "2,000 frames" in text


def test_pictures_are_pictures(validation: Validation, tmp_path: Path) -> None:
    assert validation.comparisons is not None
    for name, png in plots(validation.comparisons).items():
        path = tmp_path / "one.png"
        path.write_bytes(png)
        pixels = imread(path)
        assert pixels.shape[1] > 400, name
        assert 0.005 < (pixels[..., :3].min(axis=-1) < 0.9).mean() < 0.5, name  # something is drawn, on white
