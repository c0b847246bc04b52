"""Airflow's pools: how many tasks of a kind run side by side. DAGs name them, `make up` and the demo create them."""

from __future__ import annotations

from enum import StrEnum


class Pool(StrEnum):
    """One writer of the warehouse, one user of the GPU, few heavy steps side by side."""

    WAREHOUSE = "warehouse"
    GPU = "gpu"
    HEAVY = "heavy"
    INGEST = "ingest"


#: Slots of each pool and what Airflow's page says of it; elsewhere an operator runs `airflow pools import`.
POOL_SLOTS: dict[Pool, tuple[int, str]] = {
    Pool.WAREHOUSE: (1, "The warehouse has one writer"),
    Pool.GPU: (1, "Training, one run at a time"),
    Pool.HEAVY: (1, "Steps that use every core"),
    Pool.INGEST: (2, "Streams loaded side by side"),
}
