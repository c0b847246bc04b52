"""The platform on one machine: PostgreSQL, Airflow, MLflow and the simulated shop as processes on loopback."""
