"""Facts about the gate's code in the ledger: every module that decides is in it."""

import re
from pathlib import Path
from typing import Any

import pytest

from eval.gates import fingerprint
from eval.gates.fingerprint import gate_fingerprint, rules
from tools.layout import ROOT, dotted, read_module, tracked

# What rules import although no verdict depends on it: time, errors, records, files, the store, engines, and who serves.
NO_RULES = {
    "core.clock",
    "core.db.interactions",
    "core.db.routes",
    "core.db.runs",
    "core.db.store",
    "core.db.versions",
    "core.durable_file",
    "core.errors",
    "core.ledger",
    "core.model_folder",
    "core.records",
    "core.route_check",
    "feedback.tombstones",
    "serve.engines.control_client",
    "serve.routing.publisher",
    "serve.routing.table",
}


def test_every_module_that_a_rule_imports_is_a_rule_or_decides_nothing():
    files = {dotted(path): path for path in tracked("core", "serve", "feedback", "eval", "rollout")}
    hashed = {name for name, _ in rules()}
    imported = {
        module
        for path in hashed
        if path.endswith(".py")
        for module in read_module(path, frozenset(files)).imports
        # A module of core.db passes parameters to the SQL next to it, which holds the rule.
        if files[module] not in hashed and files[module].removesuffix(".py") + ".sql" not in hashed
    }
    assert imported == NO_RULES


def test_all_of_eval_and_rollout_are_in_it():
    assert set(tracked("eval", "rollout")) <= {name for name, _ in rules()}


def test_every_view_of_the_schema_is_in_it():
    files = (ROOT / "core/db/migrations").glob("*.sql")
    views = {f"core/db/migrations/{file.name}" for file in files if re.search(r"CREATE.*\bVIEW\b", file.read_text())}
    assert views and views <= {name for name, _ in rules()}


@pytest.mark.parametrize(
    "name",
    [
        "core/settings/promotion.py",
        "core/prompts.py",
        "core/db/live_tests.sql",
        "core/db/snapshots.sql",
        "feedback/snapshot.py",
        "eval/gates/offline.py",
        "eval/holdouts.py",
        "eval/kpis/text.py",
        "eval/llm_judge.py",
        "eval/suites/refusal.py",
        "rollout/live_monitor.py",
        "rollout/live_plan.py",
        "serve/retrieval/documents.py",
    ],
)
def test_a_rule_that_changes_changes_it(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    before, whole = gate_fingerprint(), dict(rules())
    changed: Any = tmp_path / "changed"
    changed.write_bytes(whole[name].read_bytes() + b"\n")
    monkeypatch.setattr(fingerprint, "rules", (whole | {name: changed}).items)
    gate_fingerprint.cache_clear()
    assert gate_fingerprint() != before
    monkeypatch.undo()
    gate_fingerprint.cache_clear()
    assert gate_fingerprint() == before
