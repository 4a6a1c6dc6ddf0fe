"""SEP's limits belong to the process: raised for one frame, and never under another's feet."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sep

from kira.errors import ExtractionFailed
from kira.extraction import Parameters
from kira.extraction.buffers import Buffers, _Gate, within_limits

KIRA = Parameters()
FULL = "internal pixel buffer full: The limit of 300000 active object pixels …"
OVERFLOW = "object deblending overflow: limit of sub-objects reached while deblending."


def failing_below(text: str, enough: Callable[[], bool]) -> Callable[[], str]:
    def detect() -> str:
        if not enough():
            raise Exception(text)  # as SEP does
        return "found"

    return detect


def test_limits_rise_fourfold_until_they_are_enough() -> None:
    seen: list[int] = []

    def enough() -> bool:
        seen.append(sep.get_extract_pixstack())
        return seen[-1] >= 5000

    found, limits = within_limits(replace(KIRA, pixstack=100), 1_000_000, failing_below(FULL, enough))
    assert (found, limits) == ("found", Buffers(6400, 4096))
    assert seen == [100, 400, 1600, 6400]


def test_no_more_pixels_than_the_frame_has() -> None:
    def all_above() -> bool:
        return sep.get_extract_pixstack() >= 5002

    _, limits = within_limits(replace(KIRA, pixstack=4000), 5000, failing_below(FULL, all_above))
    assert limits.pixstack == 5002
    # And that is enough: SEP itself on an image of which every pixel is above the threshold.
    bright = np.full((50, 100), 10.0, dtype=np.float32)
    for size, fits in ((5000, False), (5002, True)):
        sep.set_extract_pixstack(size)
        if fits:
            assert len(sep.extract(bright, 1.0, filter_kernel=None)) == 1
        else:
            with pytest.raises(Exception, match="internal pixel buffer full"):
                sep.extract(bright, 1.0, filter_kernel=None)


def test_branches_end_where_sep_can_count_no_further() -> None:
    seen: list[int] = []

    def never() -> bool:
        seen.append(sep.get_sub_object_limit())
        return False

    with pytest.raises(ExtractionFailed, match=r"^a detection splits into more than 32,767 branches"):
        within_limits(KIRA, 1000, failing_below(OVERFLOW, never))
    assert seen == [4096, 16384, 32767]


def test_other_errors_are_not_tried_again() -> None:
    tries: list[int] = []

    def broken() -> None:
        tries.append(1)
        raise ValueError("kernel")

    with pytest.raises(ValueError, match="kernel"):
        within_limits(KIRA, 1000, broken)
    assert len(tries) == 1


def test_the_limits_change_only_when_all_are_out() -> None:
    """Many threads that want different limits: inside, each sees its own from beginning to end."""
    wrong: list[Any] = []

    def work(number: int) -> None:
        limits = Buffers(1000 + number % 3, 100 + number % 3)

        def detect() -> None:
            for _ in range(20):
                if Buffers(sep.get_extract_pixstack(), sep.get_sub_object_limit()) != limits:
                    wrong.append(number)
                threading.Event().wait(0.0001)

        profile = replace(KIRA, pixstack=limits.pixstack, sub_object_limit=limits.sub_object_limit)
        within_limits(profile, 10, detect)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(60)))
    assert wrong == []


def test_the_same_limits_are_shared_and_other_ones_get_their_turn() -> None:
    gate, first, other = _Gate(), Buffers(1000, 100), Buffers(2000, 100)
    order: list[str] = []
    release = threading.Event()
    inside = threading.Barrier(3)  # two holders and this test

    def hold() -> None:
        with gate.holding(first):
            inside.wait(10)
            release.wait(10)

    def enter(limits: Buffers, name: str) -> None:
        with gate.holding(limits):
            order.append(name)

    threads = [threading.Thread(target=hold) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(10)  # both are in at once
    waiting = [threading.Thread(target=enter, args=(other, "other"))]
    waiting[0].start()
    deadline = time.monotonic() + 10
    while not gate._queue.locked() and time.monotonic() < deadline:
        time.sleep(0.001)
    waiting.append(threading.Thread(target=enter, args=(first, "first again")))
    waiting[1].start()
    waiting[1].join(0.1)
    assert order == []  # who came later does not overtake, though its limits are those in force
    release.set()
    for thread in [*threads, *waiting]:
        thread.join(10)
    assert order == ["other", "first again"]
