"""The automatic rules, and what must fit together."""

import json
import os

import pytest

from tests.support.cases import for_all
from tests.support.settings import make_settings
from wstpserver.settings.jsonc import ConfigurationError, read_document
from wstpserver.settings.model import ServerSettings
from wstpserver.settings.resolve import DEFAULT, Given, GivenPool, GivenSettings, Origin, resolve, validate

FILE = Origin("f", 1, 1)


def pool(name, **values):
    return GivenPool(name, FILE, {key: Given(value, FILE) for key, value in values.items()})


def resolved(*pools, finder=lambda: ("/found/kernel", "somewhere"), **root):
    return resolve(GivenSettings({k: Given(v, FILE) for k, v in root.items()}, pools), finder)


def settings_of(*pools, **options):
    """The settings of pools that resolve without problems."""
    result = resolved(*pools, **options)
    assert result.problems == []
    return ServerSettings.of(result)


def messages(resolution):
    return [(problem.key, problem.message) for problem in resolution.problems]


def names(settings, field):
    return [it.name for it in settings.pools if getattr(it, field)]


@for_all(
    ("defaults", "chosen"),
    [
        ([None], 0),
        ([None, None], 0),
        ([None, True], 1),
        ([True, None], 0),
        ([False, None], 1),
        ([False, None, None], 1),
        ([False, False, True], 2),
        ([None, False, None], 0),
    ],
)
def test_which_pool_is_the_default(defaults, chosen):
    given = [pool(str(i), **({} if value is None else {"Default": value})) for i, value in enumerate(defaults)]
    result = resolved(*given)
    assert messages(result) == []
    settings = ServerSettings.of(result)
    assert names(settings, "default") == [str(chosen)]
    assert settings.default_pool.name == str(chosen)
    assert result.origins["Pools", str(chosen), "Default"].source == (
        "f" if defaults[chosen] is not None else "automatic"
    )


def test_every_further_default_pool_is_a_problem():
    result = resolved(*(pool(name, Default=True) for name in "abc"))
    assert messages(result) == [
        ("Pools.b.Default", 'pool "a" already says true; only one pool can'),
        ("Pools.c.Default", 'pool "a" already says true; only one pool can'),
    ]


def test_no_default_pool_is_a_problem():
    assert messages(resolved(pool("a", Default=False), pool("b", Default=False))) == [
        ("Default", "every pool says false; one pool must be the default pool")
    ]


@for_all(
    ("pools", "chosen"),
    [
        ([{}], None),
        ([{}, {"ParallelKernels": True}], "1"),
        ([{"ParallelKernels": True}, {"ParallelKernels": True}], "0"),
        ([{"ParallelKernels": True}, {"ParallelKernels": True, "ParallelKernelDefault": True}], "1"),
        ([{"ParallelKernels": True, "ParallelKernelDefault": False}, {"ParallelKernels": True}], "1"),
        ([{"ParallelKernels": True, "ParallelKernelDefault": False}], None),
    ],
)
def test_which_pool_is_the_default_for_parallel_computing(pools, chosen):
    settings = settings_of(*(pool(str(i), **values) for i, values in enumerate(pools)))
    assert names(settings, "parallel_kernel_default") == ([] if chosen is None else [chosen])
    assert (settings.parallel_pool.name if settings.parallel_pool else None) == chosen


def test_two_parallel_defaults_are_a_problem():
    parallel = {"ParallelKernels": True, "ParallelKernelDefault": True}
    assert [key for key, _ in messages(resolved(pool("a", **parallel), pool("b", **parallel)))] == [
        "Pools.b.ParallelKernelDefault"
    ]


def test_a_parallel_default_without_parallel_kernels_gets_a_warning():
    result = resolved(pool("a", ParallelKernelDefault=True))
    assert result.problems == []
    assert [it.key for it in result.warnings] == ["Pools.a.ParallelKernelDefault"]


