"""How Java is started for Spark jobs of seconds on one machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

#: A job of seconds ends before the second compiler's code pays, and it takes a core from Python's workers meanwhile.
SHORT_JOBS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def class_archive() -> Path:
    """Where `scripts/prepare.py` keeps Spark's classes, read and checked (class data sharing), for this environment."""
    return Path(sys.prefix) / "spark-classes.jsa"


def java_options(given: Mapping[str, str]) -> dict[str, str]:
    """`JDK_JAVA_OPTIONS`, which every `java` reads, for jobs of seconds; what the caller has set stays.

    A `java` of another version or with other jars on its path passes the archive over, without a word: it would say it
    on stdout, where `spark-submit`'s first process answers its second.
    """
    options = SHORT_JOBS
    archive = class_archive()
    if archive.is_file() and " " not in str(archive):
        options += f" -XX:SharedArchiveFile={archive} -Xshare:auto -Xlog:disable"
    return {"JDK_JAVA_OPTIONS": given.get("JDK_JAVA_OPTIONS", options)}
