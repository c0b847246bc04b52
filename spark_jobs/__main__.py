"""The entry of `python -m spark_jobs`, and of `spark-submit spark_jobs/__main__.py`, which starts it by its path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from spark_jobs.cli import main

if __name__ == "__main__":
    sys.exit(main())
