"""SDSS frames in, a trustworthy source catalogue out.

The sub-packages read in the order of the pipeline; no module imports one that comes later:
`sdss` → `storage` → `frames` → `extraction` → `catalog` → `validation` → `ledger` → `stages`, with `jobs` (Spark),
`sample` (synthetic archive), `datasets` (lists to measure with), `stack` (local servers), `alerts`, `pages` and `cli`
around them. Airflow is imported in `kira.airflow_glue` alone.
"""

from importlib.metadata import version

__version__ = version("kira")
