"""Releases, identifiers, selections, field lists and the archive client."""

from kira.sdss.identifiers import BANDS, Band, FrameId
from kira.sdss.releases import ALL_RELEASES, Release, Service
from kira.sdss.selection import Numbers, Selection
from kira.sdss.sky import SkyRegion

__all__ = ["ALL_RELEASES", "BANDS", "Band", "FrameId", "Numbers", "Release", "Selection", "Service", "SkyRegion"]
