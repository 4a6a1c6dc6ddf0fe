"""The fast engine's detection is SEP's, bit for bit: on all real frames, and on synthetic images of all kinds."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sep
from fast_images import Drawn, drawn, sep_extract
from real_frames import COUNTS, frame, full_frame

from kira.extraction import Parameters, Profile, SurveyProfile
from kira.extraction.detection import quantum, subtract_background
from kira.extraction.fast.branches import count_maxima, grow, thresholds_between
from kira.extraction.fast.components import components
from kira.extraction.fast.convolution import normalised, runs_above
from kira.extraction.fast.detection import DETECTION, _listed, extract
from kira.extraction.noise import unusable, without_value
from kira.extraction.sep_engine import SepEngine

PROFILE = Parameters()
ROUGH = tuple(tuple(float(1 + (3 * i + j) % 4) - 0.5 * (i == j) for j in range(7)) for i in range(5))


@pytest.fixture(autouse=True)
def _room_for_sep() -> Iterator[None]:
    before = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    sep.set_sub_object_limit(4096)
    yield
    sep.set_extract_pixstack(before[0])
    sep.set_sub_object_limit(before[1])


def assert_same(image: Drawn, profile: Profile = PROFILE) -> int:
    """Compare all columns, bits and segments with SEP's; return how many sources there are."""
    detections, segments = extract(image.pixels, profile.threshold, image.noise, image.mask, profile)
    expected, map_expected = sep_extract(image, profile)
    assert detections.dtype == DETECTION == expected.dtype
    assert len(detections) == len(expected)
    for name in DETECTION.names or ():
        np.testing.assert_array_equal(detections[name], expected[name], err_msg=name)
    np.testing.assert_array_equal(segments, map_expected)
    assert segments.dtype == np.int32
    return len(detections)


@pytest.mark.parametrize("text", COUNTS)
def test_a_real_frame_is_the_same_by_the_profile_kira(shared_sdss: Path, text: str) -> None:
    image = frame(shared_sdss, text)
    mask = without_value(image.data)
    background, pixels = subtract_background(SepEngine(), image.data, mask if mask.any() else None, PROFILE)
    found = assert_same(Drawn(pixels, background.globalrms, mask if mask.any() else None))
    assert found == COUNTS[text]


@pytest.mark.parametrize("text", [text for text in COUNTS if text.endswith("r")])
def test_a_real_frame_is_the_same_by_the_profile_survey(shared_sdss: Path, text: str) -> None:
    """With a mask, and a threshold for each pixel."""
    image, profile = full_frame(shared_sdss, text), SurveyProfile()
    mask = unusable(image)
    background, pixels = subtract_background(
        SepEngine(), image.data, mask if mask.any() else None, profile, profile.dither * quantum(image)
    )
    mask[0] = False
    assert assert_same(Drawn(pixels, background.noise(), mask if mask.any() else None), profile) > 200


def test_synthetic_images_are_the_same() -> None:
    """300 images: blends and plateaus, cut by the edge and by masks, whole numbers, noise of every pixel's own."""
    assert sum(assert_same(drawn(seed)) for seed in range(300)) > 3000


@pytest.mark.parametrize(
    "changes",
    [
        {"deblend_levels": 1},
        {"deblend_levels": 2},
        {"deblend_levels": 64, "deblend_contrast": 1e-5},
        {"deblend_contrast": 1.0},
        {"minarea": 1},
        {"minarea": 2, "deblend_contrast": 1e-4},
        {"minarea": 40},
        {"clean": 0.0},
        {"clean": 0.3},
        {"clean": 2.5},
        {"threshold": 0.4},
        {"threshold": 20.0},
        {"kernel": ((1.0,),)},
        {"kernel": ((1.0, 2.0, 1.0),)},
        {"kernel": ((1.0, 2.0), (3.0, 1.0))},
        {"kernel": ROUGH},
        {"kernel": ((0.1, 0.2, -0.1), (0.7, 1.1, 0.3), (0.2, 0.6, 0.1))},
    ],
    ids=str,
)
def test_other_parameters_are_taken_as_sep_takes_them(changes: dict[str, object]) -> None:
    profile = replace(PROFILE, **changes)
    for seed in range(500, 515):
        assert_same(drawn(seed), profile)


