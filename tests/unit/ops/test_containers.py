"""The container images' files and compose.yaml: complete, hardened, and in step with the settings and the chart."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import serve.engines.process
from core.clock import utc_now
from core.model_folder import ModelFolder
from core.settings import build, load
from core.settings.environment import KEY_VARIABLES
from tests.support.chart import CHART
from tests.support.compose import ROOT, read
from tools import image_packages

FILES = sorted((ROOT / "docker").glob("*.Containerfile"))
KEYS = dict.fromkeys(("LORALOOP_APP_KEY", "LORALOOP_OPS_KEY", "LORALOOP_INTERNAL_KEY"), "x")
# Modules that no process of the slim image imports: they are of trainings and engines, or start when imported.
ELSEWHERE = ("serve.cpu_lora.", "retrain.trainer.", "ops.cli.app")
SLIM_IMPORTS = """
import importlib, importlib.metadata, json, pathlib, re, sys
allowed, roots, elsewhere = map(set, json.loads(sys.argv[1]))
normal = lambda name: re.sub(r"[-_.]+", "-", name).lower()
tops = importlib.metadata.packages_distributions()
barred = {top for top, dists in tops.items() if top not in roots and not {normal(dist) for dist in dists} & allowed}
class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in barred:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)
sys.meta_path.insert(0, Barred())
for root in roots:
    for file in pathlib.Path(root).rglob("*.py"):
        name = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith(tuple(elsewhere)):
            importlib.import_module(name)
import ops.cli.app
"""


def instructions(file: Path) -> list[tuple[str, str]]:
    """The instructions of a Containerfile, continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", file.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def compose() -> dict[str, Any]:
    return read(KEYS)


def test_there_is_a_file_for_each_image() -> None:
    assert [file.stem for file in FILES] == ["engine", "loraloop", "trainer"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_copied_file_exists_and_is_in_the_build_context(file: Path) -> None:
    kept = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), flags=re.MULTILINE))
    copied = [
        source
        for word, rest in instructions(file)
        if word == "COPY" and "--from=" not in rest
        for source in rest.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source == "." or source.split("/")[0] in kept, source


def test_the_build_context_has_all_that_the_wheel_is_made_of() -> None:
    kept = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), flags=re.MULTILINE))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    [packages] = re.findall(r"\[tool\.hatch\.build\.targets\.wheel\]\npackages = (\[.*\])", project)
    assert {*json.loads(packages), "pyproject.toml", "README.md", "requirements.lock"} <= kept


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_image_runs_as_user_10001_with_a_health_check_and_labels(file: Path) -> None:
    last = max(index for index, (word, _) in enumerate(instructions(file)) if word == "FROM")
    final = instructions(file)[last:]
    assert [rest for word, rest in final if word == "USER"] == ["10001:10001"]
    assert str(yaml.safe_load((CHART / "values.yaml").read_text())["runAsUser"]) == "10001"
    [check] = [rest for word, rest in final if word == "HEALTHCHECK"]
    assert "/opt/loraloop/health.py" in check and "/health" in check
    [labels] = [rest for word, rest in final if word == "LABEL"]
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in labels
    assert [word for word, _ in final].index("USER") < [word for word, _ in final].index("ENTRYPOINT")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_base_image_can_be_replaced_and_has_a_tag(file: Path) -> None:
    word, rest = instructions(file)[0]
    assert word == "ARG" and re.fullmatch(r"BASE=\S+:\S+", rest) and not rest.endswith(":latest")
    assert {rest.split()[0] for word, rest in instructions(file) if word == "FROM"} == {"${BASE}"}


def test_the_images_version_is_the_projects_and_the_charts() -> None:
    [version] = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version
    for file in FILES:
        assert ("ARG", f"VERSION={version}") in instructions(file)
    assert {service["image"].rpartition(":")[2] for service in compose()["services"].values()} == {version}


def test_lists_of_packages_are_what_the_installed_packages_require() -> None:
    for path, text in image_packages.contents().items():
        assert path.read_text(encoding="utf-8") == text, "run: python -m tools.image_packages"


def test_a_package_that_the_lock_lacks_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_packages, "locked", set)
    with pytest.raises(ValueError, match=r"lacks packages of the image loraloop: .*aiohttp"):
        image_packages.contents()


