"""Which file is used, what goes before it, what is written where there is none, and reloading."""

import errno
import json
import os
import re
import stat
import sys
import threading

import pytest

from wstpserver.settings import discovery
from wstpserver.settings.jsonc import ConfigurationError
from wstpserver.settings.loader import read_tokens, reload_settings, write_new
from wstpserver.settings.reference import sample_text

BROKEN = {
    "empty": "",
    "binary": b"\x00\x01\x02\xff" * 100,
    "half-written": sample_text()[:-40],
    "not UTF-8": b'{"Pools":{"\xff":{}}}',
    "an unknown key": '{"Pools":{"P":{}},"Typo":1}',
    "a wrong type": '{"Pools":{"P":{"KeepAlive":1}}}',
    "a duplicate key": '{"Pools":{"P":{}},"Pools":{"Q":{}}}',
    "a duplicate pool": '{"Pools":{"P":{},"P":{}}}',
    "two default pools": '{"Pools":{"P":{"Default":true},"Q":{"Default":true}}}',
    "no pool": '{"Pools":{}}',
    "a list": "[]",
    "nested deeply": "[" * 100_000,
    "without a kernel": '{"Pools":{"P":{"KernelPath":"/nowhere"}}}',
}


def pool_names(loaded):
    return [pool.name for pool in loaded.settings.pools]


# The search


def test_the_working_folder_comes_first(world):
    world.write(world.local, {"Pools": {"Local": {}}})
    world.write(world.application_data, {"Pools": {"User": {}}})
    loaded = world.load()
    assert pool_names(loaded) == ["Local"]
    assert (loaded.path, loaded.created, loaded.warnings) == (world.local, False, ())


def test_then_the_application_data_directory(world):
    world.write(world.application_data, {"Pools": {"User": {}}})
    assert pool_names(world.load()) == ["User"]


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_an_invalid_file_is_reported_and_skipped(world, content):
    world.write(world.local, content)
    world.write(world.application_data, {"Pools": {"User": {}}})
    loaded = world.load()
    assert pool_names(loaded) == ["User"]
    assert all(warning.file == str(world.local) for warning in loaded.warnings)
    assert loaded.warnings[-1].message == "is not valid and was skipped"
    assert loaded.skipped == (world.local,)
    assert len(loaded.warnings) >= 2


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_an_invalid_file_is_never_overwritten(world, content):
    world.write(world.application_data, content)
    before = world.application_data.read_bytes()
    loaded = world.load()
    assert (loaded.path, loaded.created) == (None, False)
    assert pool_names(loaded) == ["KernelPoolOne"]
    assert world.application_data.read_bytes() == before
    assert os.listdir(world.application_data.parent) == ["wstpserver.conf"]


def test_something_else_in_the_place_of_the_file(world):
    world.local.mkdir()
    world.application_data.parent.mkdir(parents=True)
    world.application_data.symlink_to(world.home / "nothing")
    loaded = world.load()
    assert loaded.path is None
    assert [w.message for w in loaded.warnings if "skipped" not in w.message] == [
        "is a folder, not a file",
        "No such file or directory",
    ]
    assert world.application_data.is_symlink()


@pytest.mark.parametrize(
    ("platform", "environ", "place"),
    [
        ("linux", {}, ".config/WSTPServer"),
        ("freebsd14", {}, ".config/WSTPServer"),
        ("linux", {"XDG_CONFIG_HOME": "relative"}, ".config/WSTPServer"),
        ("linux", {"XDG_CONFIG_HOME": ""}, ".config/WSTPServer"),
        ("linux", {"XDG_CONFIG_HOME": "{home}/xdg"}, "xdg/WSTPServer"),
        ("darwin", {"XDG_CONFIG_HOME": "{home}/xdg"}, "Library/Application Support/WSTPServer"),
        ("win32", {"APPDATA": "{home}/roaming"}, "roaming/WSTPServer"),
        ("win32", {}, "AppData/Roaming/WSTPServer"),
    ],
)
def test_application_data_directory_of_each_system(world, platform, environ, place):
    world.environ |= {key: value.format(home=world.home) for key, value in environ.items()}
    loaded = world.load(platform=platform)
    assert loaded.path == world.home / place / "wstpserver.conf"
    assert loaded.created


