"""Facts about the layout check."""

import ast
from dataclasses import replace

import pytest

from tools.layout import Layout, Module, cycles, findings, functions_of, imports_of, measure

GOOD = Layout(2, 100, 50, "core.a", 60, [], 3, [], [], [])


def module(name: str, *imports: str) -> Module:
    return Module(name, 10, frozenset(imports), ())


def test_modules_that_import_each_other_are_an_import_cycle():
    assert cycles([module("a", "b"), module("b", "c"), module("c", "a"), module("d", "a")]) == [["a", "b", "c"]]


def test_modules_that_import_downwards_are_none():
    assert cycles([module("a", "b", "c"), module("b", "c"), module("c")]) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import core.clock", ["core.clock"]),
        ("from core.clock import utc_now", ["core.clock"]),
        ("from core import clock", ["core.clock"]),
        ("from json import dumps", []),
    ],
)
def test_an_import_names_its_module(line: str, expected: list[str]):
    assert list(imports_of(ast.parse(line).body[0], frozenset({"core.clock"}))) == expected


def test_imports_for_type_checking_and_inside_functions_count():
    tree = ast.parse("if TYPE_CHECKING:\n    import a\ndef f():\n    import b\n")
    assert {name for node in ast.walk(tree) for name in imports_of(node, frozenset("ab"))} == {"a", "b"}


def test_methods_and_nested_functions_are_measured():
    tree = ast.parse("class A:\n    def f(self):\n        def g():\n            pass\n        return g\n")
    assert dict(functions_of(tree, "m")) == {"m.A.f": 4, "m.A.f.g": 2}


def test_a_layout_within_the_limits_has_no_findings():
    assert findings(GOOD) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"modules_over_limit": ["core.a 351"]}, "core.a 351"),
        ({"functions_over_limit": ["core.a.f 61"]}, "core.a.f 61"),
        ({"import_cycles": [["a", "b"]]}, "a -> b"),
        ({"test_files_over_limit": ["tests/x.py 351"]}, "tests/x.py"),
        ({"median_lines": 111}, "111"),
    ],
)
def test_each_exceeded_limit_is_a_finding(change: dict[str, object], word: str):
    (found,) = findings(replace(GOOD, **change))
    assert word in found


def test_this_repository_has_no_import_cycles():
    assert measure().import_cycles == []
