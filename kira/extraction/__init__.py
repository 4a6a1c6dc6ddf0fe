"""Pixels to sources: profiles, detection, photometry, flags."""

from kira.extraction.columns import COLUMNS, SURVEY
from kira.extraction.flags import Flag
from kira.extraction.parameters import Parameters
from kira.extraction.profile import Profile
from kira.extraction.sources import Extraction, extract
from kira.extraction.survey_profile import SurveyProfile

__all__ = ["COLUMNS", "SURVEY", "Extraction", "Flag", "Parameters", "Profile", "SurveyProfile", "extract"]
