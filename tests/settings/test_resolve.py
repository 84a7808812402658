"""The automatic rules, and what must fit together."""

import os

import pytest

from wstpserver.settings.model import ServerSettings, default_settings
from wstpserver.settings.origin import DEFAULT, Given, GivenPool, GivenSettings, Origin
from wstpserver.settings.problems import ConfigurationError
from wstpserver.settings.resolve import resolve

FILE = Origin("f", 1, 1)


def pool(name, **values):
    return GivenPool(name, FILE, {key: Given(value, FILE) for key, value in values.items()})


def resolved(*pools, finder=lambda: ("/found/kernel", "somewhere"), **root):
    return resolve(GivenSettings({k: Given(v, FILE) for k, v in root.items()}, pools), finder)


def messages(resolution):
    return [(problem.key, problem.message) for problem in resolution.problems]


def names(settings, field):
    return [it.name for it in settings.pools if getattr(it, field)]


@pytest.mark.parametrize(
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
    assert names(result.settings, "default") == [str(chosen)]
    assert result.settings.default_pool.name == str(chosen)
    assert result.origins["Pools", str(chosen), "Default"].source == (
        "f" if defaults[chosen] is not None else "automatic"
    )


def test_every_further_default_pool_is_a_problem():
    result = resolved(*(pool(name, Default=True) for name in "abc"))
    assert result.settings is None
    assert messages(result) == [
        ("Pools.b.Default", 'pool "a" already says true; only one pool can'),
        ("Pools.c.Default", 'pool "a" already says true; only one pool can'),
    ]


def test_no_default_pool_is_a_problem():
    assert messages(resolved(pool("a", Default=False), pool("b", Default=False))) == [
        ("Default", "every pool says false; one pool must be the default pool")
    ]


@pytest.mark.parametrize(
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
    settings = resolved(*(pool(str(i), **values) for i, values in enumerate(pools))).settings
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


@pytest.mark.parametrize(
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
    found = resolved(pool("a", **given)).settings.pools[0]
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

    settings = resolved(pool("a", KernelPath="/mine"), pool("b"), pool("c"), finder=finder).settings
    assert [it.kernel_path for it in settings.pools] == ["/mine", "/found/kernel", "/found/kernel"]
    assert len(calls) == 1
    resolved(pool("a", KernelPath="/mine"), finder=finder)
    assert len(calls) == 1


def test_without_a_kernel_kernel_path_is_required():
    result = resolved(pool("a", KernelPath="/mine"), pool("b"), finder=lambda: None)
    ((key, message),) = messages(result)
    assert key == "Pools.b.KernelPath"
    assert message.startswith("no kernel was found on this computer, so KernelPath is required")


@pytest.mark.parametrize("name", ["a806-2645-9651", "A806-2645-9651", "", "a\nb", "a\0b"])
def test_names_that_no_pool_can_have(name):
    assert [key for key, _ in messages(resolved(pool(name)))] == [f"Pools.{name}"]


@pytest.mark.parametrize("name", ["KernelPoolOne", "a806-2645-965", "a806-2645-9651-", "größer", "a b", "0"])
def test_names_that_a_pool_can_have(name):
    assert resolved(pool(name)).settings.pool(name).name == name


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
        assert default_settings("/k").kernel_start_concurrency == expected
    assert resolved(pool("a"), KernelStartConcurrency=1).settings.kernel_start_concurrency == 1


def test_parallel_options_are_for_parallel_pools():
    settings = ServerSettings.build(
        pools=[
            {"name": "a", "KernelPath": "k", "KernelOptions": "-x 'y z'"},
            {"name": "b", "KernelPath": "k", "KernelOptions": ["-x"], "ParallelKernels": True},
        ]
    )
    assert settings.pools[0].launch_options == ("-x", "y z")
    assert settings.pools[1].launch_options == ("-x", "-subkernel", "-noinit")


def test_build_reports_everything_that_is_wrong():
    with pytest.raises(ConfigurationError) as caught:
        ServerSettings.build(
            pools=[{"name": "a", "KernelPath": "k", "Typo": 1, "KeepAlive": 1}, {"name": "a", "KernelPath": "k"}],
            Port=-1,
        )
    assert [problem.key for problem in caught.value.problems] == ["Port", "Typo", "KeepAlive", "Pools.a"]
