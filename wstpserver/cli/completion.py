"""Completion of the command lines of wstpserver, wstpscript and wstpserver-admin, for bash, zsh and fish.

The options are those that the programs' help texts list, so that none can be forgotten. Kernels and pools are those of
the server that `wstpserver-admin` finds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from wstpserver.cli.script.arguments import DOCUMENT as SCRIPT
from wstpserver.cli.serve import DOCUMENT as SERVER

_OPTION: Final = re.compile(
    r"^  (?:-(?P<short>\w), )?(?P<dashes>--?)(?P<name>[a-z][\w-]+)"
    r"(?: (?P<value>\[?[A-Za-z]+\]?)(?:\.\.\.| \[[A-Z]+\])?)?(?:  +(?P<help>.*))?$",
    re.MULTILINE,
)
_COMMAND: Final = re.compile(r"^  (?P<name>[a-z]+)  +(?P<help>[A-Z].*)$", re.MULTILINE)
#: Commands of wstpserver-admin that take IDs of kernels.
_KERNEL_COMMANDS: Final = ("close", "abort", "connect")
_KERNELS: Final = "wstpserver-admin status 2>/dev/null | grep -oE '^[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}'"
_POOLS: Final = "wstpserver-admin status 2>/dev/null | sed -n '/^POOL /,/^$/s/^\\([^ ]*\\) .*/\\1/p' | grep -v '^POOL$'"


@dataclass(frozen=True)
class ProgramOption:
    """An option of a help text.

    Attributes:
        words: How it may be written, such as ("-c", "-code").
        value: What stands behind it, such as FILE or [FILE]; "" for nothing.
        help: What it is for.
    """

    words: tuple[str, ...]
    value: str
    help: str

    @property
    def kind(self) -> str:
        """What completes the value: "file", "folder", "pool", or "" for nothing."""
        name = self.value.strip("[]")
        if name in ("POOL", "NAME"):
            return "pool"
        if name == "DIRECTORY":
            return "folder"
        profile = any(word.endswith("profile") for word in self.words)
        return "file" if name == "FILE" or profile else ""


def options_in(document: str) -> list[ProgramOption]:
    """The options that a help text lists, long ones with one dash or with two."""
    found: list[ProgramOption] = []
    for match in _OPTION.finditer(document):
        short = (f"-{match['short']}",) if match["short"] else ()
        words = (*short, match["dashes"] + match["name"])
        if not any(set(words) & set(other.words) for other in found):
            found.append(ProgramOption(words, match["value"] or "", (match["help"] or "").strip()))
    return found


def commands_in(document: str) -> dict[str, str]:
    """The commands that a help text lists, with what they are for."""
    start = document.find("\nCommands:\n")
    if start < 0:
        return {}
    section = document[start : document.index("\n\n", start)]
    return {match["name"]: match["help"] for match in _COMMAND.finditer(section)}


def completion_script(shell: str, admin: str) -> str:
    """What makes a shell complete the command lines of all three programs.

    Args:
        shell: bash, zsh or fish.
        admin: Help text of wstpserver-admin, which calls this.
    """
    return _SHELLS[shell]({"wstpserver": SERVER, "wstpscript": SCRIPT, "wstpserver-admin": admin})


def _bash(programs: dict[str, str]) -> str:
    lines = [
        "# Completion for wstpserver, wstpscript and wstpserver-admin; in ~/.bashrc:",
        '#     eval "$(wstpserver-admin completion bash)"',
        f"_wstpserver_kernels() {{ {_KERNELS}; }}",
        f"_wstpserver_pools() {{ {_POOLS}; }}",
    ]
    for program, document in programs.items():
        lines += _bash_function(program, document)
    return "\n".join(lines) + "\n"


def _bash_function(program: str, document: str) -> Iterator[str]:
    options = options_in(document)
    commands = commands_in(document)
    name = "_complete_" + program.replace("-", "_")
    words = [word for option in options for word in option.words] + list(commands)
    yield f"{name}() {{"
    yield '    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" word'
    yield '    case "$previous" in'
    actions = {
        "file": 'compgen -f -- "$current"',
        "folder": 'compgen -d -- "$current"',
        "pool": 'compgen -W "$(_wstpserver_pools)" -- "$current"',
    }
    for option in options:
        if option.value and not (option.value.startswith("[") and not option.kind):
            action = actions.get(option.kind)
            reply = f"COMPREPLY=( $({action}) )" if action else "COMPREPLY=()"
            yield f"        {'|'.join(option.words)}) {reply}; return ;;"
    yield "    esac"
    if commands:
        yield '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
        yield '        case "$word" in'
        kernels = 'COMPREPLY=( $(compgen -W "$(_wstpserver_kernels)" -- "$current") )'
        yield f'            {"|".join(_KERNEL_COMMANDS)}) [[ "$current" == -* ]] || {{ {kernels}; return; }} ;;'
        yield '            completion) COMPREPLY=( $(compgen -W "bash zsh fish" -- "$current") ); return ;;'
        yield "        esac"
        yield "    done"
    yield f'    COMPREPLY=( $(compgen -W "{" ".join(words)}" -- "$current") )'
    yield "}"
    yield f"complete -F {name} {program}"


def _zsh(programs: dict[str, str]) -> str:
    head = [
        "# Completion for wstpserver, wstpscript and wstpserver-admin; in ~/.zshrc, after compinit:",
        '#     eval "$(wstpserver-admin completion zsh)"',
        "autoload -U +X bashcompinit && bashcompinit",
    ]
    return "\n".join([*head, *_bash(programs).splitlines()[2:]]) + "\n"


def _fish(programs: dict[str, str]) -> str:
    lines = [
        "# Completion for wstpserver, wstpscript and wstpserver-admin:",
        "#     wstpserver-admin completion fish > ~/.config/fish/completions/wstpserver.fish",
    ]
    for program, document in programs.items():
        lines.append(f"complete -c {program} -f")
        for command, text in commands_in(document).items():
            lines.append(f"complete -c {program} -n __fish_use_subcommand -a {command} -d {_quoted(text)}")
        lines += [_fish_option(program, option) for option in options_in(document)]
    for command in _KERNEL_COMMANDS:
        seen = f"'__fish_seen_subcommand_from {command}'"
        lines.append(f"complete -c wstpserver-admin -n {seen} -a {_quoted(f'({_KERNELS})')}")
    lines.append("complete -c wstpserver-admin -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'")
    return "\n".join(lines) + "\n"


def _fish_option(program: str, option: ProgramOption) -> str:
    words = [f"complete -c {program}"]
    for word in option.words:
        flag = "-l" if word.startswith("--") else "-s" if len(word) == 2 else "-o"
        words.append(f"{flag} {word.lstrip('-')}")
    if option.kind == "pool":
        words.append(f"-x -a {_quoted(f'({_POOLS})')}")
    elif option.kind == "folder":
        words.append("-x -a '(__fish_complete_directories)'")
    elif option.kind == "file":
        words.append("-r -F" if not option.value.startswith("[") else "-F")
    elif option.value and not option.value.startswith("["):
        words.append("-x")
    return " ".join([*words, f"-d {_quoted(option.help)}"])


def _quoted(text: str) -> str:
    """A word for fish in single quotes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SHELLS: Final[dict[str, Callable[[dict[str, str]], str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
