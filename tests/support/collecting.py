"""Collecting once for all workers of a run that shares out whole files (`pytest -n auto --dist loadfile`).

Where each worker collects all tests, each imports all test modules, and all that these import: 3 seconds of processor
time for each worker. Here the process that starts the workers collects, and tells them the names of all tests; a
worker imports the files that it is given tests of, when the first of these comes.

A plugin of pytest, which `tests/conftest.py` registers.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

#: What the starting process tells a worker: the names of all tests, in the order of which all workers count them.
_KEY = "names_of_all_tests"
_names = pytest.StashKey[list[str]]()
_session = pytest.StashKey[pytest.Session]()


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_session] = session


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list) -> None:
    """Collect before the workers are started, of which there are none if that fails."""
    if config.getvalue("dist") != "loadfile":
        return
    session = config.stash[_session]
    before = dict(os.environ)
    _collection_without(config, "dsession")(session=session)
    os.environ.clear()  # what a module may have set for itself is not for all workers
    os.environ.update(before)
    config.stash[_names] = [item.nodeid for item in session.items]
    if _failed(session):
        specs.clear()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    if _names in node.config.stash:
        node.workerinput[_KEY] = node.config.stash[_names]


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> bool | None:
    """In a worker that has been told what there is, do not collect."""
    config = session.config
    if _names in config.stash and _failed(session):
        raise session.Interrupted(f"{session.testsfailed} errors during collection")
    names = getattr(config, "workerinput", {}).get(_KEY)
    if names is None:
        return None
    _collection_without(config, "main", __name__)(session=session)
    session.items = Items(session, names)
    session.testscollected = len(names)
    config.hook.pytest_collection_finish(session=session)
    return True


def _failed(session: pytest.Session) -> bool:
    return bool(session.testsfailed) and not session.config.getvalue("continue_on_collection_errors")


def _collection_without(config: pytest.Config, *plugins: str):
    """The hook `pytest_collection` of all plugins but these."""
    manager = config.pluginmanager
    return manager.subset_hook_caller("pytest_collection", [manager.get_plugin(name) for name in plugins])


class Items(Sequence):
    """The tests of a worker's session, which are made when they are asked for; iterating gives their names only.

    Args:
        session: What they belong to.
        names: Of all tests of the run.
    """

    def __init__(self, session: pytest.Session, names: list[str]) -> None:
        self._session = session
        self._names = names
        self._items: dict[str, dict[str, pytest.Item]] = {}
        self._folders: dict[Path, dict[str, pytest.Collector]] = {}
        root = session.config.rootpath
        for name, _ in session.config.pluginmanager.list_name_plugin():
            path = Path(name)
            if path.name == "conftest.py" and path.is_relative_to(root):
                self._in_folder(path.parent.relative_to(root))  # loaded at the start, and taken up by its folder only

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[SimpleNamespace]:
        return (SimpleNamespace(nodeid=name) for name in self._names)

    def __getitem__(self, index: int) -> pytest.Item:
        name = self._names[index]
        file = name.split("::", 1)[0]
        if file not in self._items:
            self._items[file] = self._in_file(Path(file))
        return self._items[file][name]

    def _in_file(self, path: Path) -> dict[str, pytest.Item]:
        """The tests of a file by name. What importing warns of has been told by the process that collected."""
        gc.disable()  # all that is made stays
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            collector = self._in_folder(path.parent)[path.name]
            items = {item.nodeid: item for item in self._session.genitems(collector)}
        gc.enable()
        gc.freeze()
        return items

    def _in_folder(self, path: Path) -> dict[str, pytest.Collector]:
        """The collectors of what is in a folder, whose conftest.py has been loaded; the path is that from the root."""
        if path not in self._folders:
            if path == Path():
                root = self._session.config.rootpath
                hook = self._session.gethookproxy(root.parent)
                folder = hook.pytest_collect_directory(path=root, parent=self._session)
            else:
                folder = self._in_folder(path.parent)[path.name]
            report = folder.ihook.pytest_make_collect_report(collector=folder)
            assert report.passed, report.longrepr
            self._folders[path] = {node.path.name: node for node in report.result}
        return self._folders[path]
