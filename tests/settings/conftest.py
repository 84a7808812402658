"""A made-up user: a home, a working folder, a kernel, an environment, and nothing of the real ones."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from wstpserver.settings.discovery import Discovered
from wstpserver.settings.loader import Source, load_settings


class World:
    """Files and environment of a made-up user; `load` and `source` see nothing else."""

    def __init__(self, folder):
        self.home = folder / "home"
        self.cwd = folder / "work"
        self.home.mkdir()
        self.cwd.mkdir()
        self.environ = {"HOME": str(self.home), "PATH": ""}
        self.kernel = self.program("kernel")
        self.application_data = self.home / ".config" / "WSTPServer" / "wstpserver.conf"
        self.local = self.cwd / "wstpserver.conf"

    def program(self, name, folder=None):
        path = (folder or self.home) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    def write(self, path, content):
        """Write a configuration: a dict, the text, or bytes."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def pool(self, **values):
        """A configuration with one pool "P" that has a kernel."""
        return {"Pools": {"P": {"KernelPath": str(self.kernel), **values}}}

    def source(self, **fields):
        base = Source(
            environ=self.environ,
            cwd=self.cwd,
            home=self.home,
            platform="linux",
            find_kernel=lambda: Discovered("/discovered/kernel", "wolfram", "found on PATH"),
        )
        return dataclasses.replace(base, **fields)

    def load(self, *, create=True, **fields):
        return load_settings(self.source(**fields), create=create)


@pytest.fixture
def permissions_count(tmp_path):
    """Skips the test for a user whom permissions do not stop."""
    probe = tmp_path / "probe"
    probe.touch(mode=0)
    if os.access(probe, os.R_OK):
        pytest.skip("this user reads and writes everything")
    probe.unlink()


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)
