"""What each stage does, without Airflow: manifests in, manifests and outcomes out."""
