"""How Spark is set up for the extraction, wherever it runs."""

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

SPARK_CONF = {
    # Waiting for locality has doubled the makespan; a read over the network costs less.
    "spark.locality.wait": "0",
    "spark.driver.memory": "1g",
    "spark.python.worker.reuse": "true",
    # One thread a core: a library that takes all of them for itself would slow down its neighbours.
    **{f"spark.executorEnv.{name}": "1" for name in _ONE_THREAD},
    "spark.ui.showConsoleProgress": "false",
    # A killed driver is Airflow's to retry, a killed worker Spark's.
    "spark.task.maxFailures": "4",
}
