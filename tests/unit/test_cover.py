"""Frames as few selections: all of them are in, and nothing else where that can be."""

import random

import pytest

from kira.pages.cover import ALL, Box, Place, cover
from kira.sdss import FrameId, Release, Selection

DR12 = Release(12)


def inside(box: Box, place: Place) -> bool:
    run, camcol, field, band = place
    return run in box.runs and camcol in box.camcols and field in box.fields and band in box.bands


def test_a_grid_is_one_selection() -> None:
    places = [(r, c, f, b) for r in (94, 95, 97) for c in (1, 2) for f in (11, 12, 13, 20) for b in "ugriz"]
    (box,) = cover(places, 3)
    assert box.size == len(places)
    assert box.selection(DR12) == Selection.parse("dr12", "94-95, 97", "1-2", "11-13, 20", "ugriz")


def test_two_grids_are_two_selections_and_one_where_one_alone_may_be() -> None:
    places = [(94, 1, 12, b) for b in "gr"] + [(752, 3, 40, "z")]
    two = cover(places, 3)
    assert [str(box.selection(DR12)) for box in two] == [
        "dr12, runs 94, camcols 1, fields 12, bands gr", "dr12, runs 752, camcols 3, fields 40, bands z",
    ]  # fmt: skip
    (one,) = cover(places, 1)
    assert one.size == 2 * 2 * 2 * 3


def test_all_fields_of_a_camera_column() -> None:
    (box,) = cover([(94, 1, ALL, "r"), (94, 1, ALL, "g")], 3)
    assert str(box.selection(DR12)) == "dr12, runs 94, camcols 1, fields all, bands gr"


def test_none_of_none() -> None:
    assert cover([], 3) == []


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("most", [1, 3, 500])
def test_no_frame_is_left_out(seed: int, most: int) -> None:
    chance = random.Random(seed)
    many = chance.choice([1, 7, 60, 900])
    places = {
        (chance.randrange(90, 90 + many), chance.randint(1, 6), chance.randrange(11, 60), chance.choice("ugriz"))
        for _ in range(many)
    }
    boxes = cover(places, most)
    assert 0 < len(boxes) <= most
    assert all(any(inside(box, place) for box in boxes) for place in places)
    for box in boxes:
        assert any(inside(box, place) for place in places)
    release = boxes[0].selection(DR12).release
    for run, camcol, field, band in places:
        frame = FrameId(release, run, 301, camcol, field, band)  # type: ignore[arg-type]
        assert any(frame in box.selection(DR12) for box in boxes)


@pytest.mark.parametrize("seed", range(6))
def test_few_boxes_are_exact(seed: int) -> None:
    chance = random.Random(seed)
    places = {(chance.randrange(3), chance.randint(1, 2), chance.randrange(4), chance.choice("gr")) for _ in range(12)}
    boxes = cover(places, 24)
    assert sum(box.size for box in boxes) == len(places)
