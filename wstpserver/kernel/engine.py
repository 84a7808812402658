"""Mathics, loaded: everything a kernel needs that takes long, done once and without a link.

A warm parent makes one engine and forks; a cold kernel makes one and serves its link with it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import sys
import time
from collections.abc import Iterator
from functools import partial

from wstpserver.kernel.process import prepare_limits

#: Evaluated once, so that what Mathics and SymPy import or compute at first use is there before a fork.
WARM_UP = (
    "2+2", "1/0", "1/3+1.5", "Expand[(a+b)^3]", "Integrate[x^2, x]", "D[Sin[x], x]", "Solve[x^2 == 2, x]", "N[Pi, 30]",
    "Sqrt[2.] + I", "Table[i^2, {i, 3}]", "Do[i, {i, 3}]", "Block[{x = 1}, x]", "Module[{x = 1}, x]",
    "f[x_] := x^2; f[3]", '<|"a" -> 1|>', '"a" <> "b"', "ToString[a/b, InputForm]", "RandomReal[]", "SeedRandom[1]",
    'ToString[ToExpression["1+1"], OutputForm]', "ByteArray[{1}]", "Catch[Throw[1]]", "TimeConstrained[1, 10]",
    "Range[10] + .5", "StringReplace[\"abc\", \"b\" -> \"c\"]", "FullForm[a -> b]", "Quiet[1/0]", "2 +",
    "Names[\"System`Pl*\"]", "Get[\"a-file-that-does-not-exist\"]", "MatrixForm[{{1}}]", "Sort[{3, 1, 2}]",
    "Factor[x^2 - 1]", "Simplify[x + x]", "Det[{{1, 2}, {3, 4}}]", "Prime[10]", "FactorInteger[12]", "Sum[i, {i, 3}]",
)  # fmt: skip


class Engine:
    """Loaded definitions and the evaluation object of the kernel to be. Attributes are what `session` builds on."""

    def __init__(self) -> None:
        """Load Mathics (4-5 s). Raises ImportError or what Mathics raises when it cannot be loaded."""
        with _stdout_to_stderr():
            with _hidden("matplotlib"):
                _load_builtins()
            from mathics.core.definitions import Definitions

            from wstpserver.kernel.builtins import contribute_builtins
            from wstpserver.kernel.evaluation import KernelEvaluation
            from wstpserver.kernel.interruption import Interruption
            from wstpserver.kernel.patches import install_patches
            from wstpserver.kernel.text_form import install_fast_lists

            self.definitions = Definitions(add_builtin=True)
            contribute_builtins(self.definitions)
            install_patches()
            install_fast_lists()
            prepare_limits()
            self.interruption = Interruption()
            self.evaluation = KernelEvaluation(self.definitions, self.interruption)
            self._warm_up()
        _settle_memory()

    def _warm_up(self) -> None:
        from mathics.core.parser import MathicsMultiLineFeeder

        from wstpserver.kernel.evaluator import Evaluator
        from wstpserver.kernel.memory import NumberTables
        from wstpserver.kernel.text_form import text_of

        evaluator = Evaluator(self.evaluation)
        for text in WARM_UP:
            expression = self.evaluation.parse_feeder(MathicsMultiLineFeeder(text, ""))
            if expression is not None:
                result = evaluator.run(partial(expression.evaluate, self.evaluation))
                text_of(result, self.evaluation)
        self._forget()
        self.number_tables = NumberTables()

    def _forget(self) -> None:
        """Leave no trace of the warm-up in the session to come."""
        self.definitions.reset_user_definitions()
        self.definitions.clear_cache()
        self.evaluation.reset()

    def start_session(self) -> None:
        """What every kernel does for itself, after a fork too: its own random numbers, its own clock."""
        from mathics.builtin import datentime

        seed_random()
        datentime.START_TIME = time.time()  # what SessionTime counts from


def seed_random() -> None:
    """Seed all generators Mathics draws from; forked kernels would otherwise draw the same numbers."""
    import numpy

    seed = int.from_bytes(os.urandom(16), "little")
    random.seed(seed)
    numpy.random.seed(seed & 0xFFFF_FFFF)


def _settle_memory() -> None:
    """What is loaded now stays: the collector need not look at it again, which in a forked kernel would copy its pages.

    An evaluation makes many objects that live as long as it does; looking at them less often is a tenth faster.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _load_builtins() -> None:
    from mathics.core.load_builtin import _builtins, import_and_load_builtins

    if not _builtins:
        import_and_load_builtins()


@contextlib.contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Mathics imports every package that it knows for its version, if it is there. This one takes half a second and
    writes into the user's home directory, and nothing in Mathics uses it."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


@contextlib.contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Mathics prints what it could not load; that belongs into the log."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
