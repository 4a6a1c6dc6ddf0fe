"""What a worker holds, told by Linux itself."""

import subprocess
import sys

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


def test_arrow_does_without_pandas_in_a_worker_and_others_have_it() -> None:
    """In a process of its own, for pyarrow looks for pandas once and for all."""
    program = (
        "import sys; from kira.stages import memory; memory.without_pandas(); import numpy as np, pyarrow as pa;"
        "pa.table({'x': np.zeros(3), 'y': ['a', 'b', 'c']}); assert 'pandas' not in sys.modules;"
        "import pandas; assert pandas.DataFrame({'x': [1]}).x[0] == 1"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
