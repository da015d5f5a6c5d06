"""Types from text: what is known, what is refused, and what a JSON value must be."""

from __future__ import annotations

from typing import Any, Literal, Optional, Union

import pytest

from dspex_worker.annotation import checker, resolve
from dspex_worker.errors import Rejected


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("str", str),
        (" int ", int),
        ("Any", Any),
        ("typing.Any", Any),
        ("None", type(None)),
        ("list[str]", list[str]),
        ("List[str]", list[str]),
        ("typing.List[int]", list[int]),
        ("dict[str, list[int]]", dict[str, list[int]]),
        ("tuple[int, str]", tuple[int, str]),
        ("tuple[int, ...]", tuple[int, ...]),
        ("Optional[str]", Optional[str]),  # noqa: UP045
        ("str | None", Optional[str]),  # noqa: UP045
        ("Union[int, str, None]", Union[int, str, None]),  # noqa: UP007
        ("int | list[str]", Union[int, list[str]]),  # noqa: UP007
        ('Literal["a", "b"]', Literal["a", "b"]),
        ("Literal[1, -1, True, None]", Literal[1, -1, True, None]),  # noqa: PYI061
        ("typing.Literal['x']", Literal["x"]),
    ],
)
def test_known_types(text, kind):
    assert resolve(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "strr",
        "list[",
        "list[strr]",
        "dict[str]",
        "list[int, str]",
        "Optional",
        "Literal",
        "Literal[]",
        "Literal[1.5]",
        "Literal[x]",
        "int[str]",
        "os.system",
        "typing.os",
        "__import__('os').system('true')",
        "print('x')",
        "(lambda: 1)()",
        "[str for x in y]",
        "str if True else int",
        "list[__import__('os')]",
        "dspy.Image",
        "'str'",
        "1",
        "a\x00b",
        "list[" * 500 + "int" + "]" * 500,
        "x" * 2_000,
        "-" * 900 + "1",
        5,
        None,
        ["str"],
    ],
)
def test_anything_else_is_refused(text, capsys):
    with pytest.raises(Rejected, match="type"):
        resolve(text)
    assert capsys.readouterr().out == "", "nothing in the text was run"


@pytest.mark.parametrize(
    ("text", "fitting", "unfitting"),
    [
        ("str", ["", "a"], [1, None, ["a"], True]),
        ("int", [0, -5, 2**70], [True, 1.0, "1", None]),
        ("float", [1.5, 1], [True, "1", None]),
        ("bool", [True, False], [0, 1, "true", None]),
        ("list", [[], [1, "a"]], [{}, "a", None]),
        ("dict", [{}, {"a": 1}], [[], None]),
        ("tuple", [[], [1]], [{}, "a"]),
        ("Any", [None, 1, "a", []], []),
        ("list[int]", [[], [1, 2]], [["1"], [1, None], {}, 1]),
        ("dict[str, int]", [{}, {"a": 1}], [{"a": "1"}, []]),
        ("dict[int, str]", [{"1": "a", "-2": "b"}], [{"x": "a"}, {"1": 1}]),
        ("tuple[int, str]", [[1, "a"]], [[1], [1, "a", 2], ["a", 1]]),
        ("tuple[int, ...]", [[], [1, 2, 3]], [["a"]]),
        ("Optional[str]", ["a", None], [1]),
        ("int | list[str]", [1, ["a"]], ["a", [1], None]),
        ('Literal["a", 1]', ["a", 1], ["b", True, 1.0, None]),
        ("dict[str, list[dict[str, int]]]", [{"a": [{"b": 1}]}], [{"a": [{"b": "1"}]}]),
    ],
)
def test_values_are_held_against_types(text, fitting, unfitting):
    fits = checker(resolve(text))
    for value in fitting:
        assert fits(value), f"{value!r} is {text}"
    for value in unfitting:
        assert not fits(value), f"{value!r} is not {text}"
