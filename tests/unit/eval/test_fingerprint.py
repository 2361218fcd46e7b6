"""Facts about the gate's code in the ledger: whatever decides is in it."""

import sys
from pathlib import Path
from typing import Any

import pytest

import rollout.live_monitor  # noqa: F401
from eval.gates import fingerprint
from eval.gates.fingerprint import gate_fingerprint, rules


def test_every_room_of_eval_that_is_imported_is_in_it():
    imported = {Path(str(room.__file__)) for name, room in sys.modules.items() if name.partition(".")[0] == "eval"}
    hashed = {Path(str(file)) for _, file in rules()}
    assert len(imported) > 20 and imported <= hashed


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
