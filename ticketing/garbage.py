"""The garbage collector, told what a server that has started knows of its own memory."""

import gc

GC_THRESHOLDS = 10_000, 3, 2
"""After how many new objects the young are looked at, and after how many of such looks the older
ones. Python's own 700 are made by a single request, which is then looked at while all of it is
still in use. Orders that leave a worker's memory wait for the last of the three."""


def tune_gc_after_startup() -> None:
    """Never look again at the modules, models and routes that are there for good.

    A full collection walks through all of them otherwise, a tenth of a second in which nobody is
    answered (https://docs.python.org/3/library/gc.html#gc.freeze).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
