"""The tree of a component: where it falls apart as the threshold rises, and which of its branches are objects.

SEP (deblend.c) extracts a component again at each of `deblend_levels` thresholds between its own and its peak, each
branch in a window of its own. Here the same tree comes from one pass over the component's pixels from the highest
level down (as in Najman & Couprie 2006, IEEE Trans. Image Process. 15, 3531): pixels are added level by level and
joined with those that they touch. Where a branch begins is a **node**, and where several become one is another; what
lies between two nodes is one branch, at one level after another.

The branches of a level lie in those of the level below, as the thresholds do not fall with the level. They do fall
where each pixel has its own threshold and the peak is below their mean. Then SEP's window of a branch has room for one
branch of the next level only, so that nothing splits there, and the first level is all that counts.

A component with one local maximum has at most one branch at each level, whatever the levels are: each branch has a
local maximum of its own. It cannot split.
"""

import numpy as np
from numba import njit

LEAST_BRANCH = 3
"""Pixels of a branch, if `minarea` is not less (MAXDEBAREA in extract.h)."""

NODE = np.dtype([(name, "i8") for name in ("parent", "sibling", "npix", "last", "level", "whole")] + [("flux", "f8")])
"""Of a branch where it is widest: number of pixels, number of its last pixel in the image, sum of its values. `level`
is that of a branch that is an object, 0 of others; `whole` is 1 where nothing above has split."""

_PIXEL = np.dtype(
    [(name, "i4") for name in ("up", "size", "seen", "head", "tail", "waiting", "last_waiting", "following")]
    + [("last", "i8"), ("flux", "f8")]
)
"""A pixel in a forest of disjoint sets; of a set's root also what is known of the set: pixels, last of them, sum of
values, list of nodes, list of pixels that wait for a node."""


@njit(cache=True, nogil=True)
def count_maxima(numbers, xs, ys, filtered):  # type: ignore[no-untyped-def]
    """Count the pixels of a component that have no higher one beside them, each of equal ones.

    Parameters
    ----------
    numbers : numpy.ndarray of int32, shape (rows, columns)
        Number of the component's pixel, from 1; 0 elsewhere.
    xs, ys : numpy.ndarray of int32, shape (n,)
    filtered : numpy.ndarray of float32, shape (n,)
        Convolved values.

    Returns
    -------
    int
    """
    rows, columns = numbers.shape
    maxima = 0
    for i in range(xs.size):
        x, y, value = xs[i], ys[i], filtered[i]
        highest = True
        for v in range(max(y - 1, 0), min(y + 2, rows)):
            for u in range(max(x - 1, 0), min(x + 2, columns)):
                other = numbers[v, u]
                if other and filtered[other - 1] > value:
                    highest = False
        maxima += highest
    return maxima


