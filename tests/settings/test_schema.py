"""The table of options: complete, consistent with itself and with the dataclasses made from it."""

import dataclasses
import json
import math
import os
import re
import shlex

import pytest

from tests.support.cases import for_all, for_each
from tests.support.settings import OPTIONS, make_settings
from wstpserver.settings.model import PoolSettings, ServerSettings
from wstpserver.settings.schema import (
    AUTOMATIC,
    POOL_ALIASES,
    POOL_BY_KEY,
    POOL_OPTIONS,
    ROOT_BY_KEY,
    ROOT_OPTIONS,
    Kind,
    Level,
    split_words,
    variables_text,
)

#: The keys and defaults as the documentation's two tables list them.
DOCUMENTED_ROOT = {
    "AllowStealingKernels": True,
    "AllowSilentKernelReplacement": False,
    "EnableAutomaticKernelConnection": True,
    "Pools": AUTOMATIC,
    "SendInputNamePacketUponKernelConnection": True,
}
DOCUMENTED_POOL = {
    "Default": AUTOMATIC,
    "InitializationCode": "",
    "InitializationFile": "",
    "KernelPath": AUTOMATIC,
    "KernelOptions": (),
    "KeepAlive": True,
    "MaximumKernelNumber": AUTOMATIC,
    "MinimumKernelNumber": 2,
    "ParallelKernelDefault": AUTOMATIC,
    "ParallelKernels": False,
    "ReservePreviouslyConnectedKernels": True,
}


def test_documented_keys_have_their_documented_defaults():
    assert {o.key: o.default for o in ROOT_OPTIONS if not o.extension} == DOCUMENTED_ROOT
    assert {o.key: o.default for o in POOL_OPTIONS if not o.extension} == DOCUMENTED_POOL


def test_fields_of_the_dataclasses_are_the_keys_of_the_table():
    assert {f.name for f in dataclasses.fields(ServerSettings)} == {o.field for o in ROOT_OPTIONS}
    assert {f.name for f in dataclasses.fields(PoolSettings)} == {o.field for o in POOL_OPTIONS} | {"name"}


def test_field_is_the_key_in_snake_case():
    option = ROOT_BY_KEY["SendInputNamePacketUponKernelConnection"]
    assert option.field == "send_input_name_packet_upon_kernel_connection"


def test_settings_without_configuration_hold_the_defaults_of_the_table():
    settings = make_settings(pools=[{"name": "P", "KernelPath": "/bin/kernel"}])
    for option, holder in [*((o, settings) for o in ROOT_OPTIONS), *((o, settings.pools[0]) for o in POOL_OPTIONS)]:
        if option.default is not AUTOMATIC:
            assert getattr(holder, option.field) == option.default


def test_keys_are_unique_and_aliases_point_at_keys():
    assert len(ROOT_BY_KEY) == len(ROOT_OPTIONS)
    assert len(POOL_BY_KEY) == len(POOL_OPTIONS)
    for key in set(ROOT_BY_KEY) & set(POOL_BY_KEY):  # the one at the root is the default of the others
        assert POOL_BY_KEY[key].automatic == f"{key} at the root"
    assert set(POOL_ALIASES.values()) <= set(POOL_BY_KEY)


#: How a file writes values that are tuples.
AS_IN_A_FILE = {
    Kind.WORDS: shlex.join,
    Kind.VARIABLES: lambda variables: dict(variable.split("=", 1) for variable in variables),
    Kind.NETWORKS: list,
    Kind.USERS: list,
}


@for_each(OPTIONS, lambda option: option.key)
def test_row_is_consistent(option):
    assert option.level is (Level.ROOT if option in ROOT_OPTIONS else Level.POOL)
    assert option.summary and not option.summary.endswith(".") and not option.summary[0].isupper()
    assert option.details == "" or option.details.endswith(".")
    assert (option.minimum is None) == (option.maximum is None)
    assert (option.default is AUTOMATIC) == bool(option.automatic) or option.required
    if option.default is AUTOMATIC:
        assert option.convert("Automatic") is AUTOMATIC
    else:
        write = AS_IN_A_FILE.get(option.kind, lambda value: value)
        assert option.convert(write(option.default)) == option.default
    if option.kind is not Kind.POOLS:
        option.convert(json.loads(option.sample))


