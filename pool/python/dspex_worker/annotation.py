"""Types written as text, such as `dict[str, list[int]]`, and JSON values held against them.

Invariant: the text comes from callers, so it is never evaluated: its syntax tree is walked, and
every name in it must be on the list below.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable
from typing import Any, Literal, Optional, Union, get_args, get_origin

from .errors import Rejected

Check = Callable[[Any], bool]

TEXT_LIMIT = 1_000
_PLAIN: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list,
    "dict": dict,
    "tuple": tuple,
    "List": list,
    "Dict": dict,
    "Tuple": tuple,
    "Any": Any,
    "None": type(None),
}
_GENERIC = frozenset({"list", "dict", "tuple", "List", "Dict", "Tuple"})
_SPECIAL = frozenset({"Optional", "Union", "Literal"})


def _is_int(value: Any) -> bool:
    return type(value) is int  # a bool is an int to Python, but not to callers


def _is_float(value: Any) -> bool:
    return type(value) is float or type(value) is int


CHECKS: dict[str, Check] = {
    "str": lambda value: isinstance(value, str),
    "int": _is_int,
    "float": _is_float,
    "bool": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, list),
    "dict": lambda value: isinstance(value, dict),
}


def resolve(text: Any) -> Any:
    """The type that the text names. Raises `Rejected`."""
    if not isinstance(text, str) or not text.strip():
        raise Rejected(f"type {text!r} is not the text of a Python type")
    if len(text) > TEXT_LIMIT:
        raise Rejected(f"a type of {len(text)} characters is too long; the limit is {TEXT_LIMIT}")
    try:
        return _resolve(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Rejected(f"type {text!r} is not a Python type") from None
    except _Unknown as unknown:
        raise Rejected(
            f"type {text!r} is not known: {unknown}; use str, int, float, bool, list[…], "
            "dict[…, …], tuple[…], Any, Optional[…], Union[…], Literal[…] or a combination"
        ) from None
    except TypeError as error:
        raise Rejected(f"type {text!r} is not a Python type: {error}") from None


class _Unknown(Exception):
    pass


def _resolve(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and node.value is None:
        return type(None)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return Union[_resolve(node.left), _resolve(node.right)]  # noqa: UP007  (built at run time)
    if isinstance(node, ast.Subscript):
        return _subscript(_name(node.value), node.slice)
    name = _name(node)
    if name not in _PLAIN:
        raise _Unknown(f"`{name}` needs its types in brackets" if name in _SPECIAL else f"`{name}`")
    return _PLAIN[name]


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "typing"
    ):
        return node.attr
    raise _Unknown(f"`{ast.unparse(node)[:80]}` is not the name of a type")


def _subscript(name: str, inner: ast.expr) -> Any:
    items = list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]
    if name == "Literal":
        return Literal[tuple(_literal(item) for item in items)]  # type: ignore[valid-type]
    if name in _GENERIC and _PLAIN[name] is tuple:
        if len(items) == 2 and isinstance(items[1], ast.Constant) and items[1].value is Ellipsis:
            return tuple[_resolve(items[0]), ...]  # type: ignore[misc]
        return tuple[tuple(_resolve(item) for item in items)]  # type: ignore[misc]
    wanted = {"list": 1, "List": 1, "dict": 2, "Dict": 2, "Optional": 1}.get(name)
    if wanted is not None and len(items) != wanted:
        raise _Unknown(f"`{name}` takes {wanted} in its brackets, not {len(items)}")
    resolved = tuple(_resolve(item) for item in items)
    if name in _GENERIC:
        return _PLAIN[name][resolved]
    if name == "Optional":
        return Optional[resolved[0]]  # noqa: UP045  (built at run time)
    if name == "Union":
        return Union[resolved]  # noqa: UP007  (built at run time)
    raise _Unknown(f"`{name}` takes no brackets" if name in _PLAIN else f"`{name}`")


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand)
        if _is_int(value):
            return -value
    elif isinstance(node, ast.Constant) and (
        node.value is None or isinstance(node.value, str | int)
    ):
        return node.value
    raise _Unknown("`Literal` takes texts, whole numbers, True, False and None")


def checker(kind: Any) -> Check:
    """A function that tells whether a JSON value is of the type."""
    if kind is Any:
        return lambda _value: True
    if kind is type(None):
        return lambda value: value is None
    if kind is tuple:
        return CHECKS["list"]
    origin = get_origin(kind)
    if origin is None:
        return CHECKS[kind.__name__]
    arguments = get_args(kind)
    if origin is Union or origin is types.UnionType:
        checks = [checker(argument) for argument in arguments]
        return lambda value: any(check(value) for check in checks)
    if origin is Literal:
        return lambda value: any(type(value) is type(one) and value == one for one in arguments)
    if origin is list:
        item = checker(arguments[0])
        return lambda value: isinstance(value, list) and all(map(item, value))
    if origin is tuple:
        return _tuple_checker(arguments)
    key, item = _key_checker(arguments[0]), checker(arguments[1])
    return lambda value: (
        isinstance(value, dict) and all(map(key, value)) and all(map(item, value.values()))
    )


def _tuple_checker(arguments: tuple[Any, ...]) -> Check:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        item = checker(arguments[0])
        return lambda value: isinstance(value, list) and all(map(item, value))
    checks = [checker(argument) for argument in arguments]
    return lambda value: (
        isinstance(value, list)
        and len(value) == len(checks)
        and all(check(one) for check, one in zip(checks, value, strict=True))
    )


def _key_checker(kind: Any) -> Check:
    """JSON has only texts as keys; a whole number as a key is written in digits."""
    plain = checker(kind)
    if kind is int:
        return lambda key: key.removeprefix("-").isdecimal()
    return plain
