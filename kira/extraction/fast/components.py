"""From runs to components: pixels that touch, also at corners, in the order of Lutz's algorithm.

Lutz (1980, The Computer Journal 23, 262) goes through an image once, line by line, and knows of a component only what
crosses the line. SEP's version (lutz.c, and again in extract.c) looks at each pixel; here only the places are visited
where it can do something: the ends of runs, and the places below the ends of the runs of the line before. What is
between two such places is a **piece**, which is appended to its component as a whole. The order of the components, and
of the pixels in each, is SEP's: sums of floats depend on it.
"""

import numpy as np
from numba import njit

_NO_MARK, _BEGIN, _INNER_BEGIN, _END, _INNER_END = 0, 1, 2, 3, 4
"""Marks that a line leaves for the next: SEP's 0, S, s, F and f."""
_COMPLETE, _INCOMPLETE, _OBJECT = 0, 1, 2
_UNKNOWN = -1
_DEPTH, _STACKED, _ABOVE, _INSIDE = 0, 1, 2, 3
"""Of the state: components that are open, statuses on the stack, status of the line before and of this line."""

FIRST, LAST, NPIX, _STARTS, _ENDS = 0, 1, 2, 3, 4
"""Columns of a component: its first and its last piece, its number of pixels; while it is open, where it starts and
ends on the line."""
LINE, COLUMN, LENGTH, OFFSET, NEXT = 0, 1, 2, 3, 4
"""Columns of a piece: where it begins, how many pixels it has, where its values are, the piece that follows or -1."""


@njit(cache=True, nogil=True)
def components(lines, begins, ends, offsets, columns, least):  # type: ignore[no-untyped-def]
    """Join runs to components.

    Parameters
    ----------
    lines : numpy.ndarray of int64, shape (rows + 1,)
        Number of the first run of each line.
    begins, ends : numpy.ndarray of int32, shape (n,)
        First column of a run, and the one after its last.
    offsets : numpy.ndarray of int64, shape (n + 1,)
        Of a run's values.
    columns : int
        Of the image: no run ends beyond.
    least : int
        Pixels of a component; those with fewer are dropped.

    Returns
    -------
    found : numpy.ndarray of int64, shape (m, 3)
        First and last piece and number of pixels of each component, in the order in which they end.
    pieces : numpy.ndarray of int64, shape (p, 5)
        Line, column, length, offset of the values, next piece.
    """
    rows = lines.size - 1
    pieces = np.empty((3 * begins.size + 1, 5), dtype=np.int64)  # each end of a run cuts at most one run below
    marks = np.zeros(columns + 1, dtype=np.int8)
    stack = np.zeros(3 * columns + 6, dtype=np.int8)
    state = np.zeros(4, dtype=np.int64)
    known = np.zeros((columns + 3, 5), dtype=np.int64)  # of open components: as `found`, where they begin and end
    stored = np.zeros((columns + 1, 3), dtype=np.int64)
    found = np.empty((64, 3), dtype=np.int64)
    n = used = 0
    for row in range(rows + 1):
        run, last = (lines[row], lines[row + 1]) if row < rows else (0, 0)
        edge, last_edge = (2 * lines[row - 1], 2 * lines[row]) if row > 0 else (0, 0)
        if n + (last_edge - edge) // 2 > found.shape[0]:
            found = _longer(found, n, 2 * found.shape[0] + columns)
        state[_ABOVE], state[_INSIDE] = _COMPLETE, 0
        while run < last or edge < last_edge:
            x = _edge(begins, ends, edge, last_edge, columns + 1)
            own = _edge(begins, ends, 2 * run + state[_INSIDE], 2 * last, columns + 1)
            if x <= own:
                edge += 1
            else:
                x = own
            mark = marks[x]
            marks[x] = _NO_MARK
            lit = run < last and begins[run] <= x < ends[run]
            if lit and not state[_INSIDE]:
                _begin_run(x, marks, stack, state, known)
            if mark and _heed(mark, x, marks, stack, state, known, stored, pieces):
                if known[state[_DEPTH], NPIX] >= least:
                    _copy(known, state[_DEPTH], found, n)
                    n += 1
                _close(stack, state)
            if lit:
                until = min(_edge(begins, ends, edge, last_edge, columns + 1), np.int64(ends[run]))
                piece = pieces[used]
                piece[LINE], piece[COLUMN], piece[LENGTH] = row, x, until - x
                piece[OFFSET], piece[NEXT] = offsets[run] + x - begins[run], -1
                _append(known[state[_DEPTH]], used, used, until - x, pieces)
                used += 1
            elif state[_INSIDE]:
                _end_run(x, marks, stack, state, known, stored)
                run += 1
    return found[:n], pieces[:used]


@njit(cache=True, nogil=True)
def _longer(found, n, size):  # type: ignore[no-untyped-def]
    longer = np.empty((size, 3), dtype=np.int64)
    for i in range(n):
        _copy(found, i, longer, i)
    return longer


