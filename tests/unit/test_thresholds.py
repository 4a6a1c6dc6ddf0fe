import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from kira.catalog import SCHEMA
from kira.errors import InvalidInput
from kira.sdss import Service
from kira.validation import Ranges, Thresholds, document, validate
from kira.validation.checklist import CHECKLIST

PLAIN = Thresholds()


def test_a_file_says_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("""
        max_zero_point = 0.5
        min_matches = 20
        zero_point_columns = ["flux_auto"]
        [limits]
        r = 21.0
        [counts]
        u = [10, 100]
        [max_flagged]
        MERGED = 0.3
        [ranges.sas.r]
        rms = [0.01, 0.1]
    """)
    found = Thresholds.load(path)
    assert (found.max_zero_point, found.min_matches, found.zero_point_columns) == (0.5, 20, ("flux_auto",))
    assert found.limits == {**PLAIN.limits, "r": 21.0}
    assert found.counts == {**PLAIN.counts, "u": (10, 100)}
    assert found.max_flagged == {**PLAIN.max_flagged, "MERGED": 0.3}
    there = PLAIN.ranges[Service.SAS, "r"]
    assert found.ranges == {**PLAIN.ranges, (Service.SAS, "r"): Ranges(there.background, (0.01, 0.1))}
    assert found.max_offset == PLAIN.max_offset


def test_there_and_back() -> None:
    assert Thresholds.from_dict({}) == PLAIN
    assert Thresholds.from_dict(json.loads(json.dumps(PLAIN.as_dict()))) == PLAIN


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_ofset": 1}, "max_ofset is not a threshold; max_offset may be meant"),
        ({"limits": {"w": 1}}, "w is not a band of limits"),
        ({"limits": 22}, "22 is not a table"),
        ({"limits": {"r": "faint"}}, "limits.r: 'faint' is not a number"),
        ({"max_flagged": {"BROKEN": 0.1}}, "BROKEN is not a flag of max_flagged"),
        ({"ranges": {"dr7": {}}}, "dr7 is not an archive of ranges"),
        ({"ranges": {"sas": {"r": {"noise": [0, 1]}}}}, "noise is not a range of ranges.sas.r"),
        ({"ranges": {"sas": {"r": {"rms": [2, 1]}}}}, "ranges.sas.r.rms: 2 is above 1"),
        ({"counts": {"r": [1]}}, "counts.r: .1. is not two numbers"),
        ({"counts": {"r": [0.5, 1]}}, "are not whole numbers"),
        ({"max_offset": True}, "max_offset: True is not a number"),
        ({"max_offset": float("nan")}, "max_offset: nan is not a number"),
        ({"max_offset": -1}, "max_offset: -1 is below 0"),
        ({"match_radius": 0}, "match_radius: 0 is not above 0"),
        ({"min_matches": 2.5}, "min_matches: 2.5 is not a whole number"),
        ({"warn_offset": 2.0}, "warn_offset: 2.0 is above max_offset, 1.0"),
        ({"min_found": 0.95}, "warn_found: 0.9 is below min_found, 0.95"),
        ({"zero_point_columns": "flux_auto"}, "not a list of names of columns"),
    ],
)
def test_nonsense_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Thresholds.from_dict(values)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none.toml cannot be read as thresholds"):
        Thresholds.load(tmp_path / "none.toml")
    path = tmp_path / "bad.toml"
    path.write_text("max_offset = ")
    with pytest.raises(InvalidInput, match=r"bad.toml is not TOML"):
        Thresholds.load(path)
    path.write_text("max_ofset = 1")
    with pytest.raises(InvalidInput, match=r"bad.toml: max_ofset is not a threshold"):
        Thresholds.load(path)


def test_the_page_is_what_the_code_says() -> None:
    text = Path(__file__).parents[2].joinpath("docs/validation.md").read_text(encoding="utf-8")
    assert text == document.page(), "run: python -m kira.validation.document docs/validation.md"


def test_every_check_and_every_threshold_is_on_it() -> None:
    report = validate(SCHEMA.empty_table(), [])
    assert [item.name for item in CHECKLIST] == [check.name for check in report.checks]
    known = {one.name for one in fields(Thresholds)}
    used = {name for item in CHECKLIST for name in item.thresholds}
    assert used <= known
    assert known - used == {"min_matches"}  # of all checks against a reference
