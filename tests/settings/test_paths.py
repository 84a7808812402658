"""Paths in a configuration file: where they lead, and what is said when they lead nowhere."""

import os

import pytest

from wstpserver.settings import discovery
from wstpserver.settings.problems import ConfigurationError


def pool(loaded):
    return loaded.settings.pools[0]


def problem(world):
    with pytest.raises(ConfigurationError) as caught:
        world.load(path=str(world.local))
    (found,) = caught.value.problems
    return found


def test_an_absolute_kernel_path_stays_as_it_is(world):
    link = world.home / "link"
    link.symlink_to(world.kernel)
    world.write(world.local, world.pool(KernelPath=str(link)))
    assert pool(world.load()).kernel_path == str(link)


def test_a_relative_path_is_relative_to_the_file(world):
    kernel = world.program("kernel", world.cwd / "sub" / "bin")
    init = world.write(world.cwd / "sub" / "init.wl", "")
    world.write(world.cwd / "sub" / "conf", world.pool(KernelPath="bin/kernel", InitializationFile="init.wl"))
    loaded = world.load(path="sub/conf")
    assert (pool(loaded).kernel_path, pool(loaded).initialization_file) == (str(kernel), str(init))
    assert loaded.warnings == ()


def test_a_tilde_is_the_home_folder(world):
    init = world.write(world.home / "init.wl", "")
    world.write(world.local, world.pool(KernelPath="~/kernel", InitializationFile="~/init.wl"))
    assert (pool(world.load()).kernel_path, pool(world.load()).initialization_file) == (str(world.kernel), str(init))


def test_a_bare_name_is_looked_for_on_path(world):
    kernel = world.program("MyKernel", world.home / "bin")
    world.program("MyKernel", world.cwd)
    world.environ["PATH"] = f"/nowhere:{world.home / 'bin'}"
    world.write(world.local, world.pool(KernelPath="MyKernel"))
    assert pool(world.load()).kernel_path == str(kernel)


def test_the_embedded_kernel_needs_not_be_on_path(world, monkeypatch):
    kernel = world.program("wstpkernel")
    monkeypatch.setattr(discovery, "EMBEDDED_DISTRIBUTION", "pytest")
    monkeypatch.setattr(discovery, "_script_folders", lambda: [world.home])
    world.write(world.local, world.pool(KernelPath="wstpkernel"))
    assert pool(world.load()).kernel_path == str(kernel)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{home}/nothing", 'there is no file "{home}/nothing"'),
        ("{home}", '"{home}" is a folder, not a program'),
        ("{home}/plain", '"{home}/plain" is not a program that may be executed'),
        ("nothing", 'there is no program "nothing" on PATH'),
        ("", "expected the path of a program"),
        ("a\0b", "expected the path of a program"),
    ],
)
def test_a_kernel_path_that_leads_nowhere(world, path, message):
    (world.home / "plain").touch(mode=0o644)
    world.write(world.local, world.pool(KernelPath=path.format(home=world.home)))
    found = problem(world)
    assert found.message == message.format(home=world.home)
    assert (found.line, found.key) == (1, "Pools.P.KernelPath")


@pytest.mark.parametrize("name", ["nothing.wl", "/nowhere/nothing.wl", "MyPackage`", "nul\0"])
def test_an_initialization_file_that_is_not_there_is_left_to_the_kernel(world, name):
    world.write(world.local, world.pool(InitializationFile=name))
    loaded = world.load()
    assert pool(loaded).initialization_file == name
    (warning,) = loaded.warnings
    assert (warning.key, warning.line) == ("Pools.P.InitializationFile", 1)
    assert name in warning.message


def test_no_initialization_file_is_no_trouble(world):
    world.write(world.local, world.pool(InitializationFile=""))
    assert world.load().warnings == ()


def test_paths_do_not_change_when_the_working_folder_does(world, monkeypatch):
    world.program("kernel", world.cwd)
    world.write(world.local, world.pool(KernelPath="./kernel"))
    monkeypatch.chdir("/")
    assert os.path.isabs(pool(world.load()).kernel_path)