@for_each([o for o in OPTIONS if o.minimum is not None], lambda option: option.key)
def test_range_includes_its_ends_and_nothing_beyond(option):
    assert option.convert(option.minimum if option.kind is Kind.NUMBER else int(option.minimum)) == option.minimum
    assert option.convert(option.maximum if option.kind is Kind.NUMBER else int(option.maximum)) == option.maximum
    for outside in (option.minimum - 1, option.maximum + 1, 10**400, -(10**400)):
        value = outside if option.kind is Kind.NUMBER else int(outside)
        expected = r"^expected (an integer|a number) from -?[\d.]+ to \d+( or Infinity)?, got -?\d"
        with pytest.raises(ValueError, match=expected):
            option.convert(value)


WRONG_TYPES = {
    Kind.BOOLEAN: ["true", 1, 0, None, [], {}, 1.0],
    Kind.INTEGER: [1.0, 2.5, math.inf, "Infinity", "2", True, None, [1], {}],
    Kind.NUMBER: ["2", True, None, [1], {}, -math.inf, math.nan, "inf", "infinity"],
    Kind.TEXT: [1, True, None, ["a"], {}],
    Kind.WORDS: [1, True, None, ["-a"], {}, '"not closed', "nul\0"],
    Kind.VARIABLES: [1, "A=1", True, None, ["A=1"]],
    Kind.NETWORKS: [1, "127.0.0.1", "any", True, None, {}],
    Kind.USERS: [0, "self", True, None, {}],
    Kind.POOLS: [1, "a", [], None, True],
}


@for_each([(o, v) for o in OPTIONS for v in WRONG_TYPES[o.kind]], lambda case: f"{case[0].key}: {case[1]!r}")
def test_wrong_type_is_refused_with_what_was_expected(case):
    option, value = case
    with pytest.raises(ValueError) as caught:
        option.convert(value)
    message = str(caught.value)
    assert message
    if not (option.kind is Kind.WORDS and isinstance(value, str)):
        assert message.startswith(f"expected {option.expected}, got ")


def test_environment_variables():
    option = POOL_BY_KEY["KernelEnvironment"]
    assert option.convert({"A": "x=y", "B": "", "C": None}) == ("A=x=y", "B=", "C")
    assert variables_text(("A=x=y", "B=", "C")) == '{"A": "x=y", "B": "", "C": null}'


