"""Read by Airflow at its start: a process that forks tasks first loads what most tasks would load each by itself.

With LocalExecutor a task is a fork of the scheduler, with Celery one of a worker. Great Expectations alone takes
seconds of processor time to import, and writes hundreds of lines about itself into the task's log. Imports only:
nothing is opened or started here, so that the forks share nothing but code.
"""

import importlib
import os
import sys

FORKING = (["scheduler"], ["celery", "worker"])
NEEDED = ("great_expectations.checkpoint", "pyarrow.compute", "pyarrow.dataset", "pyarrow.parquet")


def forks_tasks(argv: list[str]) -> bool:
    """Whether a command line starts a process that forks tasks."""
    return any(argv[1 : 1 + len(words)] == words for words in FORKING)


if forks_tasks(sys.argv):
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    for name in NEEDED:
        importlib.import_module(name)