# The default file


def test_where_there_is_no_file_the_default_one_is_written(world):
    loaded = world.load()
    assert (loaded.path, loaded.created, loaded.warnings) == (world.application_data, True, ())
    assert world.application_data.read_text(encoding="utf-8") == sample_text()
    assert os.listdir(world.application_data.parent) == ["wstpserver.conf"]
    again = world.load()
    assert (again.path, again.created) == (world.application_data, False)
    assert again.settings == loaded.settings


def test_an_invalid_local_file_does_not_keep_the_default_one_from_being_written(world):
    world.write(world.local, "{")
    loaded = world.load()
    assert (loaded.path, loaded.created) == (world.application_data, True)
    assert loaded.warnings[0].file == str(world.local)


def test_nothing_is_written_for_a_check(world):
    loaded = world.load(create=False)
    assert (loaded.path, loaded.created) == (world.application_data, True)
    assert sorted(os.listdir(world.home)) == ["kernel"]


def test_a_check_without_a_file_shows_the_settings_of_the_default_file(world):
    checked = world.load(create=False)
    created = world.load()
    assert (checked.settings, checked.origins) == (created.settings, created.origins)


def test_absent_keys_have_the_documented_defaults(world):
    world.write(world.local, '{"Pools": {"P": {}}}')
    pool = world.load().settings.default_pool
    assert (pool.minimum_kernel_number, pool.maximum_kernel_number, pool.reserved_kernel_timeout) == (2, 2, 0)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_nobody_else_can_write_the_default_file(world, umask):
    previous = os.umask(umask)
    try:
        path = world.load().path
    finally:
        os.umask(previous)
    modes = [stat.S_IMODE(it.stat().st_mode) for it in (path, path.parent, path.parent.parent)]
    assert modes == [0o644 & ~umask, 0o755 & ~umask, 0o755 & ~umask]


def assert_runs_with_defaults(loaded, home):
    assert loaded.path is None
    (warning,) = loaded.warnings
    assert warning.file == str(home / ".config" / "WSTPServer" / "wstpserver.conf")
    assert warning.message.startswith("no default configuration file can be written here (")
    assert pool_names(loaded) == ["KernelPoolOne"]


def test_in_a_read_only_home_the_defaults_are_used(world, permissions_count):
    world.home.chmod(0o500)
    try:
        loaded = world.load()
    finally:
        world.home.chmod(0o700)
    assert_runs_with_defaults(loaded, world.home)


def test_where_the_home_is_no_folder_the_defaults_are_used(world):
    home = world.cwd / "file"
    home.touch()
    assert_runs_with_defaults(world.load(home=home), home)


def test_a_user_without_a_home(world):
    loaded = world.load(home=None)
    assert loaded.path is None
    assert [it.message for it in loaded.warnings] == [
        "there is no home folder to write a default configuration file to"
    ]


def test_without_any_kernel_all_that_was_wrong_is_told(world):
    world.write(world.local, '{"Pools":{"P":{"KernelPath":"/nowhere"}}}')
    with pytest.raises(ConfigurationError) as caught:
        world.load(find_kernel=lambda: None, create=False)
    line = sample_text().splitlines().index('            "KernelPoolOne":') + 1
    assert str(caught.value).splitlines() == [
        f'{world.local}:1:29: Pools.P.KernelPath: there is no file "/nowhere"',
        f"{world.local}: is not valid and was skipped",
        f"{world.application_data}:{line}:13: "
        "Pools.KernelPoolOne.KernelPath: no kernel was found on this computer, so KernelPath is required"
        " (or install the embedded kernel: pip install '.[mathics]' in the folder of wstpserver's source)",
    ]


# The named file


@pytest.mark.parametrize("how", ["command line", "environment"])
@pytest.mark.parametrize("relative", [True, False])
def test_a_named_file_is_the_only_one(world, how, relative):
    world.write(world.local, {"Pools": {"Local": {}}})
    path = world.write(world.cwd / "named", {"Pools": {"Named": {}}})
    name = "named" if relative else str(path)
    if how == "environment":
        world.environ["WSTPSERVER_CONFIGURATION_FILE"] = name
        loaded = world.load()
    else:
        loaded = world.load(path=name)
    assert (pool_names(loaded), loaded.path) == (["Named"], path)


