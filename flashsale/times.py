"""Days and windows of time, always UTC and half-open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta


def parse_utc(text: str | datetime) -> datetime:
    """A moment in UTC from ISO 8601 text; text without a zone is taken as UTC."""
    moment = text if isinstance(text, datetime) else datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@dataclass(frozen=True)
class Window:
    """A half-open window of time `[start, end)` in UTC."""

    start: datetime
    end: datetime

    @classmethod
    def of_days(cls, first: date, last: date) -> Window:
        """The window from the first moment of `first` to the last of `last`, both included."""
        start = datetime(first.year, first.month, first.day, tzinfo=UTC)
        return cls(start, datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1))

    def days(self) -> Iterator[date]:
        """The UTC days the window touches."""
        day = self.start.date()
        while datetime(day.year, day.month, day.day, tzinfo=UTC) < self.end:
            yield day
            day += timedelta(days=1)
