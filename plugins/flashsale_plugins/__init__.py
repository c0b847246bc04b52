"""How Airflow reaches the world: sources, the quality gate, operators that launch jobs."""
