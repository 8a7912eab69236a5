"""The sandbox's state: every object, idempotent answer and pending webhook, in SQLite.

One connection and one lock: writes are serial, and a transaction runs without awaiting, so
a capture and a cancel exclude each other. WAL keeps what was committed through `kill -9`.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stripe_sandbox.errors import Json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    payment_intent TEXT,
    charge TEXT,
    body TEXT NOT NULL,
    hidden TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (kind, position);
CREATE INDEX IF NOT EXISTS objects_by_payment_intent ON objects (payment_intent, kind);
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    event TEXT PRIMARY KEY,
    failures INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL
);
"""


_BATCH = 101
_NEWEST = 2**62


@dataclass
class StoredObject:
    """One object: what Stripe shows of it, and what the sandbox keeps to itself."""

    body: Json
    hidden: Json = field(default_factory=dict)
    position: int = 0

    @property
    def id(self) -> str:
        """The id in Stripe's format."""
        return str(self.body["id"])


@dataclass(frozen=True)
class StoredAnswer:
    """The first answer that an idempotency key got."""

    fingerprint: str
    status: int
    body: Json
    request_id: str
    created: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class Delivery:
    """An event that the webhook endpoint has not yet acknowledged."""

    event: str
    failures: int
    due: float
    """When to try next, in seconds since the epoch."""


class Ledger:
    """The SQLite file, or memory, behind one sandbox."""

    def __init__(self, database: Path | None) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            database or ":memory:", isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Never await inside."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """All or nothing, within a transaction that goes on."""
        self._connection.execute("SAVEPOINT operation")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK TO operation")
            self._connection.execute("RELEASE operation")
            raise
        self._connection.execute("RELEASE operation")

    def insert(self, body: Json, hidden: Json | None = None) -> StoredObject:
        """Store a new object."""
        links = body if body["object"] != "event" else {}
        cursor = self._connection.execute(
            "INSERT INTO objects (id, kind, payment_intent, charge, body, hidden)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                body["id"],
                body["object"],
                links.get("payment_intent"),
                links.get("charge"),
                json.dumps(body),
                json.dumps(hidden or {}),
            ),
        )
        return StoredObject(body, hidden or {}, cursor.lastrowid or 0)

    def update(self, stored: StoredObject) -> None:
        """Store the object's changes."""
        self._connection.execute(
            "UPDATE objects SET body = ?, hidden = ? WHERE id = ?",
            (json.dumps(stored.body), json.dumps(stored.hidden), stored.id),
        )

    def find(self, kind: str, id: str) -> StoredObject | None:
        """The object of that kind and id, if there is one."""
        rows = self._query("WHERE kind = ? AND id = ?", (kind, id))
        return rows[0] if rows else None

    def objects(
        self,
        kind: str,
        *,
        payment_intent: str | None = None,
        charge: str | None = None,
        after: int | None = None,
        before: int | None = None,
    ) -> Iterator[StoredObject]:
        """Objects of a kind, newest first; with `before`, oldest first and newer than it.

        Read in batches: a caller that stops early leaves the rest of the ledger unread.
        """
        clauses, values = ["kind = ?"], [kind]
        for column, value in (("payment_intent", payment_intent), ("charge", charge)):
            if value is not None:
                clauses.append(f"{column} = ?")
                values.append(value)
        forward = before is not None
        clauses.append("position > ?" if forward else "position < ?")
        order = "ASC" if forward else "DESC"
        where = f"WHERE {' AND '.join(clauses)} ORDER BY position {order} LIMIT {_BATCH}"
        edge = before if before is not None else after if after is not None else _NEWEST
        while batch := self._query(where, (*values, edge)):
            yield from batch
            edge = batch[-1].position

    def _query(self, where: str, values: tuple[Any, ...]) -> list[StoredObject]:
        with self._lock:
            rows = self._connection.execute(
                f"SELECT body, hidden, position FROM objects {where}",  # noqa: S608 - clauses of this module
                values,
            ).fetchall()
        return [StoredObject(json.loads(body), json.loads(hidden), at) for body, hidden, at in rows]

    def find_answer(self, key: str) -> StoredAnswer | None:
        """The first answer to this idempotency key."""
        row = self._connection.execute(
            "SELECT fingerprint, status, body, request_id, created FROM answers WHERE key = ?",
            (key,),
        ).fetchone()
        if row is None:
            return None
        fingerprint, status, body, request_id, created = row
        return StoredAnswer(fingerprint, status, json.loads(body), request_id, created)

    def store_answer(self, key: str, answer: StoredAnswer) -> None:
        """Store the answer for the key; it replaces an expired one."""
        self._connection.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)",
            (
                key,
                answer.fingerprint,
                answer.status,
                json.dumps(answer.body),
                answer.request_id,
                answer.created,
            ),
        )

    def add_delivery(self, event: str) -> None:
        """Queue the event for delivery to the webhook endpoint."""
        self._connection.execute(
            "INSERT INTO deliveries (event, due) VALUES (?, ?)", (event, time.time())
        )

    def deliveries(self) -> list[Delivery]:
        """The next batch of pending deliveries, by due time."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT event, failures, due FROM deliveries ORDER BY due, rowid LIMIT ?",
                (_BATCH,),
            ).fetchall()
        return [Delivery(*row) for row in rows]

    def postpone_delivery(self, event: str, due: float) -> None:
        """Count a failed attempt, and schedule the next one."""
        self._connection.execute(
            "UPDATE deliveries SET failures = failures + 1, due = ? WHERE event = ?",
            (due, event),
        )

    def remove_delivery(self, event: str) -> None:
        """Forget the delivery: it was acknowledged, or has been tried for too long."""
        self._connection.execute("DELETE FROM deliveries WHERE event = ?", (event,))
