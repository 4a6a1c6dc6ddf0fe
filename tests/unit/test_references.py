"""Real frames against what others measured on the same sky; figures in docs/comparison.md."""

from pathlib import Path

import numpy as np
import pytest
from references import (
    against_photo_obj,
    against_stripe_82,
    dr12,
    lsst_found,
    near,
    photo_obj,
)

from kira.validation.reference import completeness

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("band", "ugriz")
def test_stars_have_the_magnitudes_of_photo_obj(shared_sdss: Path, band: str) -> None:
    """Run 94, field 12 of DR12, which photo calibrated as its frames are."""
    found = against_photo_obj(shared_sdss, band)
    assert found.star.number > 35
    assert abs(found.star.median) < 0.02
    assert found.star.scatter < 0.025
    # What one circle can do: the same light, but with 1,100 pixels of sky.
    assert found.magnitudes[6].scatter > 2 * found.star.scatter
    assert abs(found.magnitudes[6].median) < 0.02 + 2 * found.magnitudes[6].error


@pytest.mark.parametrize(("band", "most"), [("u", 0.05), ("g", 0.02), ("r", 0.04), ("i", 0.04), ("z", 0.04)])
def test_stars_have_the_magnitudes_of_stripe_82(shared_sdss: Path, band: str, most: float) -> None:
    """Run 4192, field 300 of DR7: its tsField's zero points err by 0.01 (g r i) to 0.03 mag (u), as an rms of all runs.

    The difference is one for all stars, bright and faint, whatever the circle: a zero point, not a measurement. Only g
    is within 0.02; the limits hold what was found.
    """
    found = against_stripe_82(shared_sdss, band)
    assert found.star.number >= 10
    assert abs(found.star.median) < most
    assert found.star.scatter < 0.02
    bright, faint = found.halves
    assert bright.median == pytest.approx(faint.median, abs=0.01 + 2 * np.hypot(bright.error, faint.error))
    assert found.magnitudes[6].median == pytest.approx(found.star.median, abs=0.01 + 2 * found.magnitudes[6].error)


def test_objects_of_photo_obj_are_found(shared_sdss: Path) -> None:
    """To r = 18 all, to 21 at least 98 %, to 22 at least 97 %: of 43, 233 and 427."""
    objects = photo_obj(shared_sdss)
    found = near(dr12(shared_sdss, "r"), objects["RA"], objects["DEC"], 2.0)
    counted = completeness(found, np.asarray(objects["PSFMAG"][:, 2]), (14, 18, 20, 21, 22))
    for last, there, least in ((1, 43, 1.0), (3, 233, 0.98), (4, 427, 0.97)):
        assert sum(one.there for one in counted[:last]) == there
        assert sum(one.found for one in counted[:last]) >= least * there


@pytest.mark.parametrize("band", "ugriz")
def test_what_the_lsst_stack_found_is_found(shared_sdss: Path, band: str) -> None:
    found, there = lsst_found(shared_sdss, band)
    assert there > 40
    assert found >= 0.98 * there
