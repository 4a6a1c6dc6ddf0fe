"""What a worker holds, told by Linux itself."""

import numpy as np

from kira.stages import memory


def test_the_peak_begins_anew_and_what_was_freed_is_given_back() -> None:
    memory.forget_peak()
    before, _ = memory.held()
    block = np.ones(30 << 20)  # 240 MiB, touched
    during, high = memory.held()
    assert during > before + 200
    assert high >= during
    del block
    memory.give_back()
    memory.forget_peak()
    after, peak = memory.held()
    assert after < before + 100
    assert peak < during
