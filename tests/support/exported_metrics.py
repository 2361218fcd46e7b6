"""The metrics that gateway, control and vLLM export: the names of their series, each with its labels."""

import ast

from prometheus_client import CollectorRegistry

from ops.apps import control_metrics
from serve.gateway.metrics import Metrics
from tests.support.console import Console
from tests.support.vllm_source import vllm_folder

Labels = dict[str, set[str]]
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
# How vLLM's source makes a metric.
CLASSES = {"_counter_cls": "counter", "_gauge_cls": "gauge", "_histogram_cls": "histogram"}


def own_metrics() -> Labels:
    """Every series of gateway and control, those that no request has made yet included."""
    console = Console()
    return _series_in(Metrics().registry) | _series_in(control_metrics.collect(console.control, console.alarms))


def _series_in(registry: CollectorRegistry) -> Labels:
    found: Labels = {}
    for family in registry.collect():
        collector = registry._names_to_collectors.get(family.name)  # pyright: ignore[reportPrivateUsage]
        labels = {*getattr(collector, "_labelnames", ()), *getattr(family, "_labelnames", ())}
        found |= _series(family.name, family.type, labels)
    return found


def _series(name: str, kind: str, labels: set[str]) -> Labels:
    return {name + end: labels | ({"le"} if end == "_bucket" else set()) for end in ENDINGS[kind]}


def vllm_metrics() -> Labels:
    """Every series of the installed vLLM, read from its source."""
    tree = ast.parse((vllm_folder() / "v1" / "metrics" / "loggers.py").read_text())
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and len(node.targets) == 1]
    texts = {ast.unparse(node.targets[0]): node.value for node in assigned}
    made: Labels = {}
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        kind = CLASSES.get(getattr(call.func, "attr", ""))
        given = {one.arg: one.value for one in call.keywords}
        if kind and isinstance(name := given.get("name"), ast.Constant):
            made |= _series(str(name.value), kind, _words(given["labelnames"], texts))
    return made


def _words(node: ast.expr, texts: dict[str, ast.expr]) -> set[str]:
    """The strings of a list that the source writes with names, attributes and sums."""
    match node:
        case ast.Constant(value):
            return {str(value)}
        case ast.List(parts):
            return {word for part in parts for word in _words(part, texts)}
        case ast.BinOp(left, _, right):
            return _words(left, texts) | _words(right, texts)
        case _:
            return _words(texts[ast.unparse(node)], texts)
