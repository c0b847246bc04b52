"""The model in a Python worker: loaded once, kept for every batch. A module of its own, since what a submitted script
defines itself reaches the workers by value, and a cache cannot."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def load_model(folder: str) -> Any:
    """An MLflow model folder, ready to predict."""
    import mlflow

    return mlflow.pyfunc.load_model(folder)
