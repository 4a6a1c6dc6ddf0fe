"""The fast engine against SEP: the same detections, flags and areas, and the same numbers but for rounding."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fast_frames import odd, synthetic
from real_frames import COUNTS, M2, full_frame

from kira.errors import ExtractionFailed, InvalidInput
from kira.extraction import Extraction, Parameters, Profile, SurveyProfile, extract
from kira.extraction.profile import DEFAULT_ENGINE
from kira.extraction.profiles_page import as_toml
from kira.frames import Frame

pytest.importorskip("numba")

KINDS: tuple[Profile, ...] = (Parameters(), SurveyProfile())
TOLERANCES = {
    "x_win": 3e-6, "y_win": 3e-6, "x_win_err": 1e-6, "y_win_err": 1e-6, "xy_win_cov": 1e-6,  # pixels
    "xy_cov": 1e-9,  # pixels squared
    "r20": 3e-6, "r50": 3e-6, "r80": 3e-6, "auto_scale": 3e-6, "point_like": 3e-5,
}  # fmt: skip
"""Absolute; a flux may differ by this part of its error, which is what rounding the sky to float32 does to it."""
OF_ERROR = 1e-5
ERRORS = {
    "flux_iso": "fluxerr_iso", "flux_auto": "fluxerr_auto", "flux_aper": "fluxerr_aper", "flux_star": "fluxerr_star",
    "fluxerr_star": "fluxerr_star", "star_factor_err": "star_factor_err", "peak": "background_rms",
    "background": "background_rms",
}  # fmt: skip


def both(frame: Frame, profile: Profile) -> tuple[Extraction, Extraction]:
    return extract(frame, replace(profile, engine="sep")), extract(frame, replace(profile, engine="fast"))


def agree(sep: Extraction, fast: Extraction) -> list[str]:
    """Columns that differ by more than rounding."""
    assert sep.n_sources == fast.n_sources
    assert (sep.background, sep.rms, sep.limits) == (fast.background, fast.rms, fast.limits)
    one, other = sep.table, fast.table
    return [name for name in one.dtype.names or () if not _agree(name, one, other)]


def _agree(name: str, one: Any, other: Any) -> bool:
    here, there = one[name], other[name]
    if np.array_equal(here, there, equal_nan=here.dtype.kind == "f"):
        return True
    if here.dtype.kind != "f" or not np.array_equal(np.isnan(here), np.isnan(there)):
        return False
    least = TOLERANCES.get(name, 0.0)
    scale = one[ERRORS[name]] * OF_ERROR if name in ERRORS else 0.0
    with np.errstate(invalid="ignore"):
        apart = np.abs(here - there)
    return bool(np.all((apart <= least + scale + 3e-7 * np.abs(here)) | (here == there) | np.isnan(here)))


@pytest.mark.parametrize("number", range(0, 200, 10))
def test_synthetic_frames(number: int) -> None:
    for one in range(number, number + 10):
        for profile in KINDS:
            assert agree(*both(synthetic(one), profile)) == [], (one, profile.kind)


def test_kiras_numbers_are_bit_for_bit() -> None:
    for one in range(60):
        sep, fast = both(synthetic(one), Parameters())
        assert sep.table.tobytes() == fast.table.tobytes()


@pytest.mark.parametrize("text", [text for text in COUNTS if text != M2])
def test_real_frames(shared_sdss: Path, text: str) -> None:
    image = full_frame(shared_sdss, text)
    sep, fast = both(image, Parameters())
    assert sep.table.tobytes() == fast.table.tobytes()
    assert agree(*both(image, SurveyProfile())) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"aperture_subpix": 0, "kron_subpix": 4}, {"aperture_subpix": 11, "mesh": 50, "mesh_filter": 4},
        {"background": "mode", "dither": 0.0}, {"aperture_centre": "barycentre", "detection_noise": "global"},
        {"mesh": 400, "background_growth": 3}, {"mesh": 7, "kron_range": 20.0, "apertures": [1.0, 40.0]},
    ],
)  # fmt: skip
def test_other_parameters(changes: dict[str, Any]) -> None:
    for one in range(8):
        assert agree(*both(synthetic(one), replace(SurveyProfile(), **changes))) == [], one


@pytest.mark.parametrize("profile", KINDS)
def test_odd_frames_end_alike(profile: Profile) -> None:
    for number, frame in enumerate(odd()):
        ends = []
        for engine in ("sep", "fast"):
            try:
                ends.append(extract(frame, replace(profile, engine=engine)))
            except ExtractionFailed as error:
                ends.append(str(error))
        sep, fast = ends
        if isinstance(sep, str):
            assert sep == fast, number
        else:
            assert not isinstance(fast, str), fast
            assert agree(sep, fast) == [], number


def test_pixels_that_may_not_be_written() -> None:
    frame = synthetic(3)
    frame.data.flags.writeable = False
    before = frame.data.copy()
    extract(frame, SurveyProfile(engine="fast"))
    assert np.array_equal(frame.data, before, equal_nan=True)


def test_a_profile_says_which(tmp_path: Path) -> None:
    for profile in KINDS:
        fast = replace(profile, engine="fast")
        assert "engine" not in profile.json
        assert fast.hash != profile.hash
        assert Profile.from_dict(fast.as_dict()) == fast
        assert Profile.named(profile.kind).engine == DEFAULT_ENGINE
        for one in (profile, fast):
            (tmp_path / "mine.toml").write_text(as_toml(one))
            assert Profile.load(tmp_path / "mine.toml") == one
        # What was stored before there was a choice was measured by SEP.
        older = {key: value for key, value in fast.as_dict().items() if key != "engine"}
        assert Profile.from_dict(older) == profile
    (tmp_path / "mine.toml").write_text("")
    assert Profile.load(tmp_path / "mine.toml").engine == DEFAULT_ENGINE
    (tmp_path / "mine.toml").write_text("engine = 'slow'")
    with pytest.raises(InvalidInput, match=r"engine: 'slow' is not sep or fast\."):
        Profile.load(tmp_path / "mine.toml")


def test_no_kernel_is_compiled_twice(shared_sdss: Path) -> None:
    """Whatever frame comes, the trial at the first start has compiled all that it needs."""
    from kira.extraction.compiled import ready

    ready()
    script = """
import sys
from pathlib import Path
import numba
from kira.extraction.fast.trial import run_all
from kira.extraction import Parameters, SurveyProfile, extract
from real_frames import full_frame
run_all()
def signatures():
    return {f"{name}.{key}": len(value.signatures) for name, module in list(sys.modules.items())
            if name.startswith("kira.extraction.fast") for key, value in vars(module).items()
            if isinstance(value, numba.core.dispatcher.Dispatcher)}
before = signatures()
assert len(before) > 40, before
for text in sys.argv[2:]:
    for profile in (Parameters(engine="fast"), SurveyProfile(engine="fast")):
        extract(full_frame(Path(sys.argv[1]), text), profile)
after = signatures()
assert before == after, {name: after[name] for name in after if after[name] != before.get(name)}
hits = sum(sum(value.stats.cache_misses.values()) for module in list(sys.modules.values())
           if module.__name__.startswith("kira.extraction.fast") for value in vars(module).values()
           if isinstance(value, numba.core.dispatcher.Dispatcher))
assert hits == 0, f"{hits} were not found in the folder of compiled kernels"
"""
    frames = ["dr7-40-004192-4-0300-u", "dr12-301-000094-1-0012-u"]
    done = subprocess.run(
        [sys.executable, "-c", script, str(shared_sdss), *frames], check=False, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
