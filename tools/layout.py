"""Measure the layout: module and function lengths, import cycles, and what exceeds the limits.

python -m tools.layout            # the figures as one JSON object
python -m tools.layout --check    # exit code 1 and one line per finding when a limit is exceeded
"""

import argparse
import ast
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("core", "loraloop", "serve", "feedback", "eval", "rollout", "retrain", "ops", "demo", "tools", "bench")
MODULE_LINES = 350
MEDIAN_LINES = 110
FUNCTION_LINES = 60
# Functions that may be longer, each with its cause.
LONG_FUNCTIONS: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Module:
    """One Python file: its dotted name, its length in lines, and what it imports and defines."""

    name: str
    lines: int
    imports: frozenset[str]
    functions: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The figures. Lists hold names, so that a finding says where to look."""

    modules: int
    lines: int
    median_lines: float
    longest_module: str
    longest_module_lines: int
    modules_over_limit: list[str]
    functions: int
    functions_over_limit: list[str]
    import_cycles: list[list[str]]
    test_files_over_limit: list[str]


def tracked(*folders: str) -> list[str]:
    """The Python files that git tracks under these folders, as paths from the top."""
    done = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in done.stdout.splitlines() if path.endswith(".py") and (ROOT / path).is_file()]


def dotted(path: str) -> str:
    """The module name of a file: `serve/routing/table.py` is `serve.routing.table`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def read_module(path: str, names: frozenset[str]) -> Module:
    """Parse one file. Imports inside functions and under TYPE_CHECKING count as well."""
    text = (ROOT / path).read_text(encoding="utf-8")
    tree = ast.parse(text)
    name = dotted(path)
    found = {imported for node in ast.walk(tree) for imported in imports_of(node, names)}
    return Module(name, text.count("\n"), frozenset(found - {name}), tuple(functions_of(tree, name)))


def imports_of(node: ast.AST, names: frozenset[str]) -> Iterator[str]:
    """The project's own modules that one statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            submodule = f"{node.module}.{alias.name}"
            if submodule in names:
                yield submodule
            elif node.module in names:
                yield node.module


def functions_of(tree: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
    """Each function and method with its length in lines, decorators left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}.{node.name}"
            yield name, (node.end_lineno or node.lineno) - node.lineno + 1
            yield from functions_of(node, name)
        elif isinstance(node, ast.ClassDef):
            yield from functions_of(node, f"{prefix}.{node.name}")
        else:
            yield from functions_of(node, prefix)


def cycles(modules: list[Module]) -> list[list[str]]:
    """Groups of modules that import each other, by Tarjan's strongly connected components (1972)."""
    graph = {module.name: sorted(module.imports) for module in modules}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for imported in graph[name]:
            if imported not in index:
                visit(imported)
                low[name] = min(low[name], low[imported])
            elif imported in stack:
                low[name] = min(low[name], index[imported])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return sorted(groups)


def measure() -> Layout:
    """Measure the checkout that this file is in."""
    paths = tracked(*PACKAGES)
    names = frozenset(dotted(path) for path in paths)
    modules = [read_module(path, names) for path in paths]
    # An __init__ that holds one docstring is no module that somebody has to read.
    written = [module for module in modules if module.lines > 1]
    longest = max(written, key=lambda module: module.lines)
    functions = [function for module in modules for function in module.functions]
    tests = [(path, (ROOT / path).read_text(encoding="utf-8").count("\n")) for path in tracked("tests")]
    return Layout(
        modules=len(written),
        lines=sum(module.lines for module in written),
        median_lines=statistics.median(module.lines for module in written),
        longest_module=longest.name,
        longest_module_lines=longest.lines,
        modules_over_limit=[f"{module.name} {module.lines}" for module in written if module.lines > MODULE_LINES],
        functions=len(functions),
        functions_over_limit=[
            f"{name} {lines}" for name, lines in functions if lines > FUNCTION_LINES and name not in LONG_FUNCTIONS
        ],
        import_cycles=cycles(modules),
        test_files_over_limit=[f"{path} {lines}" for path, lines in tests if lines > MODULE_LINES],
    )


def findings(layout: Layout) -> list[str]:
    """One sentence per exceeded limit."""
    found = [f"{module} lines: more than {MODULE_LINES}. Split it." for module in layout.modules_over_limit]
    found += [f"{name} lines: more than {FUNCTION_LINES}. Split it." for name in layout.functions_over_limit]
    found += [f"Import cycle: {' -> '.join(cycle)}. Move what they share." for cycle in layout.import_cycles]
    found += [f"{path} lines: more than {MODULE_LINES}. Split it." for path in layout.test_files_over_limit]
    if layout.median_lines > MEDIAN_LINES:
        found.append(f"The median module has {layout.median_lines:g} lines: more than {MEDIAN_LINES}.")
    return found


def main() -> int:
    """Print the figures; with --check print what exceeds a limit and return 1 if there is any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="print findings only; exit code 1 when there is one")
    layout = measure()
    if parser.parse_args().check:
        found = findings(layout)
        print("\n".join(found) or f"{layout.modules} modules are within the limits.")
        return 1 if found else 0
    print(json.dumps(asdict(layout), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