def test_the_command_line_names_it_before_the_environment(world):
    world.write(world.cwd / "named", {"Pools": {"Named": {}}})
    world.environ["WSTPSERVER_CONFIGURATION_FILE"] = "other"
    assert pool_names(world.load(path="named")) == ["Named"]


def test_a_variable_set_to_nothing_is_not_set(world):
    world.environ |= dict.fromkeys(("WSTPSERVER_CONFIGURATION_FILE", "WSTPSERVER_PORT", "WSTPSERVER_INTERFACE"), "")
    loaded = world.load()
    assert loaded.created
    assert (loaded.settings.port, loaded.settings.interface) == (31415, "")


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_named_file_must_be_valid(world, content):
    world.write(world.local, {"Pools": {"Local": {}}})
    path = world.write(world.cwd / "named", content)
    with pytest.raises(ConfigurationError) as caught:
        world.load(path="named")
    assert caught.value.problems
    assert all(problem.file == str(path) for problem in caught.value.problems)


def test_a_named_file_must_exist_and_is_not_created(world):
    with pytest.raises(ConfigurationError, match="No such file"):
        world.load(path="named")
    assert os.listdir(world.cwd) == []


def test_one_look_finds_syntax_and_meaning_in_the_order_of_the_file(world):
    text = """{"Port": 70000
"Pools": {"A": {"Default": true, "KernelPath": "/nowhere"}, "B": {"Default": true,
"Keep":1}}}"""
    world.write(world.cwd / "named", text)
    with pytest.raises(ConfigurationError) as caught:
        world.load(path="named")
    assert [(it.line, it.column, it.key) for it in caught.value.problems] == [
        (1, 10, "Port"),
        (2, 1, None),
        (2, 48, "Pools.A.KernelPath"),
        (2, 78, "Pools.B.Default"),
        (3, 1, "Pools.B.Keep"),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"Pools": {}}', 1),
        ('{"Port": 1}', 1),
        ("[1]", 1),
        ('{"Pools": {"A": {KERNEL,\n"KeepAlife": true}}}', 2),
        ('{"Pools": {"A": {KERNEL,\n"KeepAlive": "no"}}}', 2),
        ('{"Pools": {"A": {KERNEL,\n"MaximumKernelNumber": 10001}}}', 2),
        ('{"Pools": {"A": {KERNEL,\n"MinimumKernelNumber": 5,\n"MaximumKernelNumber": 3}}}', 3),
        ('{"Pools": {"A": {KERNEL,\n"KernelEnvironment": {"A": 1}}}}', 2),
        ('{"Pools": {"A": {KERNEL,\n"Port": 1}}}', 2),
        ('{"Pools": {"A": {KERNEL},\n"B": {KERNEL, "Default": true}, "C": {KERNEL, "Default": true}}}', 2),
        ('{"Pools":\n{"A": {KERNEL, "Default": false}}}', 2),
        ('{"Pools": {"A": {KERNEL},\n"A": {KERNEL}}}', 2),
        ('{"Pools": {"A": {KERNEL},\n"B": 4}}', 2),
        ('{"Pools": {\n"0000-0000-0000": {KERNEL}}}', 2),
        ('{"Pools": {"A": {KERNEL}},\n"Port": "x"}', 2),
        ('{"Pools": {"A": {KERNEL}},\n"Port": 99999}', 2),
        ('{"Pools": {"A": {KERNEL}},\n"Pools": {}}', 2),
        ('{"Pools": {"A": {\n"KernelPath": "/nowhere"}}}', 2),
        ('{"Pools": {"A": {KERNEL}},\n"AccessTokenFile": "nowhere"}', 2),
    ],
)
def test_every_problem_has_its_file_and_line(world, text, line):
    world.write(world.local, text.replace("KERNEL", f'"KernelPath": {json.dumps(str(world.kernel))}'))
    with pytest.raises(ConfigurationError) as caught:
        world.load(path=world.local)
    assert all(problem.file == str(world.local) for problem in caught.value.problems)
    assert line in [problem.line for problem in caught.value.problems]
    for told in str(caught.value).splitlines():
        assert re.match(rf"{re.escape(str(world.local))}:\d+:\d+: ", told)


