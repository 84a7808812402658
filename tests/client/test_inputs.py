"""When an input goes on in the next line."""

import pytest

from wstpserver.client.inputs import completeness, is_incomplete


@pytest.mark.parametrize(
    "text",
    [
        "f[1,", "f[", "{1, 2", "(1 + 2", "<|a -> 1", "a[[1]", "f[{1, <|a -> (2", '"text', '"a \\" b', "(* comment",
        "(* outer (* inner *)", "1 +", "1 -", "2 * ", "a /", "2 ^", "x =", "x :=", "f[x_] :=\n", "a ->", "a :>", "a /.",
        "a //.", "f @@", "f /@", "f @", "a &&", "a ||", "a |", "a <>", "a <", "a >=", "a ==", "a ===", "a //", "a ~",
        "x_ /;", "1 + (* more *)", "1, ", '"a" <>',
    ],
)  # fmt: skip
def test_goes_on(text):
    assert is_incomplete(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "  ", "1 + 2", "f[1]", "{1, 2}", "<|a -> 1|>", "<||>", '"text"', '"a ["', "(* f[ *)", "(* (* *) *) 1",
        "a++", "a--", "x =.", "n!", "n!!", "f'", "#&", "x_", "x__", "x..", "x;", "%", "%%", "?Plus", "a]", "f[1}", ")",
        '"a" (* " *)', 'f["]"]', "a[[1]]", "`x", "1.", '"\\\\"', "a |> b", "(*)*)",
    ],
)  # fmt: skip
def test_is_whole(text):
    assert not is_incomplete(text)


def test_a_long_input_takes_no_time_that_grows_with_its_square():
    assert is_incomplete("f[" * 50_000)
    assert not is_incomplete("f[" * 50_000 + "]" * 50_000)
    assert is_incomplete("(*" * 50_000)


@pytest.mark.parametrize("text", ["a]", "f[1}", ")", "(1]", "<|a]"])
def test_a_bracket_that_closes_nothing_is_invalid(text):
    assert completeness(text) == "invalid"
