"""Command lines in a form that docopt can parse, with clear errors.

docopt does not support options whose value is optional (`--log-file [FILE]`) and says little about what is
wrong. So the words are first rewritten to `--option=value`, by the options that the help text lists:

- `-f` and `--log-file` without a value become `--log-file=`;
- a value is the next word unless that begins with a dash; `--option=-x` gives a value that begins with one, and
  a single dash is a value;
- `-p31415`, `-p=31415`, `-p 31415`, `--port=31415` and `--port 31415` are the same, and a long option may be
  abbreviated as long as it is unambiguous.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

#: Compiled where it is used: other programs import this module for its error.
_OPTION_LINE = r"(?m)^ +(?:-(?P<short>\w), )?--(?P<long>[\w-]+)(?: (?P<value>\[?[A-Z]+\]?))?(?:  |$)"


class UsageError(Exception):
    """The command line is wrong; the text says how."""


class CommandOption(NamedTuple):
    """An option of the help text.

    Attributes:
        short: The letter of the short option, "" if there is none.
        long: The name of the long option, without dashes.
        value: The value as the help text writes it: "", "FILE", or "[FILE]" for one that is optional.
    """

    short: str
    long: str
    value: str

    @property
    def needs_value(self) -> bool:
        """Whether the option cannot do without a value."""
        return bool(self.value) and not self.value.startswith("[")


def options_of(document: str) -> list[CommandOption]:
    """Return the options that a docopt help text lists."""
    return [
        CommandOption(match["short"] or "", match["long"], match["value"] or "")
        for match in re.finditer(_OPTION_LINE, document)
    ]


def normalise(document: str, words: Sequence[str]) -> list[str]:
    """Rewrite a command line.

    Args:
        document: The help text, in docopt's form.
        words: The command line without the program's name.

    Returns:
        The words as `--option` and `--option=value`.

    Raises:
        UsageError: An option is unknown, ambiguous, repeated, or has no value where it needs one.
    """
    return _Normaliser(options_of(document)).run(words)


class _Normaliser:
    """Rewrites the words in one pass from left to right."""

    def __init__(self, options: list[CommandOption]) -> None:
        self._options = options
        self._seen: set[str] = set()
        self._words: deque[str] = deque()
        self._result: list[str] = []

    def run(self, words: Sequence[str]) -> list[str]:
        self._words = deque(words)
        while self._words:
            word = self._words.popleft()
            if word.startswith("--") and len(word) > 2:
                self._take_long(word)
            elif word.startswith("-") and word not in ("-", "--"):
                self._take_short(word)
            else:
                raise UsageError(f"unexpected argument {word!r}")
        return self._result

    def _take_long(self, word: str) -> None:
        name, equals, value = word[2:].partition("=")
        option = self._find(name)
        if equals and not option.value:
            raise UsageError(f"--{option.long} takes no value")
        self._add(option, value if equals else None)

    def _take_short(self, word: str) -> None:
        """Take a word of short options: flags, of which the last may have a value."""
        letters = word[1:]
        while letters:
            option = next((known for known in self._options if known.short == letters[0]), None)
            if option is None:
                raise UsageError(f"unknown option -{letters[0]}")
            letters = letters[1:]
            if option.value:
                self._add(option, letters.removeprefix("=") if letters else None)
                return
            self._add(option, None)

    def _find(self, name: str) -> CommandOption:
        exact = [option for option in self._options if option.long == name]
        matches = exact or [option for option in self._options if name and option.long.startswith(name)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            names = ", ".join(f"--{option.long}" for option in matches)
            raise UsageError(f"--{name} may be any of {names}")
        import difflib  # which takes a while, and is for mistakes only

        nearest = difflib.get_close_matches(name, [option.long for option in self._options], n=1)
        raise UsageError(f"unknown option --{name}" + (f"; did you mean --{nearest[0]}?" if nearest else ""))

    def _add(self, option: CommandOption, value: str | None) -> None:
        if option.long in self._seen:
            raise UsageError(f"--{option.long} is given twice")
        self._seen.add(option.long)
        if not option.value:
            self._result.append(f"--{option.long}")
            return
        if value is None and self._words and (self._words[0] == "-" or not self._words[0].startswith("-")):
            value = self._words.popleft()
        if not value and option.needs_value:
            raise UsageError(f"--{option.long} needs a value ({option.value})")
        self._result.append(f"--{option.long}={value or ''}")
