"""How the stages use Airflow: the only part of the package that imports it.

Airflow imports a DAG file again for every task, so what DAG files import is light: `wiring` (parameters and the chain
of tasks), `retries` (what is tried again) and `spark` (the operator). `tasks`, which has the stages and all that they
need, is imported when a task runs. `request` knows nothing of Airflow.
"""