@for_all(
    ("given", "minimum", "maximum"),
    [
        ({}, 2, 2),
        ({"MinimumKernelNumber": 5}, 5, 5),
        ({"MinimumKernelNumber": 0}, 0, 2),
        ({"MinimumKernelNumber": 1}, 1, 1),
        ({"MaximumKernelNumber": 7}, 2, 7),
        ({"MaximumKernelNumber": 1}, 1, 1),
        ({"MinimumKernelNumber": 3, "MaximumKernelNumber": 3}, 3, 3),
        ({"MinimumKernelNumber": 0, "MaximumKernelNumber": 1}, 0, 1),
    ],
)
def test_numbers_of_kernels(given, minimum, maximum):
    found = settings_of(pool("a", **given)).pools[0]
    assert (found.minimum_kernel_number, found.maximum_kernel_number) == (minimum, maximum)


def test_a_maximum_below_the_given_minimum_is_a_problem():
    assert messages(resolved(pool("a", MinimumKernelNumber=3, MaximumKernelNumber=2))) == [
        ("Pools.a.MaximumKernelNumber", "is smaller than MinimumKernelNumber (2 < 3)")
    ]


def test_the_kernel_is_looked_for_once_and_only_where_needed():
    calls = []

    def finder():
        calls.append(1)
        return "/found/kernel", "on PATH"

    settings = settings_of(pool("a", KernelPath="/mine"), pool("b"), pool("c"), finder=finder)
    assert [it.kernel_path for it in settings.pools] == ["/mine", "/found/kernel", "/found/kernel"]
    assert len(calls) == 1
    resolved(pool("a", KernelPath="/mine"), finder=finder)
    assert len(calls) == 1


def test_without_a_kernel_kernel_path_is_required():
    result = resolved(pool("a", KernelPath="/mine"), pool("b"), finder=lambda: None)
    ((key, message),) = messages(result)
    assert key == "Pools.b.KernelPath"
    assert message.startswith("no kernel was found on this computer, so KernelPath is required")


@for_all("name", ["a806-2645-9651", "A806-2645-9651", "", "a\nb", "a\0b"])
def test_names_that_no_pool_can_have(name):
    assert [key for key, _ in messages(resolved(pool(name)))] == [f"Pools.{name}"]


@for_all("name", ["KernelPoolOne", "a806-2645-965", "a806-2645-9651-", "größer", "a b", "0"])
def test_names_that_a_pool_can_have(name):
    assert settings_of(pool(name)).pool(name).name == name


def test_no_pool_is_a_problem():
    assert messages(resolved()) == [("Pools", "at least one named pool is required")]


def test_every_value_has_an_origin():
    result = resolved(pool("a", KeepAlive=False), Port=1)
    assert result.origins["Port",] == FILE
    assert result.origins["Interface",] is DEFAULT
    assert result.origins["Pools", "a", "KeepAlive"] == FILE
    assert str(result.origins["Pools", "a", "KernelPath"]) == "automatic: somewhere"
    assert str(result.origins["Pools", "a", "MaximumKernelNumber"]) == "automatic"
    assert str(result.origins["KernelStartConcurrency",]) == "automatic"


