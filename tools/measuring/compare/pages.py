"""Writes the tables into docs/performance.md, between lines that say where they belong."""
import re

from tools.measuring.compare.tables import as_markdown
from tools.measuring.compare.targets import judge

#: <!-- table: KEY --> ... <!-- end -->
_PLACE = re.compile(r"(<!-- (table|machine|targets)(?:: ([\w ]+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def update(path, document):
    """Put what the document has into its places; places for what it has not stay as they are."""

    def replace(match):
        begin, kind, key, end = match.groups()
        if kind == "machine":
            return f"{begin}{_machine(document)}\n{end}"
        if kind == "targets":
            return f"{begin}{_targets(document)}\n{end}"
        if key in document["tables"]:
            return f"{begin}{as_markdown(document['tables'][key])}\n{end}"
        return match[0]

    text = path.read_text(encoding="utf-8")
    path.write_text(_PLACE.sub(replace, text), encoding="utf-8")


def _machine(document):
    machine, versions = document["machine"], document["versions"]
    lines = [
        f"{document['date']}: {machine['processor']}, {machine['processors']} processors, {machine['memory GB']} GB, "
        f"{machine['system']}; " + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"; load average {document['load average'][0]:.1f} at the beginning.",
        *(f"Not measured: {name}, {why}." for name, why in document["skipped"].items()),
    ]  # fmt: skip
    return "\n".join(lines)


def _targets(document):
    lines = ["| target | measured | reached |", "| --- | --- | --- |"]
    for target, measured, reached in judge(document):
        lines.append(f"| {target} | {measured} | {'yes' if reached else 'no'} |")
    return "\n".join(lines)