@njit(cache=True, nogil=True)
def _edge(begins, ends, edge, last, none):  # type: ignore[no-untyped-def]
    """Column of an edge of a run, of which each has two, or `none` after the last."""
    if edge >= last:
        return none
    return np.int64(ends[edge // 2] if edge % 2 else begins[edge // 2])


@njit(cache=True, nogil=True)
def _copy(known, i, found, j):  # type: ignore[no-untyped-def]
    found[j, FIRST], found[j, LAST], found[j, NPIX] = known[i, FIRST], known[i, LAST], known[i, NPIX]


@njit(cache=True, nogil=True)
def _append(component, first, last, npix, pieces):  # type: ignore[no-untyped-def]
    """Append a list of pieces to a component's (update in lutz.c)."""
    component[NPIX] += npix
    if component[FIRST] == -1:
        component[FIRST] = first
        component[LAST] = last
    elif last != -1:
        pieces[component[LAST], NEXT] = first
        component[LAST] = last


@njit(cache=True, nogil=True)
def _push(status, stack, state):  # type: ignore[no-untyped-def]
    stack[state[_STACKED]] = status
    state[_STACKED] += 1


@njit(cache=True, nogil=True)
def _pop(stack, state):  # type: ignore[no-untyped-def]
    state[_STACKED] -= 1
    return stack[state[_STACKED]]


@njit(cache=True, nogil=True)
def _close(stack, state):  # type: ignore[no-untyped-def]
    state[_DEPTH] -= 1
    state[_ABOVE] = _pop(stack, state)


@njit(cache=True, nogil=True)
def _begin_run(x, marks, stack, state, known):  # type: ignore[no-untyped-def]
    """Start Segment in lutz.c."""
    state[_INSIDE] = 1
    if state[_ABOVE] == _OBJECT:
        depth = state[_DEPTH]
        if known[depth, _STARTS] == _UNKNOWN:
            marks[x] = _BEGIN
            known[depth, _STARTS] = x
        else:
            marks[x] = _INNER_BEGIN
        return
    _push(state[_ABOVE], stack, state)
    state[_DEPTH] += 1
    marks[x] = _BEGIN
    state[_ABOVE] = _COMPLETE
    new = known[state[_DEPTH]]
    new[FIRST], new[LAST], new[NPIX], new[_STARTS] = -1, -1, 0, x


@njit(cache=True, nogil=True)
def _end_run(x, marks, stack, state, known, stored):  # type: ignore[no-untyped-def]
    """End Segment in lutz.c."""
    state[_INSIDE] = 0
    depth = state[_DEPTH]
    if state[_ABOVE] != _COMPLETE:
        marks[x] = _INNER_END
        known[depth, _ENDS] = x
        return
    marks[x] = _END
    _copy(known, depth, stored, known[depth, _STARTS])
    _close(stack, state)


@njit(cache=True, nogil=True)
def _heed(mark, x, marks, stack, state, known, stored, pieces):  # type: ignore[no-untyped-def]
    """Process New Marker in lutz.c; return whether a component has ended."""
    inside = state[_INSIDE]
    if mark == _BEGIN:
        _push(state[_ABOVE], stack, state)
        if inside:
            _append(known[state[_DEPTH]], stored[x, FIRST], stored[x, LAST], stored[x, NPIX], pieces)
        else:
            _push(_COMPLETE, stack, state)
            state[_DEPTH] += 1
            _copy(stored, x, known, state[_DEPTH])
            known[state[_DEPTH], _STARTS] = _UNKNOWN
        state[_ABOVE] = _OBJECT
    elif mark == _INNER_BEGIN:
        if inside and state[_ABOVE] == _COMPLETE:
            _join(marks, state, known, pieces)
        state[_ABOVE] = _OBJECT
    elif mark == _INNER_END:
        state[_ABOVE] = _INCOMPLETE
    else:
        state[_ABOVE] = _pop(stack, state)
        if not inside and state[_ABOVE] == _COMPLETE:
            depth = state[_DEPTH]
            if known[depth, _STARTS] == _UNKNOWN:
                return True
            marks[known[depth, _ENDS]] = _END
            _copy(known, depth, stored, known[depth, _STARTS])
            _close(stack, state)
    return False


@njit(cache=True, nogil=True)
def _join(marks, state, known, pieces):  # type: ignore[no-untyped-def]
    """Make one of the two innermost components: a run of this line touches both."""
    state[_STACKED] -= 1
    depth = state[_DEPTH]
    begin = known[depth, _STARTS]
    _append(known[depth - 1], known[depth, FIRST], known[depth, LAST], known[depth, NPIX], pieces)
    if known[depth - 1, _STARTS] == _UNKNOWN:
        known[depth - 1, _STARTS] = begin
    else:
        marks[begin] = _INNER_BEGIN
    state[_DEPTH] -= 1
