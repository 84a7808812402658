"""Values of a whole file: unknown keys, wrong types, wrong places."""

import json

import pytest

from wstpserver.settings.reader import read_document
from wstpserver.settings.validate import validate


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


@pytest.mark.parametrize("value", [[], ["a"], "pool", 3, None, True])
def test_pools_must_be_an_object(value):
    settings, problems = given({"Pools": value})
    assert [key for *_, key, _ in problems] == ["Pools"]
    assert "an object with one member for each pool" in problems[0][3]
    assert settings.pools == ()


@pytest.mark.parametrize("value", [[], '"x"', 3, None, True])
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


@pytest.mark.parametrize("value", [{}, {"a": 1}, [1], [[]]])
def test_containers_are_no_values(value):
    for key in ("KeepAlive", "KernelPath", "KernelOptions", "MinimumKernelNumber", "MaximumKernelAge"):
        problems = given({"Pools": {"A": {key: value}}})[1]
        assert [it[2] for it in problems] == [f"Pools.A.{key}"]
        assert "got a list" in problems[0][3] or "got an object" in problems[0][3]


def test_a_huge_unknown_key_is_no_trouble():
    problems = given({"Pools": {"A": {"KeepAlive" * 10_000: 1}}})[1]
    assert problems[0][3].startswith("unknown key")
