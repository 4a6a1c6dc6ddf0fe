"""Profiles: named, read from TOML, hashed, and documented by what their classes say."""

from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest

from kira.errors import InvalidInput
from kira.extraction import Flag, Parameters, Profile, SurveyProfile
from kira.extraction.columns import QUANTITIES, SURVEY, survey_columns
from kira.extraction.profile import DEFAULT_ENGINE
from kira.extraction.profiles_page import as_toml, descriptions, page

PAGE = Path(__file__).parents[2] / "docs" / "profiles.md"
SURVEY_PROFILE = SurveyProfile()


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("name", "kind"), [("kira", Parameters), ("survey", SurveyProfile)])
def test_the_profiles_that_come_with_kira(tmp_path: Path, name: str, kind: type[Profile]) -> None:
    profile = Profile.named(name)
    assert type(profile) is kind
    assert (profile.name, profile.kind) == (name, name)
    assert Profile.load(write(tmp_path, as_toml(profile))) == profile
    assert Profile.from_dict(profile.as_dict()) == profile
    assert kind.named(name) == profile
    assert f"```toml\n{as_toml(profile)}```" in PAGE.read_text()


def test_a_kind_reads_itself_only() -> None:
    with pytest.raises(InvalidInput, match=r"^kind: 'survey' is not kira\.$"):
        Parameters.from_dict(SURVEY_PROFILE.as_dict())
    with pytest.raises(InvalidInput, match="There is no extraction profile 'survey': Kira has kira,"):
        Parameters.named("survey")
    with pytest.raises(InvalidInput, match=r"There is no extraction profile 'sdss': Kira has kira and survey"):
        Profile.named("sdss")


def test_the_hash_covers_all_but_the_name() -> None:
    assert hash(SURVEY_PROFILE) == hash(SurveyProfile())
    assert replace(SURVEY_PROFILE, name="mine").hash == SURVEY_PROFILE.hash
    assert replace(SURVEY_PROFILE, name="mine").slug == f"mine-{SURVEY_PROFILE.hash}"
    assert replace(SURVEY_PROFILE, apertures=[1, 1.5, 2, 3, 5, 7.43]).hash == SURVEY_PROFILE.hash
    with pytest.raises(FrozenInstanceError):
        SURVEY_PROFILE.dither = 0.0  # type: ignore[misc]
    other: dict[str, Any] = {
        "kernel": ((1.0,),), "apertures": (1.0,), "detection_noise": "global", "aperture_centre": "barycentre",
        "background": "mode", "engine": "fast",
    }  # fmt: skip
    seen = {SURVEY_PROFILE.hash, Parameters().hash}
    for field in fields(SURVEY_PROFILE):
        if field.name != "name":
            value = other.get(field.name) or getattr(SURVEY_PROFILE, field.name) + 1
            changed = replace(SURVEY_PROFILE, **{field.name: value}).hash
            assert changed not in seen, field.name
            seen.add(changed)