def test_what_is_wrong_is_not_also_missing(world):
    world.write(world.cwd / "named", '{"Pools":{"P":{"KernelPath":1}}}')
    with pytest.raises(ConfigurationError) as caught:
        world.load(path="named", find_kernel=lambda: None)
    assert [it.message for it in caught.value.problems] == ["expected a string, got 1"]


# What goes before the file


def test_command_line_before_environment_before_file_before_default(world):
    world.write(world.local, {})
    port = {"Port": (4, "--port"), "Interface": ("four", "--interface")}

    def found(**fields):
        loaded = world.load(**fields)
        origins = [str(loaded.origins[key,]) for key in ("Port", "Interface")]
        return loaded.settings.port, loaded.settings.interface, *origins

    world.write(world.local, world.pool())
    assert found() == (31415, "", "default", "default")
    world.write(world.local, world.pool() | {"Port": 2, "Interface": "two"})
    assert found() == (2, "two", f"{world.local}:1", f"{world.local}:1")
    world.environ |= {"WSTPSERVER_PORT": "3", "WSTPSERVER_INTERFACE": "three"}
    assert found() == (3, "three", "WSTPSERVER_PORT", "WSTPSERVER_INTERFACE")
    assert found(command_line=port) == (4, "four", "--port", "--interface")


@pytest.mark.parametrize("port", ["abc", "-1", "65536", "1.0", " 1", "0x10", "٣", "9" * 5000])
def test_a_wrong_port_in_the_environment(world, port):
    world.environ["WSTPSERVER_PORT"] = port
    with pytest.raises(ConfigurationError, match="^WSTPSERVER_PORT: expected"):
        world.load()


# Values that need the world


def test_a_discovered_kernel_is_told(world):
    world.write(world.local, {"Pools": {"P": {}}})
    loaded = world.load()
    assert loaded.settings.pools[0].kernel_path == "/discovered/kernel"
    assert loaded.default_kernel.path == "/discovered/kernel"
    assert str(loaded.origins["Pools", "P", "KernelPath"]) == "automatic: found on PATH"


def test_no_kernel_is_looked_for_where_every_pool_has_one(world):
    world.write(world.local, world.pool())
    loaded = world.load(find_kernel=lambda: pytest.fail("not needed"))
    assert loaded.default_kernel is None


def test_automatic_can_be_written(world):
    world.write(world.local, {"Pools": {"P": {"KernelPath": "Automatic", "MaximumKernelNumber": "automatic"}}})
    settings = world.load().settings
    assert (settings.pools[0].kernel_path, settings.pools[0].maximum_kernel_number) == ("/discovered/kernel", 2)


# Reloading


def test_reload_sees_the_new_content(world):
    world.write(world.local, world.pool(MinimumKernelNumber=1))
    loaded = world.load()
    world.write(world.local, world.pool(MinimumKernelNumber=5))
    again = reload_settings(loaded)
    assert again.settings.pools[0].minimum_kernel_number == 5
    assert again.path == loaded.path


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_reload_of_an_invalid_file_is_an_error(world, content, named):
    world.write(world.local, world.pool())
    world.write(world.application_data, world.pool())
    loaded = world.load(path="wstpserver.conf" if named else None)
    world.write(world.local, content)
    with pytest.raises(ConfigurationError) as caught:
        reload_settings(loaded)
    assert all(problem.file == str(world.local) for problem in caught.value.problems)


def test_reload_after_the_file_was_removed_is_an_error_and_writes_none(world):
    loaded = world.load()
    world.application_data.unlink()
    with pytest.raises(ConfigurationError, match="no longer exists"):
        reload_settings(loaded)
    assert not world.application_data.exists()


def test_reload_finds_a_file_that_came_since(world):
    loaded = world.load(home=None)
    assert reload_settings(loaded).settings == loaded.settings
    world.write(world.local, {"Pools": {"New": {}}})
    assert pool_names(reload_settings(loaded)) == ["New"]