def test_a_subset_of_the_lock_has_the_hashes_of_its_packages_alone(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("a==1 \\\n    --hash=sha256:1\n    # via b\nab==2 \\\n    --hash=sha256:2\n")
    (tmp_path / "names").write_text("a\n")
    command = ["sh", str(ROOT / "docker/subset.sh"), str(tmp_path / "names"), str(tmp_path / "lock")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "a==1 \\\n    --hash=sha256:1\n    # via b\n"


def test_gateway_control_and_command_line_import_with_the_slim_images_packages_alone() -> None:
    allowed = (image_packages.FOLDER / "loraloop.txt").read_text(encoding="utf-8").split()
    roots = ["core", "loraloop", "serve", "feedback", "eval", "rollout", "retrain", "ops"]
    given = json.dumps([allowed, roots, ELSEWHERE])
    done = subprocess.run(
        [sys.executable, "-c", SLIM_IMPORTS, given], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("status", [200, 503])
def test_the_health_check_passes_for_200_alone(status: int) -> None:
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    from serve.engines.fake import running

    with running(Starlette(routes=[Route("/health", lambda _: Response(status_code=status))])) as url:
        command = [sys.executable, str(ROOT / "docker/health.py"), "http://127.0.0.1:1/health", f"{url}/health"]
        assert subprocess.run(command, check=False).returncode == (status != 200)


def test_only_gateway_and_console_are_published_on_loopback() -> None:
    published = {name: service["ports"] for name, service in compose()["services"].items() if "ports" in service}
    assert published == {"control": ["127.0.0.1:8081:8081"], "gateway": ["127.0.0.1:8080:8080"]}


def test_the_engines_network_has_no_way_out() -> None:
    found = compose()
    assert found["services"]["engine"]["networks"] == ["engines"]
    assert found["networks"]["engines"] == {"internal": True}


def test_every_service_is_hardened() -> None:
    for service in compose()["services"].values():
        assert service["user"] == "10001:10001" and service["read_only"] is True and "/tmp" in service["tmpfs"]
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]


def test_each_service_has_only_its_keys_and_none_has_a_default() -> None:
    held = {
        name: set(service.get("environment", {})) & set(KEY_VARIABLES.values())
        for name, service in compose()["services"].items()
    }
    assert held == {
        "prepare": set(),
        "engine": set(),
        "control": {"LORALOOP_OPS_KEY", "LORALOOP_INTERNAL_KEY"},
        "gateway": {"LORALOOP_APP_KEY", "LORALOOP_INTERNAL_KEY"},
    }
    example = (ROOT / "docker" / "loraloop.env.example").read_text(encoding="utf-8")
    assert set(re.findall(r"^(\w+)=$", example, flags=re.MULTILINE)) == set(KEYS)
    for name in KEYS:
        with pytest.raises(KeyError, match=name):
            read({key: value for key, value in KEYS.items() if key != name})


@pytest.mark.parametrize("service", ["control", "gateway"])
def test_loraloop_accepts_the_config_and_environment_of_each_service(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in compose()["services"][service]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load(ROOT / "docker" / "config" / "loraloop.yaml")
    assert settings.data == Path("/data")
    assert settings.control_url == "http://control:8081"
    assert settings.engine_urls == ["http://engine:8090"]
    assert str(settings.adapters) == "/data/adapters"


def test_the_engine_starts_as_loraloop_up_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VLLM")]:  # vLLM sets some when it is imported
        monkeypatch.delenv(name)
    settings = load(ROOT / "docker" / "config" / "loraloop.yaml")
    ours = settings.engine.model_copy(update={"listen": "0.0.0.0:8090"})
    _, *expected = serve.engines.process.command(ours, Path(settings.base_model), Path(settings.base_model).name)
    engine = compose()["services"]["engine"]
    [entry] = [rest for word, rest in instructions(ROOT / "docker/engine.Containerfile") if word == "ENTRYPOINT"]
    assert json.loads(entry)[1:] + engine["command"] == expected
    added = serve.engines.process.environment(ours)
    assert {name: added[name] for name in engine["environment"]} == engine["environment"]
    assert {name for name in added if name.startswith("VLLM")} - set(engine["environment"]) == {
        "VLLM_CPU_OMP_THREADS_BIND"
    }


def test_volumes_are_written_by_control_and_read_by_the_engine() -> None:
    services = compose()["services"]
    assert {"models:/models:ro", "adapters:/data/adapters:ro"} <= set(services["engine"]["volumes"])
    assert {"models:/models:ro", "adapters:/data/adapters", "data:/data"} <= set(services["control"]["volumes"])
    used = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    assert {each for each in used if not each.startswith(".")} == set(compose()["volumes"])
    assert all((ROOT / each / "loraloop.yaml").is_file() for each in used if each.startswith("."))


def test_the_chart_names_the_images_that_are_built() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    named = {values["image"]["repository"], values["servingEngineSpec"]["modelSpec"][0]["repository"]}
    built = {service["image"].rpartition(":")[0] for service in compose()["services"].values()}
    assert named <= built


@pytest.mark.parametrize("file", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda file: file.stem)
def test_workflows_pin_actions_and_give_each_job_its_own_permissions(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    flow = yaml.safe_load(text)
    assert flow["permissions"] in ({}, {"contents": "read"})
    for name, job in flow["jobs"].items():
        assert "timeout-minutes" in job, name
        assert "permissions" in job or flow["permissions"], name
    used = re.findall(r"uses: (\S+)", text)
    assert used and all(re.fullmatch(r"[\w./-]+@v\d+\.\d+\.\d+", each) for each in used)


def test_the_release_writes_packages_only_where_it_publishes() -> None:
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    writing = {name for name, job in flow["jobs"].items() if job["permissions"].get("packages") == "write"}
    assert writing == {"images", "chart"}
    assert flow["jobs"]["pypi"]["permissions"] == {"id-token": "write"}
    assert [each["file"] for each in flow["jobs"]["images"]["strategy"]["matrix"]["include"]] == [
        "loraloop",
        "trainer",
        "engine",
    ]


def test_the_self_check_writes_adapters_where_engines_elsewhere_can_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ops.apps import control

    given: dict[str, Any] = {}

    class Noted(control.Reconciler):
        def __init__(self, *clients: Any, **how: Any) -> None:
            given.update(how)
            super().__init__(*clients, **how)

    monkeypatch.setattr(control, "Reconciler", Noted)
    settings = build({"data": str(tmp_path), "models": {"m": {"labels": ["a", "b"]}}})
    control.assemble(settings, ModelFolder("base", tmp_path), utc_now).store.close()
    assert given["self_check"].keywords["folder"].is_relative_to(settings.adapters)
