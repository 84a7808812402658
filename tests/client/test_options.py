"""Addresses and link options: what they mean, and what is refused."""

import pytest

from tests.support.cases import for_all
from wstpserver.client import Address, Endpoint, LinkSyntaxError, default_address, parse_address, parse_link_options

ADDRESSES = [
    ("", "31415@localhost"),
    (31416, "31416@localhost"),
    ("31416", "31416@localhost"),
    (" 31416@example.org ", "31416@example.org"),
    ("31416@", "31416@localhost"),
    ("@example.org", "31415@example.org"),
    ("0@127.0.0.1", "0@127.0.0.1"),
    ("65535@h", "65535@h"),
    ("example.org:31416", "31416@example.org"),
    ("example.org", "31415@example.org"),
    ("example.org:", "31415@example.org"),
    ("31416@::1", "31416@[::1]"),
    ("31416@[::1]", "31416@[::1]"),
    ("[::1]:31416", "31416@[::1]"),
    ("[::1]", "31415@[::1]"),
    ("fe80::1%eth0", "31415@[fe80::1%eth0]"),
    ("44761@192.0.2.2,40319@192.0.2.2", "44761@192.0.2.2,40319@192.0.2.2"),
    ("1@a, 2@b", "1@a,2@b"),
    ("wstp://example.org", "31415@example.org"),
    ("wstp://example.org:31416", "31416@example.org"),
    ("WSTP://example.org:31416/", "31416@example.org"),
    ("wstp://[::1]:31416/pool", "31416@[::1]"),
    ("wstp://:31416", "31416@localhost"),
]


@for_all(("text", "link_name"), ADDRESSES)
def test_address(text, link_name):
    assert parse_address(text).link_name == link_name


@for_all("text", [name for _, name in ADDRESSES])
def test_a_link_name_means_itself(text):
    assert parse_address(text).link_name == text


def test_an_address_passes_through():
    address = Address(Endpoint("h", 1), None, "p")
    assert parse_address(address) is address


@for_all(
    ("text", "pool"),
    [
        ("wstp://h:1/Main", "Main"),
        ("wstp://h/Main", "Main"),
        ("wstp://h/My%20Pool/", "My Pool"),
        ("wstp://h:1/", None),
        ("wstp://h:1", None),
        ("1@h", None),
    ],
)
def test_pool(text, pool):
    assert parse_address(text).pool == pool


@for_all(
    "text",
    ["65536@h", "-1@h", "port@h", "1@h,2@h,3@h", "1@a b", "1@h@i", "wstp://h:x", "0x10@h", "1@h,x@h", "½@h"],
)
def test_no_address(text):
    with pytest.raises(LinkSyntaxError) as caught:
        parse_address(text)
    assert text in str(caught.value)
    assert "PORT@HOST" in str(caught.value), "it says how to write one"


