"""Flag bits of the sources: SEP's own, and Kira's beside them."""

import inspect
import re
from enum import IntFlag
from functools import cache


class Flag(IntFlag):
    """Bits of all flag columns: up to 0x80 SEP's own (sep.h, version 1.4), from 0x100 Kira's."""

    MERGED = 0x01
    """The source is the result of deblending: one of several that were one above the threshold."""
    TRUNCATED = 0x02
    """The source's own pixels reach the edge of the image."""
    DEBLEND_OVERFLOW = 0x04
    """Too many branches while deblending."""
    SINGULAR = 0x08
    """x and y are fully correlated: a source on one line of pixels."""
    APERTURE_TRUNCATED = 0x10
    """The aperture reaches beyond the image."""
    APERTURE_MASKED = 0x20
    """Part of the aperture is masked; SEP takes the mean of the rest for it."""
    APERTURE_ALL_MASKED = 0x40
    """All of the aperture is masked."""
    APERTURE_NON_POSITIVE = 0x80
    """Negative or no flux in the ellipse of the Kron radius: SEP's radius is 0."""
    NOT_MEASURED = 0x100
    """Kira: the measurement has no valid input here (no ellipse, no radius, no scale): its numbers are NaN."""
    SATURATED = 0x200
    """Kira: a saturated pixel is among the source's own, or touches them."""
    MASKED = 0x400
    """Kira: a masked pixel touches the source's own pixels."""
    NEAR_EDGE = 0x800
    """Kira: the source (TRUNCATED) or its AUTO ellipse (APERTURE_TRUNCATED) reaches the edge of the image."""
    CROWDED_LIMITS_RAISED = 0x1000
    """Kira: SEP's limits had to be raised for this frame, above those of the profile; set on all of its sources."""
    NEIGHBOURS = 0x2000
    """Kira: more than a tenth of the AUTO ellipse are pixels of other sources; its flux is theirs in part."""
    WINDOW_FAILED = 0x4000
    """Kira: the windowed position ran out of the source or has no flux; it is the barycentre instead."""


@cache
def meanings() -> dict[Flag, str]:
    """What each bit says; the docstrings stand below each in the source, as Sphinx reads them."""
    said = dict(re.findall(r'^    (\w+) = 0x\w+\n    """(.*)"""', inspect.getsource(Flag), flags=re.MULTILINE))
    return {flag: said[str(flag.name)] for flag in Flag}
