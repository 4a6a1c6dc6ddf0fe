"""The local stack: archive sample, S3, HDFS, Airflow, started and stopped as one."""