OPTIONS = [
    ("-linkmode connect -linkprotocol TCPIP -linkname 31415@host -linkoptions 4", ("connect", "31415@host", True)),
    ("-linkmode connect -linkprotocol TCPIP -linkname 31415@host", ("connect", "31415@host", False)),
    ("-linkname 31415@host -linkmode connect", ("connect", "31415@host", False)),
    ("-LINKMODE CONNECT -LinkProtocol tcpip -LinkName 1@h", ("connect", "1@h", False)),
    ("-linkmode connect -linkprotocol TCP -linkname 1@h", ("connect", "1@h", False)),
    ("-linkprotocol TCPIP -linkconnect -linkname 1@h,2@h", ("connect", "1@h,2@h", False)),
    ("-linkconnect -linkname 1@h -linkmode listen", ("connect", "1@h", False)),
    ("-linkmode listen -linkname 1@h -linkconnect", ("connect", "1@h", False)),
    ("-linkcreate -linkprotocol TCPIP", ("listen", "0@localhost", False)),
    ("-linkmode create -linkname 0@h", ("listen", "0@h", False)),
    ("-linkmode listen -linkname 0@h -linkoptions 4", ("listen", "0@h", True)),
    ("-linkmode connect -linkname '1@h'", ("connect", "1@h", False)),
    ('-linkmode connect -linkname "1@h"', ("connect", "1@h", False)),
    ("-linkmode connect -linkname 1 -linkhost example.org", ("connect", "1@example.org", False)),
    ("-linkmode connect -linkname 1@h -linkhost example.org", ("connect", "1@h", False)),
    ("-linkmode connect -linkname 1@h -linkname 2@h", ("connect", "2@h", False)),
    ("-linkmode connect -linkname 1@h -linkfoo bar -linkoptions 4", ("connect", "1@h", True)),
    ("-linkmode connect -linkname 1@h -linkoptions 0x4", ("connect", "1@h", True)),
    ("-linkmode connect -linkname 1@h -linkoptions 12", ("connect", "1@h", True)),
    ("-linkmode connect -linkname 1@h -linkoptions 8", ("connect", "1@h", False)),
    ("-linkmode connect -linkname 1@h -linkoptions MLUseUUIDTCPIPConnection", ("connect", "1@h", True)),
    ("-linkmode connect -linkname 1@h -linkoptions", ("connect", "1@h", False)),
    (["-wstp", "-noprompt", "-linkmode", "connect", "-linkname", "1@h", "file.wl"], ("connect", "1@h", False)),
    (("-linkmode", "connect", "-linkname", "wstp://h:1/p"), ("connect", "1@h", False)),
]


@for_all(("options", "meaning"), OPTIONS)
def test_link_options(options, meaning):
    found = parse_link_options(options)
    assert (found.mode, found.address.link_name, found.uuid) == meaning


@for_all(
    ("options", "says"),
    [
        ("", "do not say what to do"),
        ("-linkprotocol TCPIP -linkname 1@h", "do not say what to do"),
        ("-linkm connect -linkn 1@h", "do not say what to do"),
        ("-linkmode connect", "name no link"),
        ("-linkmode parent -linkname 1@h", "'parent'"),
        ("-linkmode connect -linkprotocol SharedMemory -linkname x", "'SharedMemory'"),
        ("-linkmode connect -linkname", "-linkname has no value"),
        ("-linkmode connect -linkname 99999@h", "'99999' is not a port"),
        ("-linkmode connect -linkname 'x", "cannot be split"),
        # a launched program is a command, not a host: this is refused before the name is read
        ("-linklaunch -linkname math", "-linklaunch is not supported.* Start the program"),
        ("-linkmode launch -linkname 'math -mathlink -noinit'", "-linklaunch is not supported"),
        ("-linkmode Launch -linkname 99999@h -linkprotocol SharedMemory", "-linklaunch is not supported"),
        ("-linkname 1@h -linklaunch -linkmode connect", "-linklaunch is not supported"),
    ],
)
def test_wrong_link_options(options, says):
    with pytest.raises(LinkSyntaxError, match=says):
        parse_link_options(options)


# The environment variable


def test_the_server_of_the_environment(monkeypatch):
    monkeypatch.setenv("WSTPSERVER", " wstp://example.org:31416/Main ")
    assert default_address() == "wstp://example.org:31416/Main"
    assert parse_address("") == Address(Endpoint("example.org", 31416), None, "Main")
    assert parse_address("31417") == Address(Endpoint("localhost", 31417)), "an address that is given counts"


@pytest.mark.parametrize("value", [None, "", " "])
def test_an_empty_environment_variable_counts_as_unset(monkeypatch, value):
    monkeypatch.delenv("WSTPSERVER", raising=False)
    if value is not None:
        monkeypatch.setenv("WSTPSERVER", value)
    assert parse_address("") == Address(Endpoint("localhost", 31415))


def test_an_environment_variable_that_is_no_address(monkeypatch):
    monkeypatch.setenv("WSTPSERVER", "99999@h")
    with pytest.raises(LinkSyntaxError, match="the environment variable WSTPSERVER: '99999@h' is not a link address"):
        parse_address("")
