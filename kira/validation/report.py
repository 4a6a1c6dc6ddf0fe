"""What validation found: checks, and the one sentence that a person reads."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kira.validation.figures import BandFigures


class Severity(StrEnum):
    """What a failed check means for a batch."""

    ERROR = "error"
    """The batch must not be published."""
    WARNING = "warning"
    """The batch may be published; somebody should look at the frame."""


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Parameters
    ----------
    name : str
    passed : bool
    detail : str
        What was found, for a person; of the first failing frame, if it failed.
    severity : Severity
        What it means that it failed; says nothing where it passed.
    frame : str, optional
        The first failing frame, where it failed on a frame.
    """

    name: str
    passed: bool
    detail: str
    severity: Severity = Severity.ERROR
    frame: str | None = None


@dataclass(frozen=True)
class Report:
    """All checks of a batch.

    Parameters
    ----------
    checks : tuple of Check
        In the order in which they ran.
    frames, sources : int
        How many frames were expected, and how many rows the table has.
    figures : tuple of BandFigures, optional
        What was measured, by band; empty where the schema is wrong.
    """

    checks: tuple[Check, ...]
    frames: int
    sources: int
    figures: "tuple[BandFigures, ...]" = ()

    @property
    def ok(self) -> bool:
        """Whether the batch is fit to be published: no check failed, other than with a warning."""
        return all(check.passed or check.severity is Severity.WARNING for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """Checks that did not pass, errors first."""
        return tuple(
            sorted((c for c in self.checks if not c.passed), key=lambda check: check.severity is Severity.WARNING)
        )

    @property
    def caveats(self) -> tuple[str, ...]:
        """A sentence for each check that warns: what a reader of the catalogue should know."""
        return tuple(_said(check) for check in self.failed if check.severity is Severity.WARNING)

    def sentence(self) -> str:
        """Say in one sentence how it went, naming the first failing check and frame."""
        batch = f"{_count(self.frames, 'frame')}, {_count(self.sources, 'source')}"
        if not self.failed:
            return f"All {len(self.checks)} checks passed ({batch})."
        more = f"; {_count(len(self.failed) - 1, 'other check')} did not pass" if len(self.failed) > 1 else ""
        return f"{_said(self.failed[0], end='')}{more} ({batch})."

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON; what is not a number is None."""
        values = {"ok": self.ok, "sentence": self.sentence(), "caveats": list(self.caveats), **asdict(self)}
        plain: dict[str, Any] = _for_json(values)
        return plain


def _said(check: Check, end: str = ".") -> str:
    verb = "failed" if check.severity is Severity.ERROR else "warns"
    where = f" on {check.frame}" if check.frame else ""
    return f"Check {check.name} {verb}{where}: {check.detail}{end}"


def _for_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _for_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