def test_a_file_says_what_differs(tmp_path: Path) -> None:
    path = write(tmp_path, 'kind = "survey"\nthreshold = 2\napertures = [1, 3]\nkernel = [[1, 1], [1, 1]]\n')
    profile = Profile.load(path)
    assert profile == SurveyProfile(
        name="mine", threshold=2.0, apertures=(1.0, 3.0), kernel=((1.0, 1.0), (1.0, 1.0)), engine=DEFAULT_ENGINE
    )
    assert profile.slug.startswith("mine-")
    assert Profile.load(write(tmp_path, "")) == Parameters(name="mine", engine=DEFAULT_ENGINE)
    assert Profile.load(write(tmp_path, "")).hash == Parameters.named("kira").hash


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("threshold = ", "is not TOML: "),
        ("[detection]\nthreshold = 2", "There are no extraction parameters detection in a profile of kind kira."),
        ("treshold = 2", "no extraction parameters treshold in a profile of kind kira; threshold may be meant."),
        ("apertures = [1.0]", "There are no extraction parameters apertures in a profile of kind kira."),
        ('kind = "deep"', "kind: 'deep' is not kira or survey."),
        ("kind = ['kira']", "kind: ['kira'] is not kira or survey."),
        ("mesh = 6.5", "mesh: 6.5 is not a whole number."),
        ('mesh = "64"', "mesh: '64' is not a number."),
        ("mesh = true", "mesh: True is not a number."),
        ("minarea = 0", "minarea: 0 is not above 0."),
        ("threshold = -1.5", "threshold: -1.5 is not above 0."),
        ("threshold = nan", "threshold: nan is not a number."),
        ("threshold = inf", "threshold: inf is not a number."),
        ("sub_object_limit = 40_000", "sub_object_limit: 40,000 is above 32,767."),
        ("kernel = [[1, 2], [3]]", "kernel: [[1, 2], [3]] is not a rectangle of numbers."),
        ("kernel = [[0, 0]]", "kernel: [[0, 0]] has no weights that can be normalised."),
        ("kernel = [[1, nan]]", "kernel: [[1, nan]] has no weights that can be normalised."),
        ("name = '../up'", "name: '../up' is not 1 to 40 letters, digits, dots, - or _ (it names a folder)."),
        ("name = 7", "name: 7 is not 1 to 40 letters"),
        ("kind = 'survey'\napertures = []", "apertures: [] is not a list of numbers."),
        ("kind = 'survey'\napertures = 'abc'", "apertures: 'abc' is not a list of numbers."),
        ("kind = 'survey'\napertures = [2.0, 1.0]", "apertures: [2.0, 1.0] are not increasing radii above 0."),
        ("kind = 'survey'\napertures = [0.0, 1.0]", "apertures: [0.0, 1.0] are not increasing radii above 0."),
        ("kind = 'survey'\napertures = [1.0, nan]", "apertures: [1.0, nan] are not increasing radii above 0."),
        ("kind = 'survey'\napertures = [1.0, inf]", "apertures: [1.0, inf] are not increasing radii above 0."),
        ("kind = 'survey'\naperture_centre = 'peak'", "aperture_centre: 'peak' is not windowed or barycentre."),
        ("kind = 'survey'\ndetection_noise = 1", "detection_noise: 1 is not map or global."),
        ("kind = 'survey'\nkron_subpix = 0", "kron_subpix: 0 is not above 0."),
        ("\x00", "is not TOML: "),
    ],
)  # fmt: skip
def test_a_file_that_makes_no_sense(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidInput) as refused:
        Profile.load(path)
    sentence = str(refused.value)
    assert sentence.startswith(str(path))
    assert says in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.toml cannot be read as a profile: No such file"):
        Profile.load(tmp_path / "nowhere.toml")
    with pytest.raises(InvalidInput, match="cannot be read as a profile: Is a directory"):
        Profile.load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(InvalidInput, match=r"latin\.toml is not TOML: "):
        Profile.load(tmp_path / "latin.toml")


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run: python -m kira.extraction.profiles_page docs/profiles.md"


def test_every_parameter_column_and_bit_is_explained() -> None:
    text = PAGE.read_text()
    for kind in (Parameters, SurveyProfile):
        said = descriptions(Profile) | descriptions(kind)
        assert [field.name for field in fields(kind) if not said.get(field.name)] == []
        assert set(said) == {field.name for field in fields(kind)}
    assert [one.name for one in QUANTITIES if f"| `{one.name}` |" not in text] == []
    assert [flag.name for flag in Flag if f"`{flag.name}` |" not in text] == []


def test_the_columns_follow_the_apertures() -> None:
    assert SURVEY.names == tuple(one.name for one in QUANTITIES)
    assert SURVEY["flux_aper"].shape == (len(SURVEY_PROFILE.apertures),)
    assert survey_columns(2)["flags_aper"].shape == (2,)
    assert len({one.name for one in QUANTITIES}) == len(QUANTITIES)
