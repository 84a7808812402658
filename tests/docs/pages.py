"""The pages of the documentation, and what is in them: headings, links, code, tables, samples, command lines."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tools.harness.server import ROOT

#: Programs whose command lines the pages show, as they are called without a folder.
PROGRAMS = (
    "wstpserver", "wstpscript", "wstpserver-admin", "wstpserver-kernel", "wstpkernel", "wstpserver-jupyter",
    "wstpserver-mcp",
)  # fmt: skip

#: What stands for a value in a command line, and a value that the program accepts in its place.
PLACEHOLDERS = {
    "PORT@HOST": "31415@localhost", "31415@HOST": "31415@localhost", "PORT": "31415", "HOST": "localhost",
    "INTERFACE": "localhost", "FILE": "file", "FOLDER": "folder", "ADDRESS": "31415", "SECONDS": "2", "N": "2",
    "CODE": "1", "FUNCTION": "f", "ID": "a806-2645-9651", "COMMIT": "main", "POOL": "Main", "FD": "3",
    "CLIENT": "3", "KEY": "m",
}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """One page: its path below the project's folder, and its text."""

    name: str
    text: str

    @property
    def path(self) -> Path:
        return ROOT / self.name

    @property
    def prose(self) -> str:
        """The text without blocks of code and without code in lines."""
        lines = [line for line in _without_fences(self.text).splitlines() if not line.startswith("    ")]
        return re.sub(r"(`+).+?\1", "", "\n".join(lines))

    @property
    def spans(self) -> list[str]:
        """The code in lines."""
        text = "\n".join(line for line in _without_fences(self.text).splitlines() if not line.startswith("    "))
        return [match[2].strip() for match in re.finditer(r"(`+)(.+?)\1", text)]

    @property
    def blocks(self) -> list[str]:
        """The blocks of code that are indented, without their indentation. Empty lines do not end one."""
        found: list[list[str]] = []
        before, inside, depth = "", False, 0
        for line in _without_fences(self.text).splitlines():
            indent = len(line) - len(line.lstrip())
            # in an item of a list a block has more than the four blanks of a block elsewhere
            begins = indent >= 4 and not before.strip() and line.strip()
            if not inside and begins:
                inside, depth = True, indent
                found.append([])
            elif inside and line.strip() and indent < min(depth, 4 if depth < 6 else depth):
                inside = False
            if inside:
                found[-1].append(line)
            before = line
        return [_dedented(lines) for lines in found]

    @property
    def anchors(self) -> set[str]:
        """The anchors of the headings, as GitHub makes them."""
        titles = re.findall(r"^#+ (.*)$", self.text, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    @property
    def rows(self) -> list[list[str]]:
        """The rows of all tables, each as its cells."""
        lines = re.findall(r"^\|(.*)\|$", self.text, re.MULTILINE)
        return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]

    def section(self, heading: str) -> str:
        """The text below a heading, to the next one of the same depth or above."""
        depth = len(heading) - len(heading.lstrip("#"))
        start = self.text.index(f"{heading}\n") + len(heading)
        end = re.compile(rf"^#{{1,{depth}}} ", re.MULTILINE).search(self.text, start)
        return self.text[start : end.start() if end else None]

    def table(self, first_column: str) -> list[list[str]]:
        """The rows below the head of the only table whose first column has this title."""
        head = rf"^\| {re.escape(first_column)} \|.*\n\|[-| :]+\|\n"
        (table,) = re.findall(head + r"((?:\|.*\n)+)", self.text + "\n", re.MULTILINE)
        return Page(self.name, table).rows


def _without_fences(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def _dedented(lines: list[str]) -> str:
    depth = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[depth:] for line in lines).rstrip()


@cache
def all_pages() -> tuple[Page, ...]:
    """README.md and everything below docs."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return tuple(Page(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths)


def page(name: str) -> Page:
    """The page with this path below the project's folder."""
    return next(page for page in all_pages() if page.name == name)


@dataclass(frozen=True)
class CommandLine:
    """One command line of a page: the program, as it is called without a folder, and the words after it.

    A `synopsis` shows in brackets what may be left out or chosen. A `mention` stands in a line of text and may leave
    out what the program needs.
    """

    page: str
    program: str
    words: tuple[str, ...]
    synopsis: bool
    mention: bool

    @property
    def options(self) -> set[str]:
        """The words that are options, without their values."""
        words = [re.split(r"[=\])]", word.lstrip("[("))[0] for word in self.words]
        return {word for word in words if re.fullmatch(r"--?[a-z][\w-]*", word)}

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join((self.program, *self.words))}"


def command_lines(of: Page) -> list[CommandLine]:
    """The command lines of this project's programs in a page, in blocks and in lines."""
    found = []
    for block in of.blocks:
        for line in _shell_lines(block):
            found += _commands(of.name, line, mention=False)
    for span in of.spans:
        if re.match(rf"({'|'.join(PROGRAMS)}|tools/[a-z-]+) ", span):
            found += _commands(of.name, span, mention=True)
    return found


def _shell_lines(block: str) -> list[str]:
    """What is typed: the lines after a prompt, or all if there is none."""
    lines = block.replace("\\\n", " ").splitlines()
    typed = [line[2:] for line in lines if line.startswith("$ ")]
    return typed or lines


def _commands(name: str, text: str, *, mention: bool) -> list[CommandLine]:
    text = re.sub(r"\S*\$\(([^)]*)\)\S*", r"; \1;", text)
    text = re.split(r" {4,}", text.strip())[0]  # an explanation beside it
    if not re.match(r"[\w./~-]+( |$)|; ", text):
        return []
    synopsis = re.search(r"[\[(]|\.\.\.", re.sub(r"'[^']*'|\"[^\"]*\"", "", text)) is not None
    lexer = shlex.shlex(text, posix=True, punctuation_chars="" if synopsis else ";<>&|")
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # not a command line
        return []
    commands: list[list[str]] = [[]]
    for word in words:
        if not synopsis and re.fullmatch(r"[;<>&|]+", word):
            commands.append(["(file)"] if word[0] in "<>" else [])
        else:
            commands[-1].append(word)
    found = []
    for command in commands:
        program, *arguments = [word for word in command if not re.fullmatch(r"\w+=.*", word)] or [""]
        program = program if program.startswith("tools/") else program.rpartition("/")[2]
        if program in PROGRAMS or program.startswith("tools/"):
            values = tuple(PLACEHOLDERS.get(word, word) for word in arguments)
            found.append(CommandLine(name, program, values, synopsis, mention))
    return found
