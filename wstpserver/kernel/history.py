"""Line numbers, In and Out."""

from __future__ import annotations

from collections import deque

from mathics.core.atoms import Integer
from mathics.core.definitions import Definitions
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.rules import Rule
from mathics.core.systemsymbols import SymbolIn, SymbolOut


class History:
    """The lines of one kernel. Inserts and removes rules by identity: Mathics' own way compares all of them."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._kept: deque[tuple[int, str, Rule]] = deque()

    @property
    def line(self) -> int:
        """$Line: the number of the input that is waited for, or evaluated."""
        return int(self._definitions.get_line_no())

    @property
    def length(self) -> int:
        """How many lines are kept: $HistoryLength, which Mathics limits to 100."""
        return int(self._definitions.get_history_length())

    def advance(self) -> None:
        """Count up $Line: the next input is waited for."""
        self._definitions.set_line_no(self.line + 1)

    def record_input(self, line: int, expression: BaseElement) -> None:
        """In[line] := expression"""
        self._record(line, "System`In", Rule(Expression(SymbolIn, Integer(line)), expression))

    def record_output(self, line: int, value: BaseElement) -> None:
        """Out[line] = value"""
        self._record(line, "System`Out", Rule(Expression(SymbolOut, Integer(line)), value))

    def trim(self, line: int) -> None:
        """Forget what is older than the history goes back from `line`; also lines above it, after $Line was reset."""
        first = line - self.length + 1
        while self._kept and not first <= self._kept[0][0] <= line:
            _, name, rule = self._kept.popleft()
            self._remove(name, rule)

    def _record(self, line: int, name: str, rule: Rule) -> None:
        if self.length < 1:
            return
        for entry in [entry for entry in self._kept if entry[0] == line and entry[1] == name]:
            self._kept.remove(entry)
            self._remove(name, entry[2])
        definition = self._definitions.get_user_definition(name)
        definition.downvalues.insert(0, rule)
        self._changed(name)
        self._kept.append((line, name, rule))

    def _remove(self, name: str, rule: Rule) -> None:
        values = self._definitions.get_user_definition(name).downvalues
        for index, value in enumerate(values):
            if value is rule:
                del values[index]
                self._changed(name)
                return

    def _changed(self, name: str) -> None:
        self._definitions.mark_changed(self._definitions.get_user_definition(name))
        self._definitions.clear_definitions_cache(name)