def test_reload_keeps_what_the_command_line_said(world):
    world.write(world.local, world.pool() | {"Port": 2})
    loaded = world.load(command_line={"Port": (4, "--port")})
    assert reload_settings(loaded).settings.port == 4


# Paths in a file


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
    monkeypatch.setattr(sys, "executable", str(world.home / "python"))
    world.write(world.local, world.pool(KernelPath="wstpkernel"))
    assert pool(world.load()).kernel_path == str(kernel)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{home}/nothing", 'there is no file "{home}/nothing"'),
        ("{home}", '"{home}" is a folder, not a program'),
        ("{home}/plain", '"{home}/plain" is not executable'),
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


def test_a_kernel_directory_is_relative_to_the_file_or_to_the_home(world):
    (world.cwd / "sub" / "data").mkdir(parents=True)
    for given, folder in (("data", world.cwd / "sub" / "data"), ("~", world.home), ("", "")):
        world.write(world.cwd / "sub" / "conf", world.pool(KernelDirectory=given))
        assert pool(world.load(path="sub/conf")).kernel_directory == str(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "there is no folder"), ("file", "is not a folder"), ("nul\0", "expected the path of a folder")],
)
def test_a_kernel_directory_that_leads_nowhere(world, name, message):
    world.write(world.cwd / "file", "")
    world.write(world.local, '{"Pools": {"P": {\n"KernelDirectory":\n' + json.dumps(name) + "}}}")
    with pytest.raises(ConfigurationError) as caught:
        world.load(path=world.local)
    (problem,) = [problem for problem in caught.value.problems if problem.key == "Pools.P.KernelDirectory"]
    assert problem.line == 3 and message in problem.message


def test_kernel_environment(world):
    world.write(world.local, world.pool(KernelEnvironment={"A": "1", "B": None}))
    assert pool(world.load()).kernel_environment == ("A=1", "B")


def test_paths_do_not_change_when_the_working_folder_does(world, monkeypatch):
    world.program("kernel", world.cwd)
    world.write(world.local, world.pool(KernelPath="./kernel"))
    monkeypatch.chdir("/")
    assert os.path.isabs(pool(world.load()).kernel_path)


# Creating the default file: completely, once, and never over another


def no_hard_links(source, target):
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=["hard links", "no hard links"])
def file_system(request, monkeypatch):
    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", no_hard_links)


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
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    def exists(descriptor, *_, **__):
        os.close(descriptor)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr("builtins.open", exists)
    with pytest.raises(OSError, match="No space"):
        write_new(tmp_path / "f", "text")
    assert os.listdir(tmp_path) == []


# The file of access tokens


TOKENS = "# for the programs of the group\n\na-token-that-nobody-guesses\n  another-token-for-the-others \n"


def test_the_file_of_access_tokens_is_relative_to_the_configuration(world):
    world.write(world.cwd / "secret", TOKENS).chmod(0o600)
    world.write(world.local, {"AccessTokenFile": "secret", **world.pool()})
    loaded = world.load()
    assert loaded.settings.access_token_file == str(world.cwd / "secret")
    assert loaded.warnings == ()
    assert read_tokens(loaded.settings.access_token_file) == [
        "a-token-that-nobody-guesses", "another-token-for-the-others"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "holds no token"),
        ("# nothing but a comment\n", "holds no token"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_without_tokens_there_are_no_settings(world, content, message):
    if content is not None:
        world.write(world.cwd / "secret", content)
    world.write(world.local, {"AccessTokenFile": "secret", **world.pool()})
    with pytest.raises(ConfigurationError, match=f'AccessTokenFile: "{world.cwd / "secret"}" {message}'):
        world.load(path="wstpserver.conf")


def test_tokens_that_others_know_or_guess_get_a_warning(world):
    world.write(world.cwd / "secret", "short\n").chmod(0o644)
    world.write(world.local, {"AccessTokenFile": "secret", **world.pool()})
    known, guessed = world.load().warnings
    assert "every user of this computer can read" in known.message
    assert "fewer than 16 characters" in guessed.message
