"""Checks of a batch before it is published, and their report."""

from kira.validation.batch import ExpectedFrame
from kira.validation.checks import Validation, examine, validate
from kira.validation.report import Check, Report, Severity
from kira.validation.thresholds import Ranges, Thresholds

__all__ = ["Check", "ExpectedFrame", "Ranges", "Report", "Severity", "Thresholds", "Validation", "examine", "validate"]
