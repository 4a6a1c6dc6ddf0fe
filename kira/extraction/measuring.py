"""Measuring the sources that can be measured: SEP raises, and with it loses the frame, for one that cannot."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kira.extraction.flags import Flag

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]


def measure_valid(
    valid: Bools, measure: Callable[..., Sequence[npt.NDArray[Any]]], columns: Sequence[npt.NDArray[Any]]
) -> list[npt.NDArray[Any]]:
    """Measure the valid rows only.

    Parameters
    ----------
    valid : numpy.ndarray of bool, shape (n,)
    measure : callable
        Given the columns' valid rows it returns arrays of as many rows; the last are flag bits.
    columns : sequence of numpy.ndarray, each of shape (n,)

    Returns
    -------
    list of numpy.ndarray
        As `measure` returned them, with n rows: in those that are not valid NaN, and the flag NOT_MEASURED.
    """
    *results, flags = (np.asarray(one) for one in measure(*(column[valid] for column in columns)))
    filled: list[npt.NDArray[Any]] = []
    for values in results:
        column = np.full((len(valid), *values.shape[1:]), np.nan)
        column[valid] = values
        filled.append(column)
    bits = np.full((len(valid), *flags.shape[1:]), int(Flag.NOT_MEASURED), dtype=np.int32)
    bits[valid] = flags
    return [*filled, bits]
