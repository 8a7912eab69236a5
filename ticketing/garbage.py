"""The garbage collector, told what a server that has started knows of its own memory."""

import gc

YOUNG_OBJECTS = 10_000
"""How many new ones there are before the young are looked at; Python's own 700 are made by a
single request, which is then looked at while all of it is still in use."""


def spare_what_has_started() -> None:
    """Never look again at the modules, models and routes that are there for good.

    A full collection walks through all of them otherwise, a tenth of a second in which nobody is
    answered (https://docs.python.org/3/library/gc.html#gc.freeze).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
