"""Mathics, loaded: the work that takes seconds, done once and without a link.

A warm parent makes one engine and forks; a cold kernel makes one and serves its link with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import ModuleType
from typing import Any

from wstpserver.embedded.process import prepare_limits

#: Evaluated once, so that Mathics and SymPy import and compute before a fork what they need at first use.
WARM_UP = (
    "2+2", "1/0", "1/3+1.5", "Expand[(a+b)^3]", "Integrate[x^2, x]", "D[Sin[x], x]", "Solve[x^2 == 2, x]", "N[Pi, 30]",
    "Sqrt[2.] + I", "Table[i^2, {i, 3}]", "Do[i, {i, 3}]", "Block[{x = 1}, x]", "Module[{x = 1}, x]",
    "f[x_] := x^2; f[3]", '<|"a" -> 1|>', '"a" <> "b"', "ToString[a/b, InputForm]", "RandomReal[]", "SeedRandom[1]",
    'ToString[ToExpression["1+1"], OutputForm]', "ByteArray[{1}]", "Catch[Throw[1]]", "TimeConstrained[1, 10]",
    "Range[10] + .5", "StringReplace[\"abc\", \"b\" -> \"c\"]", "FullForm[a -> b]", "Quiet[1/0]", "2 +",
    "Names[\"System`Pl*\"]", "Get[\"a-file-that-does-not-exist\"]", "MatrixForm[{{1}}]", "Sort[{3, 1, 2}]",
    "Factor[x^2 - 1]", "Simplify[x + x]", "Det[{{1, 2}, {3, 4}}]", "Prime[10]", "FactorInteger[12]", "Sum[i, {i, 3}]",
)  # fmt: skip

#: Packages that Mathics and SymPy ask for when they are loaded, and use nowhere that this kernel does. Matplotlib takes
#: half a second and writes into the user's home directory.
UNUSED = ("matplotlib", "networkx", "nltk", "wordcloud", "scipy.sparse")

#: Packages whose functions Mathics imports when it is loaded, and calls in few evaluations. Together they take 50 MB,
#: and half a second, so that a cold kernel imports them when it calls one.
DEFERRED = ("scipy.optimize", "scipy.integrate", "requests")

#: What a process that forks kernels imports before, so that no kernel has to.
BEFORE_FORK = ("scipy.optimize", "scipy.integrate", "scipy.linalg", "scipy.special", "scipy.spatial")

#: Numbers a table may gain before it is emptied after an evaluation.
TABLE_LIMIT = 20_000


class Engine:
    """Loaded definitions, and the evaluation object of the kernel to be.

    Attributes:
        definitions: All symbols.
        interrupts: The requests to end evaluations.
        evaluation: The evaluation object.
        number_tables: Mathics' tables of numbers.
    """

    def __init__(self) -> None:
        """Load Mathics (4-8 s).

        Raises:
            ImportError: A package is missing.
            Exception: Whatever Mathics raises when it cannot be loaded.
        """
        gc.disable()  # collections take a quarter of the time, and find nothing
        with _stdout_to_stderr():
            with _hidden(UNUSED), _deferred(DEFERRED):
                _load_builtins()
            from mathics.core.definitions import Definitions

            from wstpserver.embedded.builtins import contribute_builtins
            from wstpserver.embedded.evaluator import KernelEvaluation, install_patches
            from wstpserver.embedded.format import install_fast_lists
            from wstpserver.embedded.interrupts import EvaluationInterrupts

            self.definitions = Definitions(add_builtin=True)
            contribute_builtins(self.definitions)
            install_patches()
            install_fast_lists()
            prepare_limits()
            self.interrupts = EvaluationInterrupts()
            self.evaluation = KernelEvaluation(self.definitions, self.interrupts)
            self._warm_up()
        _settle_memory()

    def _warm_up(self) -> None:
        from mathics.core.parser import MathicsMultiLineFeeder

        from wstpserver.embedded.evaluator import EvaluationRunner
        from wstpserver.embedded.format import text_of

        runner = EvaluationRunner(self.evaluation)
        for text in WARM_UP:
            expression = self.evaluation.parse_feeder(MathicsMultiLineFeeder(text, ""))
            if expression is not None:
                result = runner.run(partial(expression.evaluate, self.evaluation))
                text_of(result, self.evaluation)
        self._forget()
        self.number_tables = NumberTables()

    def _forget(self) -> None:
        """Leave no trace of the warm-up in the session to come."""
        self.definitions.reset_user_definitions()
        self.definitions.clear_cache()
        self.evaluation.reset()

    def load_definitions(self) -> None:
        """Load what is loaded at first use otherwise, packages and definitions: for a process that forks kernels."""
        for name in BEFORE_FORK:
            importlib.import_module(name)
        self.definitions.builtin.load_all()
        self.definitions.clear_cache()
        _settle_memory()

    def start_session(self) -> None:
        """What every kernel does for itself, after a fork too: seed its random numbers, start its clock."""
        from mathics.builtin import datentime

        seed_random()
        datentime.START_TIME = time.time()  # the origin of SessionTime


class NumberTables:
    """Mathics' tables of numbers, as they were when this object was made.

    Every number ever computed stays in a table of its class (300,000 reals are 64 MB). Emptying a table only costs the
    chance to find a number again. The entries from before the first evaluation are kept, because code compares with
    constants among them by identity.
    """

    def __init__(self) -> None:
        from mathics.core.atoms import Complex, Integer, MachineReal, PrecisionReal, Rational

        tables: tuple[dict[Any, Any], ...] = (
            Integer._integers,
            MachineReal._machine_reals,
            PrecisionReal._precision_reals,
            Complex._complex_numbers,
            Rational._rationals,
        )
        self._tables = [(table, dict(table)) for table in tables]
        # Caches of methods, keyed by number.
        self._methods = (Rational.numerator, Rational.denominator, Complex.__neg__)

    def trim(self) -> None:
        """Restore tables that have grown too large to their first state. Call between two evaluations."""
        for table, first in self._tables:
            if len(table) > len(first) + TABLE_LIMIT:
                table.clear()
                table.update(first)
        for method in self._methods:
            if method.cache_info().currsize > TABLE_LIMIT:
                method.cache_clear()


def seed_random() -> None:
    """Seed all generators of Mathics; forked kernels would otherwise draw the same numbers."""
    import numpy

    seed = int.from_bytes(os.urandom(16), "little")
    random.seed(seed)
    numpy.random.seed(seed & 0xFFFF_FFFF)


def _settle_memory() -> None:
    """Exclude everything loaded from garbage collection, which in a forked kernel would copy its pages.

    An evaluation makes many objects that live until its end; collecting less often is a tenth faster.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _load_builtins() -> None:
    from mathics.core.load_builtin import _builtins, import_and_load_builtins

    if not _builtins:
        import_and_load_builtins()


@contextlib.contextmanager
def _hidden(names: Iterable[str]) -> Iterator[None]:
    """Make the import of modules fail within the block, unless they are there already."""
    with _replaced(dict.fromkeys(names)):
        yield


@contextlib.contextmanager
def _deferred(names: Iterable[str]) -> Iterator[None]:
    """Let modules that are imported within the block be loaded when one of their functions is called."""
    with _replaced({name: _DeferredModule(name) for name in names}):
        yield


@contextlib.contextmanager
def _replaced(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Have other modules in place of those that are not yet imported, within the block."""
    missing = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(missing)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


class _DeferredModule(ModuleType):
    """Has every function that is asked for; to call one imports the module."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        module = self.__name__

        def call(*arguments: Any, **options: Any) -> Any:
            return getattr(importlib.import_module(module), name)(*arguments, **options)

        return call


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Mathics prints what it could not load; this belongs in the log."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
