"""An order's timeline: what happened to it, when and why, oldest first."""

from datetime import datetime

from pydantic import BaseModel

from ticketing.clock import to_milliseconds
from ticketing.statuses import TimelineCode


class TimelineEntry(BaseModel):
    """One thing that happened; kept in the order, and written together with what it tells."""

    at: datetime
    code: TimelineCode
    attempt: int | None = None
    """Which payment of the order it is about."""
    reason: str | None = None
    """A failure code or a cancel reason, as `TimelineCode` says."""


def timeline_entry(
    code: TimelineCode, at: datetime, *, attempt: int | None = None, reason: str | None = None
) -> dict[str, object]:
    """An entry as it is stored; append it by `$push` to `timeline` in the write it tells of."""
    entry = TimelineEntry(at=to_milliseconds(at), code=code, attempt=attempt, reason=reason)
    return entry.model_dump(exclude_none=True)
