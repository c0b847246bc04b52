"""How Java is started for Spark jobs of seconds on one machine."""

from __future__ import annotations

from collections.abc import Mapping

#: A job of seconds ends before the second compiler's code pays, and it takes a core from Python's workers meanwhile.
_SHORT_JOBS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def java_options(given: Mapping[str, str]) -> dict[str, str]:
    """`JDK_JAVA_OPTIONS`, which every `java` reads, for jobs of seconds; what the caller has set stays."""
    return {"JDK_JAVA_OPTIONS": given.get("JDK_JAVA_OPTIONS", _SHORT_JOBS)}