def test_starts_at_the_same_time_follow_the_processors(monkeypatch):
    for count, expected in ((None, 2), (1, 2), (2, 2), (16, 16)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert make_settings([{"name": "P", "KernelPath": "/k"}]).kernel_start_concurrency == expected
    assert settings_of(pool("a"), KernelStartConcurrency=1).kernel_start_concurrency == 1


def test_parallel_options_are_for_parallel_pools():
    settings = make_settings(
        [
            {"name": "a", "KernelPath": "k", "KernelOptions": "-x 'y z'"},
            {"name": "b", "KernelPath": "k", "KernelOptions": "-x", "ParallelKernels": True},
        ]
    )
    assert settings.pools[0].launch_options == ("-x", "y z")
    assert settings.pools[1].launch_options == ("-x", "-subkernel", "-noinit")


# Values of a whole file


def given(text):
    """(GivenSettings, problems as (line, column, key, message)) of a text without syntax errors."""
    if not isinstance(text, str):
        text = json.dumps(text)
    document = read_document(text, "f")
    assert not document.problems
    found = []
    settings = validate(document.root, "f", found)
    assert all(problem.file == "f" for problem in found)
    return settings, [(it.line, it.column, it.key, it.message) for it in found]


def test_values_and_their_places():
    settings, problems = given('{"AllowStealingKernels": false,\n"Pools":{"A":{\n "KernelOptions":"-a -b"}, "B":{}}}')
    assert problems == []
    stealing = settings.root["AllowStealingKernels"]
    assert (stealing.value, stealing.origin.line, stealing.origin.column) == (False, 1, 26)
    assert str(stealing.origin) == "f:1"
    assert [pool.name for pool in settings.pools] == ["A", "B"]
    options = settings.pools[0].values["KernelOptions"]
    assert (options.value, options.origin.line, options.origin.column) == (("-a", "-b"), 3, 18)
    assert settings.pools[1].values == {}


def test_all_problems_at_once():
    text = """{
"AllowStealingKernel": true,
"KeepAlive": true,
"Port": "31415",
"Pools": {
    "A": {"Port": 1, "KeepAliv": 1, "KeepAlive": "true", "MinimumKernelNumber": -1, "zzzzzz": 0},
    "B": 7,
    "C": {"keepalive": true}
}}"""
    assert given(text)[1] == [
        (2, 1, "AllowStealingKernel", 'unknown key; did you mean "AllowStealingKernels"?'),
        (3, 1, "KeepAlive", "unknown key; this key belongs into a pool"),
        (4, 9, "Port", "expected an integer from 0 to 65535, got the string '31415'"),
        (6, 11, "Pools.A.Port", "unknown key; this key belongs beside Pools, not into a pool"),
        (6, 22, "Pools.A.KeepAliv", 'unknown key; did you mean "KeepAlive"?'),
        (6, 50, "Pools.A.KeepAlive",
         "expected true or false, got the string 'true' (write it without the quotes)"),
        (6, 81, "Pools.A.MinimumKernelNumber", "expected an integer from 0 to 10000, got -1"),
        (6, 85, "Pools.A.zzzzzz", "unknown key"),
        (7, 10, "Pools.B", "expected an object with the keys of the pool, got 7"),
        (8, 11, "Pools.C.keepalive", 'unknown key; did you mean "KeepAlive"?'),
    ]  # fmt: skip


@for_all("value", [[], ["a"], "pool", 3, None, True])
def test_pools_must_be_an_object(value):
    settings, problems = given({"Pools": value})
    assert [key for *_, key, _ in problems] == ["Pools"]
    assert "an object with one member for each pool" in problems[0][3]
    assert settings.pools == ()


@for_all("value", [[], '"x"', 3, None, True])
def test_the_file_must_be_an_object(value):
    settings, problems = given(value)
    assert settings is None
    assert [message.split(",")[0] for *_, message in problems] == ["expected an object"]


def test_at_least_one_pool_is_required():
    assert given('{"Pools":{}}')[1] == [(1, 10, "Pools", "at least one named pool is required")]


def test_pools_are_required():
    assert given("\n{}")[1] == [(2, 1, "Pools", "is required: an object with at least one named pool")]


def test_parallel_is_another_name_of_parallel_kernels():
    settings, problems = given({"Pools": {"A": {"Parallel": True}, "B": {"ParallelKernels": True}}})
    assert problems == []
    assert [pool.values["ParallelKernels"].value for pool in settings.pools] == [True, True]


def test_an_option_cannot_be_given_under_both_of_its_names():
    _, problems = given({"Pools": {"A": {"Parallel": True, "ParallelKernels": False}}})
    assert [(key, message) for *_, key, message in problems] == [
        ("Pools.A.ParallelKernels", "is given twice; ParallelKernels and Parallel are the same option")
    ]


@for_all("value", [{}, {"a": 1}, [1], [[]]])
def test_containers_are_no_values(value):
    for key in ("KeepAlive", "KernelPath", "KernelOptions", "MinimumKernelNumber", "MaximumKernelAge"):
        problems = given({"Pools": {"A": {key: value}}})[1]
        assert [it[2] for it in problems] == [f"Pools.A.{key}"]
        assert "got a list" in problems[0][3] or "got an object" in problems[0][3]


def test_a_huge_unknown_key_is_no_trouble():
    problems = given({"Pools": {"A": {"KeepAlive" * 10_000: 1}}})[1]
    assert problems[0][3].startswith("unknown key")


def test_times_of_a_pool_are_those_of_the_server_unless_it_has_its_own():
    result = resolved(pool("A", KernelWaitTimeout=1.0), pool("B"), KernelWaitTimeout=7.0, KernelStartTimeout=8.0)
    settings = ServerSettings.of(result)
    assert [(it.kernel_start_timeout, it.kernel_wait_timeout) for it in settings.pools] == [(8.0, 1.0), (8.0, 7.0)]
    assert str(result.origins["Pools", "B", "KernelWaitTimeout"]) == "KernelWaitTimeout at the root"
    assert result.origins["Pools", "A", "KernelWaitTimeout"] is FILE


@for_all(("seats", "warned"), [(0, False), (3, True), (4, False)])
def test_fewer_seats_than_the_pools_are_to_have_kernels_get_a_warning(seats, warned):
    result = resolved(pool("A"), pool("B"), MaximumKernels=seats)
    assert result.problems == []
    assert [(warning.key, warning.line) for warning in result.warnings] == [("MaximumKernels", 1)] * warned


@for_all(
    ("file", "given", "required"),
    [("", {}, False), ("", {"RequireAccessToken": False}, False), ("/tokens", {}, True),
     ("/tokens", {"RequireAccessToken": False}, False), ("/tokens", {"RequireAccessToken": True}, True)],
)  # fmt: skip
def test_a_token_is_required_where_there_is_one(file, given, required):
    pools = [{"name": "a", "KernelPath": "/bin/kernel", **given}, {"name": "b", "KernelPath": "/bin/kernel"}]
    settings = make_settings(pools, AccessTokenFile=file)
    assert [pool.require_access_token for pool in settings.pools] == [required, bool(file)]
    assert settings.requires_token is (required and bool(file))


def test_a_token_that_nobody_can_have_is_a_problem():
    with pytest.raises(ConfigurationError, match=r"Pools\.a\.RequireAccessToken: an AccessTokenFile is needed"):
        make_settings([{"name": "a", "KernelPath": "/bin/kernel", "RequireAccessToken": True}])
    with pytest.raises(ConfigurationError, match=r"InformationFor: with \"token\" an AccessTokenFile is needed"):
        make_settings([{"name": "a", "KernelPath": "/bin/kernel"}], InformationFor="token")


def test_kernels_elsewhere_are_not_looked_for_here():
    result = resolved(pool("a", KernelLauncher=("ssh", "node7")), finder=lambda: 1 / 0)
    assert result.problems == []
    assert ServerSettings.of(result).pools[0].kernel_path == "automatic"


@for_all(
    ("values", "key", "message"),
    [
        ({"KernelLauncher": ("srun", "-J", "{pol}-{id}")}, "KernelLauncher",
         "{pol} stands for nothing; there are {pool}, {id}, {server}"),
        ({"KernelLauncher": ("ssh", "n"), "KernelTransport": "tcp"}, "KernelTransport",
         "tcp needs KernelTransportInterface, beside Pools: the host that kernels connect to"),
        ({"KernelAgent": ()}, "KernelAgent", "expected the command line of a program"),
    ],
)  # fmt: skip
def test_keys_of_kernels_elsewhere_must_fit_together(values, key, message):
    assert messages(resolved(pool("a", **values))) == [(f"Pools.a.{key}", message)]


@for_all("text", ["{{.Names}}", "--format={x-y}", "${HOME}x", "{0}"])
def test_other_braces_are_left_alone(text):
    result = resolved(pool("a", KernelLauncher=("ssh", text)))
    assert result.problems == [] or "${HOME}" in text


@for_all("interface", ["", "node0", "node0:4000", "10.0.0.1:0", "[fe80::1]:4000", "[::1]", "fe80::1"])
def test_interfaces_for_kernels_elsewhere(interface):
    settings = make_settings([{"name": "a", "KernelPath": "/bin/kernel"}], KernelTransportInterface=interface)
    assert settings.kernel_transport_interface == interface


@for_all("interface", ["node0:", "node0:port", "a b", ":4000", "node0:123456"])
def test_no_interfaces_for_kernels_elsewhere(interface):
    with pytest.raises(ConfigurationError, match="KernelTransportInterface: expected a host, or a host and a port"):
        make_settings([{"name": "a", "KernelPath": "/bin/kernel"}], KernelTransportInterface=interface)
