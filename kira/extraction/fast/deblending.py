"""Deblending: a component's objects, and which of them gets the pixels between them (deblend.c)."""

import math

import numpy as np
from numba import njit

from kira.extraction.fast.branches import (
    LEAST_BRANCH,
    count_maxima,
    grow,
    objects_in_order,
    sorted_by,
    thresholds_between,
)
from kira.extraction.fast.components import FIRST, LENGTH, NEXT, OFFSET, components
from kira.extraction.fast.moments import MERGED, OBJECT, mark_truncated, measure, survey_pixels

_FARTHEST = 70.0
"""Half the squared distance, in units of an object's ellipse, from which on it gets no pixel (gatherup)."""
_LEAST_CHANCE = np.float32(1.0e-31)
_MOST_RANDOM = np.float32(2147483647)  # RAND_MAX, as a float32


@njit(cache=True, nogil=True, error_model="numpy")
def deblend(whole, pixels, numbers, minarea, levels, contrast, seed):  # type: ignore[no-untyped-def]
    """Divide a component.

    Parameters
    ----------
    whole : record of `OBJECT`
        The component, after `survey_pixels` and with `thresh`.
    pixels : tuple of numpy.ndarray
        As in `survey_pixels`. If the component is divided its pixels are arranged anew, those of each object together.
    numbers : numpy.ndarray of int32, shape (rows, columns)
        All 0, and left so.
    minarea, levels : int
    contrast : float
        Fraction of the component's flux that an object must have.
    seed : numpy.ndarray of int64, shape (1,)
        State of the random numbers.

    Returns
    -------
    numpy.ndarray of `OBJECT`, shape (n,)
        The objects, not yet measured; none if the component is one.
    """
    end = whole.first + whole.npix
    xs, ys, filtered = pixels[0][whole.first : end], pixels[1][whole.first : end], pixels[3][whole.first : end]
    for i in range(xs.size):
        numbers[ys[i], xs[i]] = i + 1
    maxima = count_maxima(numbers, xs, ys, filtered)
    objects = np.zeros(0, dtype=OBJECT)
    if maxima > 1:
        thresholds = thresholds_between(whole.thresh, whole.cpeak, levels)
        least_flux = np.float64(whole.cflux) * contrast
        nodes, node_of = grow(numbers, xs, ys, filtered, thresholds, min(minarea, LEAST_BRANCH), least_flux, maxima)
        chosen = objects_in_order(nodes, whole, levels, numbers.shape[1])
        if chosen.size:
            owner = _owners(nodes, node_of, chosen)
            objects = _divide(whole, pixels, nodes, chosen, thresholds, owner, numbers.shape, seed)
    for i in range(xs.size):
        numbers[ys[i], xs[i]] = 0
    return objects


@njit(cache=True, nogil=True)
def _owners(nodes, node_of, chosen):  # type: ignore[no-untyped-def]
    """Object that each pixel belongs to; those that belong to none have the number after the last."""
    object_of = np.full(nodes.size + 1, chosen.size, dtype=np.int32)
    for k in range(chosen.size):
        object_of[chosen[k]] = k
    for node in range(nodes.size - 2, -1, -1):
        if nodes[node].level == 0:
            object_of[node] = object_of[nodes[node].parent]
    owner = np.empty(node_of.size, dtype=np.int32)
    for i in range(node_of.size):
        owner[i] = object_of[node_of[i]]
    return owner


