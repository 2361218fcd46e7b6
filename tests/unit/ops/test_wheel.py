"""Facts about what is shipped."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("loraloop", "core", "serve", "feedback", "eval", "rollout", "retrain", "ops")
IMPORT_ALL = """
import importlib, pathlib, sys
target = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(target))
for file in sorted(target.rglob("*.py")):
    name = ".".join(file.relative_to(target).with_suffix("").parts).removesuffix(".__init__")
    if name.startswith("serve.cpu_lora.") or name in ("retrain.trainer.train", "ops.cli.app"):
        continue  # they belong into an engine's or the trainer's process, or start by being imported
    module = importlib.import_module(name)
    assert pathlib.Path(module.__file__).is_relative_to(target), module.__file__
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder), "."],
        cwd=ROOT,
        check=True,
    )
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_tests_and_benchmarks_are_not_shipped(wheel: zipfile.ZipFile):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_sql_and_templates_are_shipped(wheel: zipfile.ZipFile):
    shipped = set(wheel.namelist())
    wanted = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.suffix in (".sql", ".html")]
    assert wanted
    assert {str(path.relative_to(ROOT)) for path in wanted} <= shipped


def test_every_module_imports_from_the_wheel(wheel: zipfile.ZipFile, tmp_path: Path):
    wheel.extractall(tmp_path / "installed")
    subprocess.run(
        [sys.executable, "-I", "-c", IMPORT_ALL, str(tmp_path / "installed")], cwd=tmp_path, check=True, timeout=180
    )
