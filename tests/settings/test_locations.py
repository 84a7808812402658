"""Writing the default file: whole, once, and never over another."""

import errno
import os
import threading

import pytest

from wstpserver.settings import locations
from wstpserver.settings.locations import home_folder, working_folder, write_new


def no_hard_links(source, target):
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=["hard links", "no hard links"])
def file_system(request, monkeypatch):
    if request.param == "no hard links":
        monkeypatch.setattr(locations.os, "link", no_hard_links)


def test_writes_a_file_and_its_folders(tmp_path, file_system):
    path = tmp_path / "a" / "b" / "f"
    assert write_new(path, "größer") is True
    assert path.read_text(encoding="utf-8") == "größer"
    assert os.listdir(path.parent) == ["f"]


def test_leaves_what_is_there(tmp_path, file_system):
    path = tmp_path / "f"
    path.write_text("old")
    assert write_new(path, "new") is False
    assert path.read_text() == "old"
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nothing")
    assert write_new(link, "new") is False
    assert not (tmp_path / "nothing").exists()


def test_of_many_writers_one_wins(tmp_path, file_system):
    path = tmp_path / "f"
    barrier = threading.Barrier(8)
    results = []

    def write(number):
        barrier.wait()
        results.append((write_new(path, str(number) * 10_000), number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for won, number in results if won]
    assert len(winners) == 1
    assert path.read_text() == str(winners[0]) * 10_000
    assert os.listdir(tmp_path) == ["f"]


def test_what_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, *_, **__):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(locations.Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_new(tmp_path / "f", "text")
    assert os.listdir(tmp_path) == []


def test_a_working_folder_that_was_deleted(tmp_path, monkeypatch):
    assert working_folder() == locations.Path.cwd()
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert working_folder() == locations.Path("/")


def test_a_user_without_a_home(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert home_folder() == locations.Path("/somewhere")

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(locations.Path, "home", no_home)
    assert home_folder() is None
