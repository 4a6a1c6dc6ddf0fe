"""Monitoring pages: what the ledger and the catalogue say, as HTML.

They know nothing of Airflow: who may read is a dependency that is handed in, and Airflow's own pages are links. The
plugin that puts them into Airflow's UI is `kira.airflow_glue.pages`.
"""
