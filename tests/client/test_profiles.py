"""Sessions with the kernel of a profile, the one that wstpscript writes."""

import contextlib

import pytest

from tools.harness.waiting import wait_for
from wstpserver.client import Callbacks, CommandError, ConnectError, KernelLost, LinkClosed, Session, connect
from wstpserver.client.errors import ProfileError
from wstpserver.client.profile import KERNEL_ID, POOL, SERVER, Profile, load_profile

from .helpers import PROMPT, Worker


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))  # nobody's own profile
    return tmp_path / "work.profile"


@pytest.fixture
def address(running):
    return f"{running.port}@127.0.0.1"


@pytest.fixture
def administrator(address):
    """A session that takes no kernel; at the end it closes all of them."""
    with Session(connect(address, PROMPT, without_kernel=True), keep_kernel=True) as session:
        yield session
        for kernel in kernels(session):
            with contextlib.suppress(CommandError):  # it may be closing already
                session.command("CloseKernel", kernel)


def kernels(session):
    pools = session.command("GetServerInformation")["Pools"]
    return {kernel["ID"]: kernel for kernel in pools["Main"]["Kernels"]}


def test_a_kernel_is_kept_and_found_again(path, address, administrator):
    with Session.from_profile(path, address, PROMPT) as session:
        session.evaluate("x = 5")
        kernel = session.kernel_id
    profile = load_profile(path)
    assert [profile.get(name) for name in (KERNEL_ID, SERVER, POOL)] == [kernel, address, "Main"]
    assert profile.truth("KEEPALIVE") is profile.truth("RESERVE") is True
    for start in (None, False):  # the profile knows the server
        with Session.from_profile(path, timeout=PROMPT, start=start) as session:
            assert session.kernel_id == kernel
            assert session.evaluate("x") == 5
    with Session.from_profile(path, timeout=PROMPT, start=True) as session:
        assert session.kernel_id != kernel
        assert load_profile(path).get(KERNEL_ID) == session.kernel_id
    wait_for(lambda: kernels(administrator)[kernel]["State"] == "reserved", PROMPT)


def test_what_was_missed_is_heard(path, address, administrator, gate):
    session = Session.from_profile(path, address, PROMPT)
    worker = Worker(session.evaluate, f'{gate.text}; Print["missed"]', PROMPT)
    gate.wait_until_reached()
    session.close()
    with pytest.raises(LinkClosed):
        worker.finish()
    wait_for(lambda: kernels(administrator)[session.kernel_id]["State"] != "bridged", PROMPT)
    gate.open()
    heard = []
    with Session.from_profile(path, timeout=PROMPT, callbacks=Callbacks(on_print=heard.append)) as again:
        assert heard == ["missed\n"]
        assert again.evaluate(5, PROMPT) == 5


def test_a_kernel_that_is_gone(path, address, administrator):
    with Session.from_profile(path, address, PROMPT) as session:
        kernel = session.kernel_id
    administrator.command("CloseKernel", kernel)
    with pytest.raises(ProfileError, match=f"the kernel {kernel} of the profile .* is gone"):
        Session.from_profile(path, timeout=PROMPT, start=False)
    with Session.from_profile(path, timeout=PROMPT) as session:
        assert session.kernel_id != kernel


def test_the_wishes_of_the_profile(path, address, administrator):
    path.write_text("KEEPALIVE=FALSE # not for long\n")
    with Session.from_profile(path, address, PROMPT) as session:
        kernel = session.kernel_id
    wait_for(lambda: kernel not in kernels(administrator), PROMPT)
    assert path.read_text().startswith("KEEPALIVE=FALSE # not for long\n")


def test_a_pool(path, address, administrator):
    url = f"wstp://127.0.0.1:{address.partition('@')[0]}/Main"
    with Session.from_profile(path, url, PROMPT) as session:
        assert session.command("GetPoolName") == "Main"
    with pytest.raises(CommandError, match="ConnectKernel"):
        Session.from_profile(path.with_name("other"), url + "x", PROMPT)
    assert not path.with_name("other").exists()


def test_it_comes_back_if_wished(path, relay, administrator):
    with Session.from_profile(path, relay.address, PROMPT, reconnect=True) as session:
        session.evaluate("x = 6")
        relay.break_all()
        assert session.evaluate("x", PROMPT) == 6
        administrator.command("CloseKernel", session.kernel_id)
        with pytest.raises(KernelLost):
            session.evaluate("x", PROMPT)


def test_the_default_profile_is_that_of_wstpscript(path, address, administrator, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    with Session.from_profile(address=address, timeout=PROMPT) as session:
        written = load_profile(path.parent / "WSTPServer" / "wstpscript.profile")
        assert written.get(KERNEL_ID) == session.kernel_id


def test_nothing_is_left_when_the_profile_cannot_be_written(path, address, administrator, monkeypatch):
    """No kernel that nobody knows of, either."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ProfileError, match="cannot write .*: No space left"):
        Session.from_profile(path, address, PROMPT)
    wait_for(lambda: "reserved" not in {kernel["State"] for kernel in kernels(administrator).values()}, PROMPT)


@pytest.mark.parametrize("text", ["KEEPALIVE=maybe\n", "RESERVE=1\n"])
def test_a_profile_that_cannot_be_understood(path, text):
    """Is found out before anything is done."""
    path.write_text(text)
    with pytest.raises(ProfileError, match="is TRUE or FALSE"):
        Session.from_profile(path, "1@127.0.0.1", PROMPT)


def test_a_profile_without_a_kernel(path, closed_port):
    with pytest.raises(ProfileError, match="names no kernel"):
        Session.from_profile(path, f"{closed_port}@127.0.0.1", PROMPT, start=False)


def test_a_server_that_is_not_there(path, closed_port):
    profile = Profile(path)
    profile.set(KERNEL_ID, "a806-2645-9651")
    profile.set(SERVER, f"{closed_port}@127.0.0.1")
    profile.save()
    for start in (None, False, True):
        with pytest.raises(ConnectError, match="refused"):
            Session.from_profile(path, timeout=0.2, start=start)