def test_a_component_with_one_maximum_cannot_split() -> None:
    """Why deblending passes over them: grown all the same, at 256 levels and with any flux counting, none splits."""
    found = 0
    for seed in range(60):
        image = drawn(seed)
        mask = np.zeros((0, 0), dtype=bool) if image.mask is None else image.mask
        noise, own = np.atleast_2d(np.asarray(image.noise, dtype=np.float32)), not isinstance(image.noise, float)
        *runs, values = runs_above(image.pixels, mask, noise, own, np.float32(1.5), normalised(PROFILE.kernel))
        ends, pieces = components(*runs, image.pixels.shape[1], 1)
        xs, ys, _, filtered, _ = _listed(ends, pieces, values, image.pixels, mask, noise, own)
        first = 0
        for npix in ends[:, 2]:
            x, y, light = (one[first : first + npix] for one in (xs, ys, filtered))
            first += npix
            numbers = np.zeros(image.pixels.shape, dtype=np.int32)
            numbers[y, x] = np.arange(1, npix + 1)
            if count_maxima(numbers, x, y, light) == 1:
                found += 1
                thresholds = thresholds_between(np.float32(light.min() * 0.99), light.max(), 256)
                nodes, owners = grow(numbers, x, y, light, thresholds, 1, -np.inf, npix)
                assert len(nodes) == 1
                assert not owners.any()
    assert found > 500


@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (60, 1), (2, 2), (3, 300), (300, 3), (8, 8), (5, 64)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(4)
    for level in (0.0, 1.5, 100.0):
        pixels = (level + random.normal(size=shape)).astype(np.float32)
        for profile in (PROFILE, replace(PROFILE, minarea=1, kernel=ROUGH, deblend_contrast=1e-6)):
            assert_same(Drawn(pixels, 1.0, None), profile)


def test_images_above_and_below_the_threshold() -> None:
    random = np.random.default_rng(5)
    noise = random.normal(size=(90, 120)).astype(np.float32)
    ramp = np.add.outer(np.arange(90), np.arange(120)).astype(np.float32) + 5
    for pixels in (noise + 100, noise - 100, np.full_like(noise, 7.0), np.zeros_like(noise), ramp):
        assert_same(Drawn(pixels, 1.0, None))


def test_sources_behind_a_mask_and_noise_that_is_none() -> None:
    image = drawn(7)
    everything = np.ones(image.pixels.shape, dtype=bool)
    assert len(extract(image.pixels, 1.5, 1.0, everything, PROFILE)[0]) == 0
    noise = np.ones(image.pixels.shape, dtype=np.float32)
    noise[::3], noise[1::5], noise[2::7] = np.nan, np.inf, 0.0
    for value in (0.0, np.nan, np.inf, noise):
        assert_same(Drawn(image.pixels, value, None))


def test_pixels_without_value() -> None:
    random = np.random.default_rng(6)
    for bad in (np.nan, np.inf, -np.inf, 1e30, -1e30):
        image = drawn(11)
        image.pixels[random.random(image.pixels.shape) < 0.01] = bad
        detections, segments = extract(image.pixels, 1.5, 1.0, None, PROFILE)
        assert segments.max() == len(detections)
        if not bad > 0:
            assert_same(image)


def test_the_order_of_memory_does_not_matter() -> None:
    image = drawn(12)
    expected, segments = extract(image.pixels, 1.5, image.noise, image.mask, PROFILE)
    turned = [None if one is None else np.asfortranarray(one) for one in (image.pixels, image.noise, image.mask)]
    found, other = extract(turned[0], 1.5, turned[1], turned[2], PROFILE)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(segments, other)
    with pytest.raises(ValueError, match="shape"):
        extract(image.pixels, 1.5, 1.0, np.zeros((2, 2), dtype=bool), PROFILE)


def test_a_mask_of_the_first_row_counts_though_sep_does_not_heed_it() -> None:
    """SEP reads the first rows under the kernel before it applies the mask (arraybuffer_init in extract.c)."""
    pixels = np.zeros((40, 50), dtype=np.float32)
    pixels[0, 10:30] = 1000.0
    mask = pixels > 0
    assert len(extract(pixels, 1.5, 1.0, mask, PROFILE)[0]) == 0
    assert len(sep_extract(Drawn(pixels, 1.0, mask), PROFILE)[0]) == 1
    image = drawn(20)
    assert image.mask is not None
    image.mask[0, ::2] = True
    hidden = Drawn(np.where(image.mask, np.float32(0), image.pixels), image.noise, image.mask)
    for found, expected in zip(
        extract(image.pixels, 1.5, 1.0, image.mask, PROFILE), sep_extract(hidden, PROFILE), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
