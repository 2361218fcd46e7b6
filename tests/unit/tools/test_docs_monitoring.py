"""Facts about the pages on monitoring: the configuration fits what listens, and every metric is named once."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import build
from tests.support.exported_metrics import own_metrics, vllm_metrics

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "how-to" / "monitoring.md").read_text(encoding="utf-8")
TELEMETRY = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
ENDING = re.compile(r"_(bucket|sum|count)$")


def block(part: str) -> Any:
    """The YAML block of the page that has a key."""
    [found] = [text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if f"{part}:" in text]
    return yaml.safe_load(found)


def test_the_targets_of_one_machine_are_the_addresses_that_loraloop_listens_on() -> None:
    own, engines = block("scrape_configs")["scrape_configs"]
    settings = build({"models": {"reviews": {"labels": ["a", "b"]}}})
    assert own["static_configs"] == [{"targets": [settings.gateway.listen, settings.control.listen]}]
    assert engines["static_configs"] == [{"targets": [settings.engine.listen]}]
    assert "authorization" in own and "authorization" not in engines


def test_the_container_of_prometheus_is_on_the_networks_of_what_it_scrapes() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    networks = set(block("services")["services"]["prometheus"]["networks"])
    targets = re.findall(r"`(\w+):(\d+)`", PAGE)
    assert {name for name, _ in targets} == {"gateway", "control", "engine"}
    for name, port in targets:
        service = compose["services"][name]
        assert networks & set(service["networks"]) and port in str(service["healthcheck"]["test"])


def test_the_page_names_every_dashboard() -> None:
    files = {file.name for file in (ROOT / "charts" / "loraloop" / "dashboards").glob("*.json")}
    assert set(re.findall(r"^\| `([\w-]+\.json)`", PAGE, re.MULTILINE)) == files


def test_every_metric_is_described_and_no_other() -> None:
    described = re.findall(r"`(loraloop_\w+)`", "".join(re.findall(r"^\|(.*?)\|", TELEMETRY, re.MULTILINE)))
    assert len(described) == len(set(described))
    exported = {ENDING.sub("", name) for name in own_metrics()}
    assert set(described) | {"loraloop_workers"} == exported | {
        "loraloop_workers"
    }  # only a gateway with workers has it


@pytest.mark.parametrize("text", [PAGE, TELEMETRY])
def test_every_metric_in_the_text_is_exported(text: str) -> None:
    known = {ENDING.sub("", name) for name in own_metrics() | vllm_metrics()} | {"loraloop_workers"}
    assert (
        set(re.findall(r"\b(?:loraloop_[a-z_]+|vllm:[a-z_]+)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))
        <= known
    )