@for_all(
    ("given", "message"),
    [
        ({"": "x"}, "the string '' is not the name of an environment variable"),
        ({"A=B": "x"}, "the string 'A=B' is not the name of an environment variable"),
        ({"A": 4}, "A: expected a string without NUL characters, or null, got 4"),
        ({"A": {"B": "x"}}, "A: expected a string without NUL characters, or null, got an object"),
        ({"A": "nul\0"}, "A: expected a string without NUL characters, or null, got the string 'nul"),
    ],
)
def test_wrong_environment_variables(given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        POOL_BY_KEY["KernelEnvironment"].convert(given)


@for_all("option", [o for o in OPTIONS if o.unit == "seconds"], ids=lambda option: option.key)
@for_all("infinity", [math.inf, "Infinity"])
def test_infinity_is_a_number_of_seconds(option, infinity):
    value = option.convert(infinity)
    assert math.isfinite(value)
    if "0 for" in option.summary:
        assert value == 0
    else:
        assert value == option.maximum == 365 * 86400


@for_each([o for o in OPTIONS if o.unit != "seconds"], lambda option: option.key)
def test_infinity_is_nothing_else(option):
    with pytest.raises(ValueError, match="got Infinity$"):
        option.convert(math.inf)


def test_quoted_boolean_gets_a_hint():
    with pytest.raises(ValueError, match="without the quotes"):
        POOL_BY_KEY["KeepAlive"].convert("True")


def test_long_values_are_cut_in_messages():
    with pytest.raises(ValueError) as caught:
        POOL_BY_KEY["KeepAlive"].convert("x" * 10_000)
    assert len(str(caught.value)) < 120


@for_all(
    ("text", "words"),
    [
        ("", ()),
        ("-a -b", ("-a", "-b")),
        ("-a 'two words' \"x y\" \\'", ("-a", "two words", "x y", "'")),
        ("  -a\t-b\n", ("-a", "-b")),
        ('-x ""', ("-x", "")),
    ],
)
def test_words_are_split_as_a_shell_splits_them(text, words):
    assert split_words(text, windows=False) == words


def test_on_windows_a_backslash_is_part_of_a_path():
    assert split_words(r'-pwpath "C:\Program Files\x" -b', windows=True) == ("-pwpath", r"C:\Program Files\x", "-b")


@for_all("type_name", ["_wstpserver._tcp.local.", "_a._tcp.local.", "_my-kernel-pool._tcp.local."])
def test_service_types(type_name):
    assert ROOT_BY_KEY["AdvertisedServiceType"].convert(type_name) == type_name


@for_all(
    "type_name", ["", "wstp", "_wstp._udp.local.", "_wstp._tcp.local", "__._tcp.local.", "_a-._tcp.local.",
                  "_-a._tcp.local.", "_abcdefghijklmnop._tcp.local.", "_a b._tcp.local.", "_a--b._tcp.local."],
)  # fmt: skip
def test_what_is_no_service_type(type_name):
    with pytest.raises(ValueError, match="service type"):
        ROOT_BY_KEY["AdvertisedServiceType"].convert(type_name)


@for_all(
    ("given", "held"),
    [
        (["any"], ("any",)),
        (["192.0.2.7", "2001:DB8::0001"], ("192.0.2.7", "2001:db8::1")),
        (["192.0.2.0/24", "10.1.2.3/8", "::/0"], ("192.0.2.0/24", "10.0.0.0/8", "::/0")),
        ([" 127.0.0.1 "], ("127.0.0.1",)),
    ],
)
def test_addresses_and_networks(given, held):
    assert ROOT_BY_KEY["AllowedAddresses"].convert(given) == held
    assert ROOT_BY_KEY["AcceptProxyProtocolFrom"].convert(given) == held


@for_all("item", ["localhost", "192.0.2", "192.0.2.0/33", "", "192.0.2.1:80", 7, None, [], "1.2.3.4-9"])
def test_what_is_no_address(item):
    with pytest.raises(ValueError, match="is neither an address, nor a network"):
        ROOT_BY_KEY["AllowedAddresses"].convert(["127.0.0.1", item])


def test_users():
    assert ROOT_BY_KEY["AllowedUsers"].convert(["self", "root", 1000, "1001"]) == ("self", "root", "1000", "1001")


@for_all("item", ["no-such-user-here", "", "-1", -1, True, None, 1.5, "a\0b"])
def test_who_is_no_user(item):
    with pytest.raises(ValueError, match="there is no user|neither the name nor the number"):
        ROOT_BY_KEY["AllowedUsers"].convert([item])


@for_all("key", ["AllowedAddresses", "AllowedUsers"])
def test_an_empty_list_is_not_everybody(key):
    with pytest.raises(ValueError, match="would admit nobody"):
        ROOT_BY_KEY[key].convert([])
    assert ROOT_BY_KEY["AcceptProxyProtocolFrom"].convert([]) == ()


def test_every_option_of_this_machine_can_be_built_by_key():
    pool = {"name": "P", "KernelPath": os.devnull}
    pool |= {o.key: json.loads(o.sample) for o in POOL_OPTIONS if o.key not in ("KernelPath",)}
    root = {o.key: json.loads(o.sample) for o in ROOT_OPTIONS if o.key != "Pools"}
    settings = make_settings(pools=[pool], **root)
    for option in ROOT_OPTIONS:
        if option.key != "Pools":
            assert getattr(settings, option.field) == option.convert(root[option.key])
    for option in POOL_OPTIONS:
        assert getattr(settings.pools[0], option.field) == option.convert(pool[option.key])
