"""Types of what the kernels take, and how arrays become them: one layout each, so that no kernel is compiled twice."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from numba import types

from kira.extraction.measuring import Bools, Floats
from kira.extraction.noise import Image

_F = TypeVar("_F", bound=Callable[..., Any])

Bytes = npt.NDArray[np.uint8]


def _read(dtype: Any, ndim: int) -> Any:
    """Array that is only read; arrays that can be written are taken too."""
    return types.Array(dtype, ndim, "C", readonly=True)


IMAGE, MASK, SEGMENTS = _read(types.float32, 2), _read(types.uint8, 2), _read(types.int32, 2)
COLUMN, ROW, INDICES = _read(types.float64, 1), _read(types.float32, 1), _read(types.int64, 1)
TABLE = _read(types.float64, 2)
OUT_IMAGE, OUT_MASK = types.float32[:, ::1], types.uint8[:, ::1]
OUT_TABLE, OUT_COLUMN, OUT_ROW = types.float64[:, ::1], types.float64[::1], types.float32[::1]
FLAGS, FLAG_TABLE = types.int32[::1], types.int32[:, ::1]

NO_MASK = np.zeros((0, 0), dtype=np.uint8)
"""What kernels are given where no pixel is masked."""
NO_IMAGE = np.zeros((0, 0), dtype=np.float32)
"""What kernels are given where one number stands for all pixels."""


def kernel(signature: Any = None) -> Callable[[_F], _F]:
    """Compile as all kernels are: kept on disk, without the interpreter's lock, and dividing by 0 as C does."""
    given = [] if signature is None else [signature]
    compiled: Callable[[_F], _F] = numba.njit(*given, cache=True, nogil=True, error_model="numpy")
    return compiled


def image(values: npt.NDArray[Any]) -> Image:
    """Pixels as the kernels take them; a copy only where they are not."""
    return np.ascontiguousarray(values, dtype=np.float32)


def mask_bytes(mask: Bools | None) -> Bytes:
    """Bytes of a mask, without a copy."""
    return NO_MASK if mask is None else np.ascontiguousarray(mask, dtype=np.bool_).view(np.uint8)


def column(values: npt.NDArray[Any]) -> Floats:
    """Numbers of sources as the kernels take them; a copy only where they are not."""
    return np.ascontiguousarray(values, dtype=np.float64)
