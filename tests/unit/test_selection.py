import re

import pytest

from kira.errors import InvalidInput
from kira.sdss import FrameId, Numbers, Release, Selection
from kira.sdss.selection import NUMBERS_PATTERN


class TestNumbers:
    @pytest.mark.parametrize(
        ("text", "ranges"),
        [
            ("", ()), (None, ()), ("  ", ()), ("94", ((94, 94),)), (" 94 , 1000 - 1010 ", ((94, 94), (1000, 1010))),
            ("5-5", ((5, 5),)), ("0", ((0, 0),)), ("3,1", ((3, 3), (1, 1))), ("000094", ((94, 94),)),
        ],
    )  # fmt: skip
    def test_ways_to_write_them(self, text: str | None, ranges: tuple[tuple[int, int], ...]) -> None:
        assert Numbers.parse(text).ranges == ranges

    @pytest.mark.parametrize(
        "text",
        ["a", "1,", ",1", "1,,2", "1-", "-1", "1--2", "1-2-3", "1.5", "1 2", "1234567", "٣", "1;2", "1,\x00", "*"],
    )
    def test_what_is_no_list(self, text: str) -> None:
        with pytest.raises(InvalidInput, match=r"^runs: "):
            Numbers.parse(text, "runs")
        assert not re.fullmatch(NUMBERS_PATTERN, text, re.ASCII)

    def test_backwards(self) -> None:
        with pytest.raises(InvalidInput, match="ends before it begins"):
            Numbers.parse("10-9")

    @pytest.mark.timeout(60)  # a pattern that goes back and forth would take years
    def test_long_nonsense_is_refused(self) -> None:
        with pytest.raises(InvalidInput):
            Numbers.parse("1 - 2 , " * 5000 + "x")

    def test_members(self) -> None:
        numbers = Numbers.parse("5, 1-3, 2-4")
        assert [n for n in range(10) if n in numbers] == list(numbers) == [1, 2, 3, 4, 5]
        assert not numbers.everything

    def test_empty_means_all(self) -> None:
        assert 123456 in Numbers()
        assert Numbers().everything
        assert list(Numbers()) == []

    @pytest.mark.parametrize("text", ["94", "94, 1000-1010"])
    def test_text_is_read_back(self, text: str) -> None:
        assert str(Numbers.parse(text)) == text

    def test_text_of_all(self) -> None:
        assert str(Numbers()) == "all"


class TestSelection:
    def test_everything(self) -> None:
        selection = Selection.parse("dr12")
        assert selection == Selection(Release(12))
        assert str(selection) == "dr12, runs all, camcols all, fields all, bands ugriz"
        assert FrameId.parse("dr12-301-000094-1-0012-r") in selection
        assert FrameId.parse("dr13-301-000094-1-0012-r") not in selection

    @pytest.mark.parametrize(
        ("frame", "inside"),
        [
            ("dr7-40-004192-4-0300-r", True), ("dr7-44-004193-3-0300-g", True), ("dr7-40-004194-4-0300-r", False),
            ("dr7-40-004192-5-0300-r", False), ("dr7-40-004192-4-0301-r", False), ("dr7-40-004192-4-0300-u", False),
            ("dr6-40-004192-4-0300-r", False),
        ],
    )  # fmt: skip
    def test_members(self, frame: str, inside: bool) -> None:
        assert (FrameId.parse(frame) in Selection.parse("dr7", "4192-4193", "3,4", "300", "rg")) is inside

    @pytest.mark.parametrize("bands", ["rgu", "u, g, r", "u g r", "uuggrr", " ugr "])
    def test_bands(self, bands: str) -> None:
        assert Selection.parse("dr12", bands=bands).bands == ("u", "g", "r")

    @pytest.mark.parametrize("bands", ["", None, " ", ","])
    def test_no_bands_means_all(self, bands: str | None) -> None:
        assert Selection.parse("dr12", bands=bands).bands == ("u", "g", "r", "i", "z")

    @pytest.mark.parametrize(
        ("texts", "sentence"),
        [
            ({"release": "dr19"}, "no SDSS data release 19"), ({"release": "x"}, "data release"),
            ({"runs": "x"}, "^runs: "),
            ({"camcols": "0"}, "^camcols: "), ({"camcols": "7"}, "^camcols: "), ({"camcols": "1-7"}, "^camcols: "),
            ({"fields": "10000"}, "^fields: "), ({"fields": "x"}, "^fields: "), ({"bands": "y"}, "^bands: "),
            ({"bands": "R"}, "^bands: "), ({"bands": "u;g"}, "^bands: "),
        ],
    )  # fmt: skip
    def test_refusals(self, texts: dict[str, str], sentence: str) -> None:
        with pytest.raises(InvalidInput, match=sentence):
            Selection.parse(**{"release": "dr12"} | texts)

    @pytest.mark.parametrize(
        ("runs", "fields", "by_name"), [("", "", False), ("94", "", False), ("", "11", False), ("94", "11", True)]
    )
    def test_by_name(self, runs: str, fields: str, by_name: bool) -> None:
        assert Selection.parse("dr12", runs=runs, fields=fields).by_name is by_name

    def test_is_a_value(self) -> None:
        assert len({Selection.parse("dr12", "94"), Selection.parse("DR12", " 94 ")}) == 1
