"""Alternation, repeats, and what is said of repeated numbers."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """What is said of a measurement that was repeated.

    Parameters
    ----------
    median, least, most : float
    mad : float
        Median of the absolute deviations from the median.
    repeats : int
    """

    median: float
    least: float
    most: float
    mad: float
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Sum up values, at least one."""
        middle = statistics.median(values)
        mad = statistics.median(abs(value - middle) for value in values)
        return cls(middle, min(values), max(values), mad, len(values))

    def as_dict(self) -> dict[str, Any]:
        """For the report's JSON."""
        return asdict(self)

    def text(self, digits: int = 3) -> str:
        """Median, with the least and the most where there are several."""
        middle = _figures(self.median, digits)
        if self.repeats == 1:
            return middle
        return f"{middle} ({_figures(self.least, digits)}–{_figures(self.most, digits)})"


def _figures(value: float, digits: int) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def order(names: Sequence[str], repeats: int) -> Iterator[tuple[int, str]]:
    """In which order contenders take their turns.

    Each round has every one once, so that a busy moment of the machine hits all alike; each begins with another one, so
    that none always follows the same neighbour.

    Yields
    ------
    number : int
        Of the round, from 0.
    name : str
    """
    for number in range(repeats):
        first = number % len(names) if names else 0
        yield from ((number, name) for name in (*names[first:], *names[:first]))


def alternate(
    calls: Mapping[str, Callable[[int], T]], repeats: int, tell: Callable[[str, int, T], None] | None = None
) -> dict[str, list[T]]:
    """Call everything `repeats` times, in alternation.

    Parameters
    ----------
    calls : mapping of str to callable
        Each is given the number of its round.
    repeats : int
    tell : callable, optional
        Given name, round and result of each.
    """
    results: dict[str, list[T]] = {name: [] for name in calls}
    for number, name in order(list(calls), repeats):
        result = calls[name](number)
        results[name].append(result)
        if tell:
            tell(name, number, result)
    return results
