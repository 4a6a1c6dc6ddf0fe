from datetime import date

import pytest

from kira.errors import InvalidInput
from kira.sdss import ALL_RELEASES, Release, Service

ROOTS = (
    dict.fromkeys(range(1, 8), "imaging")
    | {n: f"dr{n}/boss" for n in range(8, 13)}
    | {n: f"dr{n}/eboss" for n in range(13, 18)}
    | {18: "dr18/prior-surveys/sdss4-dr17-eboss"}
)


@pytest.mark.parametrize("release", ALL_RELEASES, ids=str)
def test_every_release(release: Release) -> None:
    in_das = release.number <= 7
    assert release.service is (Service.DAS if in_das else Service.SAS)
    assert release.root == ROOTS[release.number]
    assert release.reruns == ((40, 41, 42, 44) if in_das else (301,))
    assert release.frames_root == (release.root if in_das else f"{release.root}/photoObj/frames")
    assert Release.parse(str(release)) == release


def test_all_of_them_in_order() -> None:
    assert [r.number for r in ALL_RELEASES] == list(range(1, 19))
    assert sorted(reversed(ALL_RELEASES)) == list(ALL_RELEASES)
    assert len(set(ALL_RELEASES)) == 18


@pytest.mark.parametrize("text", ["dr12", "DR12", "Dr12", "12", " dr12\n"])
def test_ways_to_write_it(text: str) -> None:
    assert Release.parse(text) == Release(12)


@pytest.mark.parametrize(
    "text",
    ["", "dr", "dr0", "dr19", "dr123", "-1", "1.5", "dr 12", "dr12x", "xdr12", "edr", "dr-1", "١٢", "dr12\ndr13"],
)
def test_what_is_no_release(text: str) -> None:
    with pytest.raises(InvalidInput, match="data release"):
        Release.parse(text)


@pytest.mark.parametrize("number", [-1, 0, 19, 100])
def test_numbers_out_of_range(number: int) -> None:
    with pytest.raises(InvalidInput):
        Release(number)


def test_each_release_has_a_date_of_its_own() -> None:
    dates = [release.date for release in ALL_RELEASES]
    assert dates == sorted(set(dates))
    assert [Release.of_date(day) for day in dates] == list(ALL_RELEASES)


def test_no_release_on_that_date() -> None:
    with pytest.raises(InvalidInput, match=r"No SDSS data release is dated 2008-10-30; the nearest is dr7.*2008-10-31"):
        Release.of_date(date(2008, 10, 30))
