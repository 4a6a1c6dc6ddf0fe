"""A synthetic SDSS-like archive with known truth, for tests and demonstrations.

Nothing here is an observation: runs carry numbers that the survey never used, and every file says in its header
that Kira simulated it.
"""

from kira.sample.archive import write_sample
from kira.sample.spec import SIMULATOR_VERSION, SampleReport, SampleSpec

__all__ = ["SIMULATOR_VERSION", "SampleReport", "SampleSpec", "write_sample"]
