"""The wall clock, to the precision that MongoDB keeps."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The current instant in UTC, cut to milliseconds, as BSON stores it."""
    return to_milliseconds(datetime.now(UTC))


def to_milliseconds(instant: datetime) -> datetime:
    """Cut an instant to milliseconds, so that it compares equal after a round trip."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