@njit(cache=True, nogil=True, error_model="numpy")
def thresholds_between(threshold, peak, levels):  # type: ignore[no-untyped-def]
    """Return the thresholds of the levels, from the component's own (deblend in deblend.c).

    Parameters
    ----------
    threshold, peak : float32
    levels : int

    Returns
    -------
    numpy.ndarray of float32, shape (levels,) or (2,)
        Two, if they fall: see above.
    """
    low, high = np.float64(threshold), np.float64(peak)
    found = np.full(min(levels, 2) if high < low else levels, threshold, dtype=np.float32)
    if high > 0.0:
        for level in range(1, found.size):
            found[level] = low * (high / low) ** (level / levels)
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def grow(numbers, xs, ys, filtered, thresholds, least, contrast, maxima):  # type: ignore[no-untyped-def]
    """Build the tree of a component and choose its objects (deblend in deblend.c).

    Parameters
    ----------
    numbers : numpy.ndarray of int32, shape (rows, columns)
        Number of the component's pixel, from 1; 0 elsewhere. Worked on, and left as it was.
    xs, ys : numpy.ndarray of int32, shape (n,)
    filtered : numpy.ndarray of float32, shape (n,)
    thresholds : numpy.ndarray of float32, shape (levels,)
    least : int
        Pixels of a branch.
    contrast : float
        What a branch must have above its threshold to count.
    maxima : int
        At least the number of local maxima.

    Returns
    -------
    nodes : numpy.ndarray of `NODE`, shape (m,)
        Parents after their children, the component itself last.
    node_of : numpy.ndarray of int32, shape (n,)
        Node of the branch that a pixel became part of.
    """
    rows, columns = numbers.shape
    n = xs.size
    order, bounds = _by_level(filtered, thresholds)
    forest = np.zeros(n, dtype=_PIXEL)
    for i in range(n):  # below 0 until the pixel is part of a branch
        numbers[ys[i], xs[i]] *= -1
    nodes = np.zeros(2 * min(maxima, n // least) + 1, dtype=NODE)
    node_of = np.full(n, -1, dtype=np.int32)
    used = 0
    for level in range(thresholds.size - 1, -1, -1):
        for k in range(bounds[level], bounds[level + 1]):
            i = order[k]
            x, y = xs[i], ys[i]
            _plant(forest[i], i, y * columns + x, filtered[i])
            numbers[y, x] = i + 1
            for v in range(max(y - 1, 0), min(y + 2, rows)):
                for u in range(max(x - 1, 0), min(x + 2, columns)):
                    other = numbers[v, u] - 1
                    if other >= 0:
                        _join(forest, nodes, i, other)
        limit = thresholds[min(level + 1, thresholds.size - 1)]
        for k in range(bounds[level], bounds[level + 1]):
            root = _root(forest, order[k])
            if forest[root].seen != level:
                forest[root].seen = level
                used = _settle(forest[root], nodes, used, level, limit, least, contrast)
                _seat(forest, root, node_of)
    return nodes[:used], node_of


@njit(cache=True, nogil=True)
def _by_level(filtered, thresholds):  # type: ignore[no-untyped-def]
    """Sort pixels by the highest level whose threshold they are above; 0 for all others."""
    n = filtered.size
    bounds = np.zeros(thresholds.size + 1, dtype=np.int64)
    levels = np.empty(n, dtype=np.int32)
    for i in range(n):
        low, high = 0, thresholds.size - 1
        while low < high:
            middle = (low + high + 1) // 2
            if filtered[i] > thresholds[middle]:
                low = middle
            else:
                high = middle - 1
        levels[i] = low
        bounds[low + 1] += 1
    for level in range(thresholds.size):
        bounds[level + 1] += bounds[level]
    order = np.empty(n, dtype=np.int32)
    free = bounds.copy()
    for i in range(n):
        order[free[levels[i]]] = i
        free[levels[i]] += 1
    return order, bounds


@njit(cache=True, nogil=True)
def _plant(pixel, i, place, value):  # type: ignore[no-untyped-def]
    pixel.up, pixel.size, pixel.seen = i, 1, -1
    pixel.last, pixel.flux = place, value
    pixel.head = pixel.tail = -1
    pixel.waiting = pixel.last_waiting = i
    pixel.following = -1


@njit(cache=True, nogil=True)
def _root(forest, i):  # type: ignore[no-untyped-def]
    while forest[i].up != i:
        forest[i].up = forest[forest[i].up].up
        i = forest[i].up
    return i


@njit(cache=True, nogil=True)
def _join(forest, nodes, i, j):  # type: ignore[no-untyped-def]
    i, j = _root(forest, i), _root(forest, j)
    if i == j:
        return
    if forest[i].size < forest[j].size:
        i, j = j, i
    large, small = forest[i], forest[j]
    small.up = i
    large.size += small.size
    large.last = max(large.last, small.last)
    large.flux += small.flux
    if small.head >= 0:
        if large.head >= 0:
            nodes[large.tail].sibling = small.head
        else:
            large.head = small.head
        large.tail = small.tail
    if small.waiting >= 0:
        if large.waiting >= 0:
            forest[large.last_waiting].following = small.waiting
        else:
            large.waiting = small.waiting
        large.last_waiting = small.last_waiting


@njit(cache=True, nogil=True)
def _settle(branch, nodes, used, level, limit, least, contrast):  # type: ignore[no-untyped-def]
    """Give a branch its node at a level; return the number of nodes.

    `limit` is the threshold of the level above. Of several branches there that are one here, those count that have
    enough flux above it; if two or more do, each is an object, unless something in it was split already.
    """
    if branch.head < 0:
        if branch.size < least:
            return used
        branch.head = used
        nodes[used].whole = 1
        used += 1
    elif nodes[branch.head].sibling >= 0:
        counting, whole = 0, 1
        child = branch.head
        while child >= 0:
            counting += _counts(nodes[child], limit, contrast)
            whole &= nodes[child].whole
            child = nodes[child].sibling
        child = branch.head
        while child >= 0:
            if counting > 1 and nodes[child].whole and _counts(nodes[child], limit, contrast):
                nodes[child].level = level + 1
            nodes[child].parent = used
            child = nodes[child].sibling
        nodes[used].whole = whole if counting <= 1 else 0
        branch.head = used
        used += 1
    node = nodes[branch.head]
    node.sibling = node.parent = -1
    node.npix, node.last, node.flux = branch.size, branch.last, branch.flux
    branch.tail = branch.head
    return used


@njit(cache=True, nogil=True)
def _counts(node, threshold, contrast):  # type: ignore[no-untyped-def]
    return np.float32(node.flux) - threshold * np.float32(node.npix) > contrast


@njit(cache=True, nogil=True)
def _seat(forest, root, node_of):  # type: ignore[no-untyped-def]
    """Write down the node of the pixels of a branch that wait for one."""
    node = forest[root].head
    if node < 0:
        return
    i = forest[root].waiting
    while i >= 0:
        node_of[i] = node
        i = forest[i].following
    forest[root].waiting = -1


@njit(cache=True, nogil=True)
def sorted_by(order, keys, least, many):  # type: ignore[no-untyped-def]
    """Sort by a key, and leave those of one key in their order.

    Parameters
    ----------
    order : numpy.ndarray of int64, shape (n,)
        Indices of keys.
    keys : numpy.ndarray of int32
        From `least` to `least + many - 1`.
    least, many : int

    Returns
    -------
    order : numpy.ndarray of int64, shape (n,)
    bounds : numpy.ndarray of int64, shape (many + 1,)
        Where each key begins in it.
    """
    bounds = np.zeros(many + 1, dtype=np.int64)
    for i in order:
        bounds[keys[i] - least + 1] += 1
    for key in range(many):
        bounds[key + 1] += bounds[key]
    found = np.empty_like(order)
    free = bounds.copy()
    for i in order:
        key = keys[i] - least
        found[free[key]] = i
        free[key] += 1
    return found, bounds


@njit(cache=True, nogil=True)
def objects_in_order(nodes, whole, levels, columns):  # type: ignore[no-untyped-def]
    """Return the nodes that are objects in SEP's order.

    That is from the highest level down, and on a level by the order of the branches: that of those below them, and on
    one branch that in which Lutz's algorithm ends them, which is by their last pixel.

    Parameters
    ----------
    nodes : numpy.ndarray of `NODE`, shape (m,)
    whole : record of `kira.extraction.fast.moments.OBJECT`
        The component.
    levels, columns : int

    Returns
    -------
    numpy.ndarray of int64
    """
    n = nodes.size
    children = _children(nodes, whole, columns)
    objects, keys = np.empty(n, dtype=np.int64), np.zeros(n, dtype=np.int32)
    found = 0
    i = n - 1
    while i >= 0:
        if nodes[i].level:
            objects[found], keys[i] = i, levels - nodes[i].level
            found += 1
        if children[i] >= 0:
            i = children[i]
            continue
        while i >= 0 and nodes[i].sibling < 0:
            i = nodes[i].parent
        if i >= 0:
            i = nodes[i].sibling
    return sorted_by(objects[:found], keys, 0, levels)[0]


@njit(cache=True, nogil=True)
def _children(nodes, whole, columns):  # type: ignore[no-untyped-def]
    """Chain siblings by their last pixel; return the first child of each node, -1 for none."""
    n = nodes.size
    xs, ys = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
    for i in range(n):
        xs[i], ys[i] = nodes[i].last % columns, nodes[i].last // columns
    order, _ = sorted_by(np.arange(n), xs, whole.xmin, whole.xmax - whole.xmin + 1)
    order, _ = sorted_by(order, ys, whole.ymin, whole.ymax - whole.ymin + 1)
    first = np.full(n, -1, dtype=np.int64)
    for k in range(n - 1, -1, -1):  # each put before those after it
        i = order[k]
        parent = nodes[i].parent
        if parent >= 0:
            nodes[i].sibling = first[parent]
            first[parent] = i
    return first