@njit(cache=True, nogil=True, error_model="numpy")
def _divide(whole, pixels, nodes, chosen, thresholds, owner, shape, seed):  # type: ignore[no-untyped-def]
    n = chosen.size
    first, end = whole.first, whole.first + whole.npix
    part = (
        pixels[0][first:end], pixels[1][first:end], pixels[2][first:end], pixels[3][first:end], pixels[4][first:end],
    )  # fmt: skip
    order, bounds = _in_rasters(part[0], part[1], whole, owner, n)
    for k in range(n):
        _as_lutz(part[0], part[1], order[bounds[k] : bounds[k + 1]])
    cores = _taken(part, order[: bounds[n]])
    objects = np.zeros(n, dtype=OBJECT)
    for k in range(n):
        one = objects[k]
        one.first, one.npix = bounds[k], bounds[k + 1] - bounds[k]
        one.flag = MERGED
        one.thresh = thresholds[nodes[chosen[k]].level]
        survey_pixels(one, cores)
        mark_truncated(one, shape[1], shape[0])
        measure(one, False, cores)
        one.thresh = whole.thresh
    _give_rest(objects, part[0], part[1], owner, seed)
    arranged = _arranged(owner, order, bounds, n)
    rearranged = _taken(part, arranged)
    for i in range(owner.size):
        part[0][i], part[1][i] = rearranged[0][i], rearranged[1][i]
        part[2][i], part[3][i], part[4][i] = rearranged[2][i], rearranged[3][i], rearranged[4][i]
    for k in range(n):
        objects[k].npix = 0
    for k in owner:
        objects[k].npix += 1
    for k in range(n):
        objects[k].first = first
        first += objects[k].npix
    return objects


@njit(cache=True, nogil=True)
def _taken(pixels, order):  # type: ignore[no-untyped-def]
    n = order.size
    xs, ys = np.empty(n, np.int32), np.empty(n, np.int32)
    values, filtered, noise = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    for k in range(n):
        i = order[k]
        xs[k], ys[k] = pixels[0][i], pixels[1][i]
        values[k], filtered[k], noise[k] = pixels[2][i], pixels[3][i], pixels[4][i]
    return xs, ys, values, filtered, noise


@njit(cache=True, nogil=True)
def _in_rasters(xs, ys, whole, owner, n):  # type: ignore[no-untyped-def]
    """Sort pixels by owner, then line, then column."""
    order = np.arange(xs.size)
    order, _ = sorted_by(order, xs, whole.xmin, whole.xmax - whole.xmin + 1)
    order, _ = sorted_by(order, ys, whole.ymin, whole.ymax - whole.ymin + 1)
    return sorted_by(order, owner, 0, n + 1)


@njit(cache=True, nogil=True)
def _as_lutz(xs, ys, order):  # type: ignore[no-untyped-def]
    """Bring the pixels of one branch from their order in the image into that of Lutz's algorithm, in place."""
    n = order.size
    top = ys[order[0]]
    lines = np.zeros(ys[order[n - 1]] - top + 2, dtype=np.int64)
    begins, ends = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
    offsets = np.zeros(n + 1, dtype=np.int64)
    runs = 0
    left = right = np.int64(xs[order[0]])
    for i in order:
        left, right = min(left, xs[i]), max(right, xs[i])
    for i in range(n):
        x, line = xs[order[i]] - left, ys[order[i]] - top
        if i == 0 or ends[runs - 1] != x or ys[order[i - 1]] - top != line:
            begins[runs], offsets[runs] = x, i
            runs += 1
        ends[runs - 1] = x + 1
        lines[line + 1] = runs
    offsets[runs] = n
    for line in range(lines.size - 1):
        lines[line + 1] = max(lines[line + 1], lines[line])
    found, pieces = components(lines, begins[:runs], ends[:runs], offsets[: runs + 1], right - left + 1, 1)
    raster = order.copy()
    used = 0
    piece = found[0, FIRST]
    while piece >= 0:
        begin = pieces[piece, OFFSET]
        for i in range(begin, begin + pieces[piece, LENGTH]):
            order[used] = raster[i]
            used += 1
        piece = pieces[piece, NEXT]


