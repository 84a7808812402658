"""What Python's garbage collector knows of this process, counted so that other threads may go on meanwhile."""
import gc
from itertools import chain, starmap

from greenlet import greenlet


def known_objects():
    """An iterator over one item, the list of all objects that the garbage collector knows.

    Who goes through it by functions in C alone holds no object while another thread runs. That matters: a tuple that is
    being built is among them, and cannot be completed while somebody else refers to it (SystemError).
    """
    return starmap(gc.get_objects, [()])


def number_of_objects():
    """How many objects the garbage collector knows."""
    return sum(map(len, known_objects()))


def living_greenlets():
    """Greenlets that have begun and not ended."""
    return [item for item in list(filter(greenlet.__instancecheck__, chain.from_iterable(known_objects()))) if item]
