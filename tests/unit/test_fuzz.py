"""Whatever bytes come as a frame, or beside one: rows of the catalogue, or an error of Kira's with one sentence.

Never a crash, a hang, or memory run out. `KIRA_FUZZ` is how many mutants are tried (2,000), `KIRA_FUZZ_SEED` which.
"""

import io
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import fuzzing
import numpy as np
import psutil
import pytest
from astropy.io import fits
from fuzzing import FPC, FRAME, GOOD, SEED, Case, ending, in_a_process, outcomes, pipeline
from images import frame_of

from kira.errors import BadFrame, ExtractionFailed
from kira.extraction import Profile, extract
from kira.extraction.limits import FrameLimits
from kira.frames import Companions, read_frame
from kira.frames.quick import read_known_layout

CASES, PARTS = int(os.environ.get("KIRA_FUZZ", "2000")), 8
CHOSEN = os.environ.get("KIRA_FUZZ_SEED", SEED)
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("part", range(PARTS))
def test_every_mutant_has_a_documented_ending(shared: Path, part: int) -> None:
    first, last = CASES * part // PARTS, CASES * (part + 1) // PARTS
    found = outcomes(in_a_process(shared, first, last, CHOSEN))
    for one in found:
        which = f"case {one['number']} of seed {CHOSEN!r}, {one['way']}"
        assert one["kind"] in GOOD, f"{which}: {one['kind']}: {one['said']}"
    assert sum(one["way"] == "pipeline" for one in found) == last - first
    if last - first > 100:  # mutants that are all refused would prove little
        kinds = [one["kind"] for one in found]
        assert min(kinds.count("sources"), kinds.count("BadFrame"), kinds.count("CorruptUpstream")) > 0.1 * len(kinds)


# -- the mutants are what they should be


def test_small_frames_are_good_ones_before_they_are_mutated(shared: Path) -> None:
    """Of the two layouts, with all that lies beside them; so that a mutant is near to what the pipeline takes."""
    fpc, frame, *others = fuzzing.bases(shared)
    assert [kind for kind, _ in fpc.beside] == ["tsfield", "psfield", "mask"]
    assert len(others) > 10
    with fuzzing.small_camera():
        for one in (fpc, frame):
            assert one.frame is not None
            assert read_known_layout(one.content, one.frame).data.shape == (256, 256)
            read = read_frame(one.content, one.frame, Companions(**dict(one.beside)))
            assert read.remarks == ()
            assert read.noise is not None
            assert ending(lambda one=one: pipeline(one)) == {"kind": "sources", "said": ""}  # type: ignore[misc]
        assert read.astrometry == "asTrans"
    with pytest.raises(BadFrame, match="shape"):
        read_frame(fpc.content, fpc.frame)


def test_a_number_is_always_the_same_mutant(shared: Path) -> None:
    originals = fuzzing.bases(shared)
    cases = [fuzzing.case(number, originals) for number in range(60)]
    assert cases == [fuzzing.case(number, originals) for number in range(60)]
    assert len({(one.content, one.beside) for one, _ in cases}) > 50
    assert len({what for _, what in cases}) > 5
    assert cases != [fuzzing.case(number, originals, "another") for number in range(60)]


def test_the_end_of_a_process_is_the_case_that_it_was_at() -> None:
    def ended(code: str) -> list[dict[str, object]]:
        lines = 'print("{\\"number\\": 7, \\"way\\": \\"pipeline\\"}", flush=True);'
        return outcomes([sys.executable, "-c", f"{lines} {code}"])

    (one,) = ended("import ctypes; ctypes.string_at(0)")
    assert (one["number"], one["kind"]) == (7, "the process ended with -11")
    (one,) = ended(
        "from kira.extraction.limits import FrameLimits\nwith FrameLimits(seconds=1).time(): import time; time.sleep(9)"
    )
    assert one["kind"] == "the process ended with 1"
    assert "Timeout (0:00:01)!" in str(one["said"])
    with pytest.raises(RuntimeError, match="ended with 3"):
        outcomes([sys.executable, "-c", "raise SystemExit(3)"])


# -- files that lie about their size


def image(**cards: object) -> bytes:
    """An image of 50 x 60, other values of whose cards are put in as they are."""
    out = io.BytesIO()
    fits.PrimaryHDU(np.random.default_rng(1).normal(size=(50, 60)).astype(np.float32)).writeto(out)
    return fuzzing._with_cards(out.getvalue(), **cards)


def table() -> bytes:
    out = io.BytesIO()
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])])])
    hdus.writeto(out)
    return out.getvalue()


def packed() -> bytes:
    out = io.BytesIO()
    data = np.arange(3000, dtype=np.int32).reshape(50, 60)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, compression_type="RICE_1")]).writeto(out)
    return out.getvalue()


def bare(**cards: int) -> bytes:
    """A header and no data."""
    lines = ["SIMPLE  =                    T", *(f"{key:<8}= {value:>20}" for key, value in cards.items()), "END"]
    return "".join(line.ljust(80) for line in lines).encode().ljust(2880)


