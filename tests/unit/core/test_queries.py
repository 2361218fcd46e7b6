"""Facts about the SQL blocks of core/db and the functions that call them."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DB = ROOT / "core" / "db"
BLOCK = re.compile(r"^-- name: (\w+)\n(.*)\n", re.MULTILINE)
MODULES = sorted(file.stem for file in DB.glob("*.sql"))


def blocks(module: str) -> dict[str, str]:
    """The first line of each block of a module by the block's name."""
    return dict(BLOCK.findall((DB / f"{module}.sql").read_text(encoding="utf-8")))


def called(file: Path) -> list[str]:
    """The strings that a file gives to calls as their first argument."""
    calls = [node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, ast.Call) and node.args]
    firsts = [call.args[0] for call in calls]
    return [str(first.value) for first in firsts if isinstance(first, ast.Constant)]


@pytest.mark.parametrize("module", MODULES)
def test_every_block_has_a_description(module: str) -> None:
    assert [name for name, line in blocks(module).items() if not line.startswith("-- ")] == []


@pytest.mark.parametrize("module", MODULES)
def test_the_module_next_to_an_sql_file_calls_each_of_its_blocks_and_no_other(module: str) -> None:
    names = [name for name in called(DB / f"{module}.py") if re.fullmatch(r"[a-z_]+\.[a-z_]+", name)]
    assert {name.partition(".")[0] for name in names} == {module}
    assert {name.partition(".")[2] for name in names} == set(blocks(module))


def test_only_the_modules_of_core_db_call_a_query_by_its_name() -> None:
    queries = {f"{module}.{name}" for module in MODULES for name in blocks(module)}
    files = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    others = [ROOT / name for name in files.splitlines() if not name.startswith("core/db/")]
    assert len(others) > 200
    assert [(file.name, name) for file in others for name in called(file) if name in queries] == []
