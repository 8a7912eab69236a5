"""Tuning of the garbage collector for a long-running server."""

import gc

GC_THRESHOLDS = 10_000, 3, 2
"""After how many new objects the youngest generation is collected, and after how many of such
collections the next older one. A single request creates more than Python's default of 700, which
would be collected while all of them are in use. Orders that a worker evicts from its cache are
freed by the oldest generation."""


def tune_gc_after_startup() -> None:
    """Exclude from collection what the start has created: modules, models and routes.

    A full collection walks through all of them otherwise, and blocks for a tenth of a second
    (https://docs.python.org/3/library/gc.html#gc.freeze).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