@njit(cache=True, nogil=True)
def _arranged(owner, order, bounds, n):  # type: ignore[no-untyped-def]
    """Order of the pixels by object: first its core, then what it was given in the order of the component."""
    arranged = np.empty(owner.size, dtype=np.int64)
    free = np.zeros(n + 1, dtype=np.int64)
    for k in owner:
        free[k + 1] += 1
    for k in range(n):
        free[k + 1] += free[k]
    in_core = np.zeros(owner.size, dtype=np.bool_)
    for k in range(n):
        for i in order[bounds[k] : bounds[k + 1]]:
            arranged[free[k]] = i
            in_core[i] = True
            free[k] += 1
    for i in range(owner.size):
        if not in_core[i]:
            arranged[free[owner[i]]] = i
            free[owner[i]] += 1
    return arranged


@njit(cache=True, nogil=True, error_model="numpy")
def _give_rest(objects, xs, ys, owner, seed):  # type: ignore[no-untyped-def]
    """Give each pixel that is no object's to one of them by chance (gatherup in deblend.c).

    The chances are as the brightnesses there of Gaussians with the objects' ellipses and peaks.
    """
    n = objects.size
    chances = np.empty(n, dtype=np.float32)
    light = np.empty(n, dtype=np.float32)
    reach_x, reach_y = np.empty(n), np.empty(n)
    for k in range(n):
        light[k] = _amplitude(objects[k])
        reach_x[k], reach_y[k] = _reach(objects[k])
    for i in range(owner.size):
        if owner[i] < n:
            continue
        x, y = xs[i], ys[i]
        total = np.float32(0.0)
        for k in range(n):
            one = objects[k]
            if abs(x - one.x) < reach_x[k] and abs(y - one.y) < reach_y[k]:
                distance = _distance(one, x, y)
                if distance < _FARTHEST:
                    total += light[k] * math.exp(-distance)
            chances[k] = total
        owner[i] = n
        if total > _LEAST_CHANCE:
            drawn = total * np.float32(_random(seed)) / _MOST_RANDOM
            k = 0
            while k < n and chances[k] < drawn:
                k += 1
            owner[i] = k
        if owner[i] == n:
            owner[i] = _nearest(objects, x, y)


@njit(cache=True, nogil=True, error_model="numpy")
def _amplitude(one):  # type: ignore[no-untyped-def]
    most = 4.0 * np.float64(one.cpeak)
    height = np.float32(one.npix / (2 * math.pi * np.float64(one.abcor) * np.float64(one.a) * np.float64(one.b)))
    light = np.float32(one.thresh * math.exp(height) if height < _FARTHEST else most)
    return np.float32(most) if light > most else light


@njit(cache=True, nogil=True, error_model="numpy")
def _reach(one):  # type: ignore[no-untyped-def]
    """Half of the width and height of the ellipse within which an object gets pixels; infinity if it is none."""
    most = 2.0 * _FARTHEST * np.float64(one.abcor)
    if most > 0.0 and one.x2 > 0.0 and one.y2 > 0.0 and one.x2 * one.y2 - one.xy * one.xy > 0.0:
        # A little more: the distance is rounded to float32.
        return 1.001 * math.sqrt(most * one.x2) + 1.0, 1.001 * math.sqrt(most * one.y2) + 1.0
    return np.inf, np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def _distance(one, x, y):  # type: ignore[no-untyped-def]
    dx, dy = np.float32(x - one.x), np.float32(y - one.y)
    return np.float32(
        0.5 * np.float64(one.cxx * dx * dx + one.cyy * dy * dy + one.cxy * dx * dy) / np.float64(one.abcor)
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _nearest(objects, x, y):  # type: ignore[no-untyped-def]
    nearest, least = 0, np.float32(1e31)
    for k in range(objects.size):
        distance = _distance(objects[k], x, y)
        if distance < least:
            nearest, least = k, distance
    return nearest


@njit(cache=True, nogil=True)
def _random(seed):  # type: ignore[no-untyped-def]
    """Return the next of glibc's `rand_r`, by which SEP draws: the same numbers for each image, from seed 1."""
    drawn = 0
    for bits in range(3):
        seed[0] = (seed[0] * 1103515245 + 12345) & 0xFFFFFFFF
        drawn = (drawn << 10) | ((seed[0] >> 16) & (0x3FF if bits else 0x7FF))
    return drawn
