"""An order's timeline: what happened to it, when and why, oldest first."""

from datetime import datetime

from pydantic import BaseModel

from ticketing.clock import to_milliseconds
from ticketing.statuses import TimelineCode


class TimelineEntry(BaseModel):
    """One thing that happened; stored in the order by the same write as the change itself."""

    at: datetime
    code: TimelineCode
    attempt: int | None = None
    """Which payment of the order it is about."""
    reason: str | None = None
    """A failure code or a cancel reason, as `TimelineCode` says."""


def timeline_entry(
    code: TimelineCode, at: datetime, *, attempt: int | None = None, reason: str | None = None
) -> TimelineEntry:
    return TimelineEntry(at=to_milliseconds(at), code=code, attempt=attempt, reason=reason)


def append_to_timeline(*entries: TimelineEntry) -> dict[str, object]:
    """The part of an order's update that appends to its timeline."""
    stored = [entry.model_dump(exclude_none=True) for entry in entries]
    return {"$push": {"timeline": {"$each": stored}}}
