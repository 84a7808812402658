"""The reference of the Python API says what the docstrings say."""

import subprocess
import sys
from pathlib import Path

from wstpserver import client

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python-api.md"


def test_the_page_is_current():
    done = subprocess.run([sys.executable, ROOT / "tools" / "generate-api", "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_documents_every_exported_name():
    headings = [line.split()[1].partition("(")[0] for line in PAGE.read_text().splitlines() if line.startswith("### ")]
    forms_of_values = {"Results"}  # an alias, described where it is an argument
    assert set(client.__all__) - forms_of_values <= set(headings)
