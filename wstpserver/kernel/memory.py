"""Keeps Mathics' tables of numbers from growing for ever.

Every number ever computed stays in a table of its class (300,000 reals are 64 MB). Emptying a table costs nothing but
the chance to find a number again; the entries from before the first evaluation are kept, because code compares with
constants among them by identity.
"""

from __future__ import annotations

from typing import Any

from mathics.core.atoms import Complex, Integer, MachineReal, PrecisionReal, Rational

#: Numbers a table may gain before it is emptied after an evaluation.
TABLE_LIMIT = 20_000


class NumberTables:
    """The tables of all number classes, as they were when this was made."""

    def __init__(self) -> None:
        tables: tuple[dict[Any, Any], ...] = (
            Integer._integers,
            MachineReal._machine_reals,
            PrecisionReal._precision_reals,
            Complex._complex_numbers,
            Rational._rationals,
        )
        self._tables = [(table, dict(table)) for table in tables]

    def trim(self) -> None:
        """Between two evaluations: bring tables that grew too large back to their first state."""
        for table, first in self._tables:
            if len(table) > len(first) + TABLE_LIMIT:
                table.clear()
                table.update(first)
        # Caches of methods, keyed by number.
        for method in (Rational.numerator, Rational.denominator, Complex.__neg__):
            if method.cache_info().currsize > TABLE_LIMIT:
                method.cache_clear()
