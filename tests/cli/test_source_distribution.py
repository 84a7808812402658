"""The source distribution holds everything that a user of it needs."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Everything but what git and tools leave in the project's folder.
_NOT_COPIED = shutil.ignore_patterns(
    ".*", "build", "dist", "*.egg-info", "__pycache__", "*.so", "*.o", "node_modules"
)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names in a source distribution, without its top folder."""
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip("needs setuptools 77, which knows licenses as SPDX expressions")
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "project", ignore=_NOT_COPIED)
    code = f"from setuptools import build_meta; print(build_meta.build_sdist({str(folder)!r}))"
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code],
        cwd=folder / "project", capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("wstpserver-*.tar.gz")
    with tarfile.open(archive) as tar:
        found = {name.partition("/")[2] for name in tar.getnames()}
        metadata = tar.extractfile(f"{archive.name.removesuffix('.tar.gz')}/PKG-INFO").read().decode()
    assert "\nLicense-Expression: MIT\n" in metadata
    return found


@pytest.mark.parametrize("folder", ["docs", "examples", "tools", "cext", "tests"])
def test_every_file_of_the_folder_is_in_it(names, folder):
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".pyc", ".so", ".o")
    }
    assert files - names == set()


def test_the_files_at_the_top_are_in_it(names):
    assert {"conf.example", "CHANGES.rst", "LICENSE", "README.md", "pyproject.toml", "setup.py"} <= names


def test_nothing_that_was_built_is_in_it(names):
    assert [name for name in names if name.endswith((".pyc", ".so", ".o")) or "__pycache__" in name] == []
