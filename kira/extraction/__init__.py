"""Pixels to sources: parameters, detection, photometry."""

from kira.extraction.columns import COLUMNS, Flag
from kira.extraction.parameters import Parameters
from kira.extraction.sources import Extraction, extract

__all__ = ["COLUMNS", "Extraction", "Flag", "Parameters", "extract"]
