"""What a comparison found, as JSON: where and when, and a table for each measurement."""
import contextlib
import datetime
import os
import platform
import re
import subprocess

from tools.measuring.compare.relays import executable
from wstpserver.version import VERSION


def new():
    """A document without tables."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(), "versions": versions(), "load average": [os.getloadavg()[0]], "ends": {}, "skipped": {},
        "tables": {},
    }  # fmt: skip


def machine():
    """Processor, number of processors, memory, system."""
    facts = {"processor": platform.processor() or platform.machine(), "processors": len(os.sched_getaffinity(0))}
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as info:
        names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
        facts["processor"] = names[0] if names else facts["processor"]
    facts["memory GB"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)
    facts["system"] = f"{platform.system()} {platform.release()}"
    return facts


def versions():
    """The programs that are compared."""
    found = {"wstpserver": VERSION, "Python": platform.python_version()}
    for name, option in (("haproxy", "-v"), ("nginx", "-v"), ("socat", "-V")):
        if path := executable(name):
            done = subprocess.run([path, option], capture_output=True, text=True)
            match = re.search(r"(?:version |nginx/)(\d[\w.+-]*)", done.stdout + done.stderr)
            found[name] = match[1] if match else "?"
    return found


def add_table(document, key, title, rows):
    """`rows`: {leg: {column: value}}."""
    document["tables"][key] = {"title": title, "rows": rows}
