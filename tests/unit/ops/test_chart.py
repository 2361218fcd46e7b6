"""What the Helm chart renders as a whole, and its documentation and schema.

No test is skipped: helm-python-sdk renders in-process and needs neither a helm binary nor a network.
"""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import helm_python
import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.support.chart import CHART, ENGINE, EVERYTHING, SECRET, WAYS, objects, of_kind


@pytest.mark.parametrize("values", [{}, SECRET, SECRET | EVERYTHING], ids=["bare", "secret", "everything"])
def test_lint_finds_nothing_but_the_missing_icon(values: dict[str, Any]) -> None:
    # An icon has to be a URL, and this repository keeps hosts out of the chart; Helm calls it a recommendation.
    report = helm_python.lint(CHART, values, strict=True)
    assert report["errors"] == []
    assert [each["error"] for each in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("values", WAYS)
def test_every_manifest_is_valid_kubernetes(values: dict[str, Any], version: str) -> None:
    # These are the Prometheus operator's own kinds, for which Kubernetes publishes no schema.
    builtin = [each for each in objects(values) if each["kind"] not in ("ServiceMonitor", "PrometheusRule")]
    assert builtin
    for each in builtin:
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("values", WAYS)
def test_no_two_objects_share_a_name(values: dict[str, Any]) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in objects(values)]
    assert len(names) == len(set(names))


def test_names_fit_a_dns_label_for_the_longest_release_name() -> None:
    engine = ENGINE | {"name": "e" * 14}
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(SECRET | {"servingEngineSpec": {"modelSpec": [engine]}}, name="r" * 53, namespace="loops")
    names = [
        each["metadata"]["name"]
        for text in files.values()
        if "kind:" in text
        for each in yaml.safe_load_all(text)
        if each
    ]
    assert max(len(name) for name in names) <= 63


@pytest.mark.parametrize("values", WAYS)
def test_every_service_finds_pods_by_a_named_port(values: dict[str, Any]) -> None:
    found = objects(values)
    templates = [each["spec"]["template"] for each in found if "template" in each.get("spec", {})]
    for service in of_kind(found, "Service"):
        selector = service["spec"]["selector"].items()
        [pod] = [each for each in templates if selector <= each["metadata"]["labels"].items()]
        [container] = pod["spec"]["containers"]
        [port] = service["spec"]["ports"]
        assert container["ports"] == [{"name": port["targetPort"], "containerPort": port["port"]}]


def test_the_readme_lists_every_top_level_value_and_no_other() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (CHART / "README.md").read_text(), flags=re.MULTILINE)
    assert listed == list(yaml.safe_load((CHART / "values.yaml").read_text()))


def test_every_value_has_a_comment_above_it() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    # What is below these names is Kubernetes' own vocabulary.
    foreign = re.compile(r"^\s*(requests|limits|value):")
    bare = [
        line
        for above, line in itertools.pairwise(lines)
        if re.match(r"^\s*(- )?\w+:", line) and not foreign.match(line) and not above.strip().startswith("#")
    ]
    assert bare == []


def test_the_schema_is_strict_about_all_that_is_the_charts_own() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)

    def lax(node: Any, path: str) -> Iterator[str]:
        if isinstance(node, dict):
            if "properties" in node and node.get("additionalProperties") is not False:
                yield path
            for key, below in node.items():
                yield from lax(below, f"{path}/{key}")

    # `config` is LoraLoop's own file: its keys are checked by LoraLoop, at start.
    assert list(lax(schema, "")) == ["/properties/config", "/properties/config/properties/engine"]


def test_the_schema_has_exactly_the_values_that_there_are() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    # `global` is Helm's: it appears when the chart is a part of another.
    assert set(schema["properties"]) - {"global"} == set(yaml.safe_load((CHART / "values.yaml").read_text()))
