"""Profiles: what is in them, and what stays in them."""

import os
import stat

import pytest

from wstpserver.client.errors import ProfileError
from wstpserver.client.profile import KEEP_ALIVE, KERNEL_ID, POOL, RESERVE, Profile, default_profile_path, load_profile

SAMPLE = """\
# sampleprofile
KEEPALIVE=TRUE # I want a kernel with "KeepAlive" set to true
  reserve = false
what is this?
OTHER=thing

KERNELID=
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "profile"


def read(path, text):
    path.write_text(text)
    return load_profile(path)


def test_values(path):
    profile = read(path, SAMPLE)
    assert profile.truth(KEEP_ALIVE) is True
    assert profile.truth(RESERVE) is False
    assert profile.get(KERNEL_ID) is None
    assert profile.get(POOL) is None
    assert profile.get("OTHER") == "thing"


def test_what_is_not_changed_stays_as_it_is(path):
    profile = read(path, SAMPLE)
    profile.save()
    assert path.read_text() == SAMPLE
    profile.set(KEEP_ALIVE, "FALSE")
    profile.set(KERNEL_ID, "a806-2645-9651")
    profile.set(POOL, "Main")
    profile.save()
    changed = SAMPLE.replace("KEEPALIVE=TRUE", "KEEPALIVE=FALSE").replace("KERNELID=", "KERNELID=a806-2645-9651")
    assert path.read_text() == changed + "POOL=Main\n"


@pytest.mark.parametrize("value", ["Main", "two words", "# 1", ' "q" ', "a\nb", "ünï", "a\u2028b", "\\", "x=y", '"'])
def test_any_value_comes_back(path, value):
    profile = Profile(path)
    profile.set(POOL, value)
    profile.set(KERNEL_ID, "1")
    profile.save()
    again = load_profile(path)
    assert (again.get(POOL), again.get(KERNEL_ID)) == (value, "1")


def test_a_value_can_be_taken_away(path):
    profile = read(path, "POOL=Main # mine\n")
    profile.set(POOL, None)
    assert profile.get(POOL) is None
    assert profile.text == "POOL= # mine\n"


def test_the_last_of_several_counts(path):
    profile = read(path, "POOL=a\nPOOL=b\n")
    profile.set(POOL, "c")
    assert profile.text == "POOL=a\nPOOL=c\n"


def test_only_its_owner_reads_it(path):
    path.write_text("")
    path.chmod(0o644)
    load_profile(path).save()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link(tmp_path, path):
    target = tmp_path / "target"
    target.write_text("POOL=a\n")
    path.symlink_to(target)
    profile = load_profile(path)
    profile.set(POOL, "b")
    profile.save()
    assert path.is_symlink()
    assert target.read_text() == "POOL=b\n"


def test_nothing_is_left_of_a_file_that_could_not_be_written(path, monkeypatch):
    profile = read(path, "POOL=a\n")
    profile.set(POOL, "b")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ProfileError, match="cannot write the profile .*: No space left on device"):
        profile.save()
    assert os.listdir(path.parent) == ["profile"]
    assert path.read_text() == "POOL=a\n"


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProfileError, match="cannot write the profile"):
        Profile(tmp_path / "file" / "profile").save()


def test_there_is_none(path):
    assert load_profile(path) is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"KEEPALIVE=maybe\n", r"profile, line 1: KEEPALIVE is TRUE or FALSE, not 'maybe'"),
        (b"\n\nKEEPALIVE=1 # x", r"line 3: KEEPALIVE is TRUE or FALSE, not '1'"),
        (b"\xff\xfe", "is no profile: it is not UTF-8"),
        (b'KEEPALIVE="\\x"', "is no string"),
    ],
)
def test_what_cannot_be_understood(path, data, says):
    path.write_bytes(data)
    with pytest.raises(ProfileError, match=says):
        load_profile(path).truth(KEEP_ALIVE)


def test_a_folder_is_no_profile(tmp_path):
    with pytest.raises(ProfileError, match="cannot read the profile .*: Is a directory"):
        load_profile(tmp_path)


def test_the_default_one_is_in_the_folder_of_the_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_profile_path() == tmp_path / "WSTPServer" / "wstpscript.profile"