LIARS = {
    "0 x 777777701": bare(BITPIX=-32, NAXIS=2, NAXIS1=0, NAXIS2=777_777_701),
    "777777701 x 0": bare(BITPIX=8, NAXIS=2, NAXIS1=777_777_701, NAXIS2=0),
    "777777701 x 777777701": image(NAXIS1=777_777_701, NAXIS2=777_777_701),
    "0 x 0": bare(BITPIX=16, NAXIS=2, NAXIS1=0, NAXIS2=0),
    "negative": image(NAXIS1=-60),
    "2^63 columns": image(NAXIS1=2**63),
    "2^31 axes": image(NAXIS=2**31),
    "2^31 axes of a table": table()[:2880] + fuzzing._with_cards(table()[2880:], NAXIS=2**31),
    "10^9 columns of a table": table()[:2880] + fuzzing._with_cards(table()[2880:], TFIELDS=10**9),
    "10^9 rows of a table": table()[:2880] + fuzzing._with_cards(table()[2880:], NAXIS2=10**9),
    "10^9 axes, compressed": packed()[:2880] + fuzzing._with_cards(packed()[2880:], ZNAXIS=10**9),
    "0 x 777777701, compressed": packed()[:2880] + fuzzing._with_cards(packed()[2880:], ZNAXIS1=0, ZNAXIS2=777_777_701),
    "tiles of 777777701, compressed": packed()[:2880] + fuzzing._with_cards(packed()[2880:], ZTILE1=777_777_701),
    "a heap behind the end of the world": packed()[:2880] + fuzzing._with_cards(packed()[2880:], PCOUNT=2**62),
}


def _more_than_now(limits: FrameLimits) -> FrameLimits:
    """What other tests left in this process does not count."""
    return replace(limits, memory_mb=limits.memory_mb + (psutil.Process().memory_info().data >> 20))


@pytest.mark.parametrize("name", LIARS)
@pytest.mark.parametrize("frame", [None, FPC, FRAME], ids=["image", "fpC", "frame"])
def test_a_file_that_lies_about_its_size_costs_nothing(name: str, frame: object) -> None:
    content = LIARS[name]
    assert len(content) % 2880 == 0
    ending(lambda: pipeline(Case("a.fits", packed(), None)))  # what is imported on the way is no cost of this file
    tracemalloc.start()
    try:
        with fuzzing.LIMITS.time(), _more_than_now(fuzzing.LIMITS).memory():
            found = ending(lambda: pipeline(Case("a.fits", content, frame)))  # type: ignore[arg-type]
        # Tiles that are larger than the image are cut to it.
        assert found["kind"] == ("sources" if name.startswith("tiles") and not frame else "BadFrame"), found
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


# -- numbers that are none


@pytest.mark.parametrize("profile", fuzzing.PROFILES, ids=lambda profile: profile.name)
def test_numbers_that_float32_cannot_add_up_are_no_pixels(profile: Profile) -> None:
    """The stars beside them are measured."""
    places = [(40.0 + 60 * i, 40.0 + 50 * j, 3000.0) for i in range(4) for j in range(3)]
    plain = frame_of(places)
    spoilt = plain.data.copy()
    chance = np.random.default_rng(4)
    for row in range(90, 200, 10):
        spoilt[row, ::7] = chance.choice([3e38, -3e38, 1e38, 2e20, -1e16, np.nan, np.inf], spoilt[row, ::7].size)
    found = extract(replace(plain, data=spoilt), profile).table
    for x, y, _ in places[::3]:  # the row of stars that has none of them
        assert np.hypot(found["x"] - x, found["y"] - y).min() < 0.3
    assert np.abs(found["peak"]).max() < 1e4
    with pytest.raises(ExtractionFailed, match="no pixel can be used"):
        extract(replace(plain, data=np.full_like(spoilt, 2e20)), profile)


def test_a_frame_that_was_sep_s_end(shared_sdss: Path) -> None:
    """A full one, in which a few hundred numbers are none or near float32's largest: a segmentation fault, once."""
    code = f"""
import random, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from fuzzing import FRAME, PROFILES, bits, noise, numbers
from kira.extraction import extract
from kira.frames import read_frame
from real_frames import plain
chance, content = random.Random("full 20"), plain(Path({str(shared_sdss)!r}), str(FRAME))
chance.choice([0, 1])
for _ in range(chance.choice([1, 3, 10])):
    content = chance.choice([numbers, noise, bits])(bytearray(content), chance)
frame = read_frame(content, FRAME)
known = frame.data[frame.data == frame.data]
print(abs(known).max() > 1e38, *(extract(frame, one).n_sources > 500 for one in PROFILES))
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=fuzzing._environment())
    assert (done.returncode, done.stdout) == (0, "True True True\n"), done.stderr


# -- files of others


def test_odd_files_as_they_are(shared: Path, tmp_path: Path) -> None:
    for path in sorted((shared / "fits" / "odd").glob("*.fits")):
        one = Case(path.name, path.read_bytes(), None)
        for go in (lambda one=one: pipeline(one), lambda one=one: fuzzing.laptop(one, tmp_path)):
            assert ending(go)["kind"] in GOOD, path.name
        assert ending(lambda one=one: pipeline(Case(one.name, one.content, FPC)))["kind"] == "BadFrame"
