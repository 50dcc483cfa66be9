"""The day of a moment that a server tells."""

from __future__ import annotations

from datetime import UTC, date, datetime


def day_of(value: object) -> date | None:
    """Return the day, in UTC, of a time in ISO 8601; None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).date()
    except (ValueError, OverflowError):
        return None
