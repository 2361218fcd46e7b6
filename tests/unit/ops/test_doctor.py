"""Facts about the doctor: every check finds what it is for, and says how to fix it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from core.settings import ModelSettings
from eval.kpis.intervals import USUAL_DISCORDANCE, resolvable_difference
from eval.suites import shipped
from ops.local import doctor
from ops.local.doctor import Finding
from serve.engines.fake import running
from tests.support.oidc import PUBLIC, settings_of
from tools.live_stack import free_ports

WELL: dict[str, Any] = {
    "/ready": {"ready": True, "unshipped_bytes": 10, "interactions_dropped": 0, "dead_letters": 0}
    | {"max_spool_bytes": 16 * 10**9, "damaged_segments": 0},
    "/api/ledger": {"ok": True, "reason": "3 rows, each follows from the one before."},
    "/api/audit/chain": {"ok": True, "reason": "3 rows, each follows from the one before.", "failing": False},
    "/api/notifications": [{"target": "slack (URL 1)", "refusals": 0}],
    "/api/alarms": [],
    "/api/retention": {"kinds": [{"kind": "texts", "days": None, "bytes": 9 * 10**9}]},
    "/api/snapshots/m": {"warnings": []},
    "/api/models": [{"run": None}, {"run": {"id": "run-1", "state": "training"}}],
    "/health": {"status": "ok"},
}


def answers(changes: dict[str, Any]) -> FastAPI:
    api = FastAPI()

    def route(body: Any) -> Callable[[], JSONResponse]:
        return lambda: JSONResponse(body)

    for path, body in (WELL | changes).items():
        if body is not None:
            api.get(path)(route(body))
    return api


def examined(
    tmp_path: Path, changes: dict[str, Any] | None = None, now: Callable[[], float] = time.time
) -> dict[str, Finding]:
    """What the doctor says of one server that answers as control and gateway."""
    (port,) = free_ports(1)
    config = tmp_path / "loraloop.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "base_model": str(tmp_path),
                "data": str(tmp_path / "data"),
                "models": {"m": {"labels": ["a", "b"]}},
                "control": {"listen": f"127.0.0.1:{port}"},
                "gateway": {"listen": f"127.0.0.1:{port}"},
            }
        )
    )
    with running(answers(changes or {}), port):
        return {finding.name: finding for finding in doctor.examine(config, now)}


def test_where_all_is_well_it_says_so(tmp_path: Path):
    found = examined(tmp_path)
    sick = {name for name, finding in found.items() if not finding.ok}
    assert sick <= {"base model", "packages", "memory", "disk"}  # what this machine has, not what the test is about
    assert {
        "spool",
        "ledger",
        "audit log",
        "notifications",
        "retention",
        "snapshot of m",
        "clock of control",
        "clock of gateway",
        "clock of files",
    } <= set(found)


@pytest.mark.parametrize(
    ("name", "changes", "found", "fix"),
    [
        ("spool", {"/ready": WELL["/ready"] | {"unshipped_bytes": 10**9}}, "1000.0 MB", "server logs control"),
        (
            "spool",
            {"/ready": WELL["/ready"] | {"interactions_dropped": 3}},
            "3 interactions were",
            "Free space",
        ),
        ("spool", {"/ready": WELL["/ready"] | {"damaged_segments": 2}}, "2 segments had damaged bytes", ".bad file"),
        ("spool", {"/ready": WELL["/ready"] | {"unshipped_bytes": 9 * 10**9}}, "56% of its limit", "max_spool_bytes"),
        ("spool", {"/ready": {"ready": True}}, "not known", "LORALOOP_KEY"),
        ("ledger", {"/api/ledger": {"ok": False, "reason": "Row 2 (dec-2): its text"}}, "Row 2", "runbook"),
        ("audit log", {"/api/audit/chain": {"ok": False, "reason": "Row 2.", "failing": False}}, "Row 2", "audit.md"),
        ("audit log", {"/api/audit/chain": {"ok": True, "reason": "", "failing": True}}, "refused", "audit.md"),
        ("audit log", {"/api/audit/chain": {"error": {"message": "no"}}}, "not known", "LORALOOP_KEY"),
        ("ledger", {"/api/ledger": {"error": {"message": "no"}}}, "not known", "LORALOOP_KEY"),
        (
            "notifications",
            {"/api/notifications": [{"target": "slack (URL 1)", "refusals": 4}]},
            "slack",
            "notifications test",
        ),
        (
            "retention",
            {"/api/retention": {"kinds": [{"kind": "votes", "days": None, "bytes": 12 * 10**9}]}},
            "votes 12 GB",
            "Set retention.votes",
        ),
        ("retention", {"/api/retention": []}, "not known", "LORALOOP_KEY"),
        (
            "snapshot of m",
            {"/api/snapshots/m": {"warnings": ["9% of the votes in train make no row: same text (9 of 100)."]}},
            "9% of the votes in train",
            "loraloop snapshots show m",
        ),
        ("snapshot of m", {"/api/snapshots/m": []}, "not known", "LORALOOP_KEY"),
        ("dead letters", {"/ready": WELL["/ready"] | {"dead_letters": 2}}, "2 of gateways'", "loraloop dead-letters"),
    ],
)
def test_what_is_wrong_is_found_with_its_fix(tmp_path: Path, name: str, changes: Any, found: str, fix: str):
    finding = examined(tmp_path, changes)[name]
    assert not finding.ok and found in finding.found and fix in finding.fix


@pytest.mark.parametrize(("hours", "ok"), [(23, True), (25, False)])
def test_a_run_that_is_paused_for_more_than_a_day_is_named(tmp_path: Path, hours: int, ok: bool):
    actions = [
        {"time": "2026-05-01T01:00:00+00:00", "action": "pause"},
        {"time": "2026-05-01T02:00:00+00:00", "action": "resume"},
        {"time": "2026-05-01T03:00:00+00:00", "action": "pause"},
    ]
    changes = {
        "/api/models": [{"run": {"id": "run-1", "state": "paused"}}],
        "/api/runs/run-1": {"detail": {"actions": actions}},
    }
    now = datetime(2026, 5, 1, 3, tzinfo=UTC).timestamp() + hours * 3600
    finding = examined(tmp_path, changes, lambda: now)["paused runs"]
    assert finding.ok is ok
    if not ok:
        assert "run-1 since 2026-05-01 03:00" in finding.found and "loraloop runs resume run-1" in finding.fix


def test_a_model_without_a_snapshot_is_well(tmp_path: Path):
    changes = {"/api/snapshots/m": None}
    found = examined(tmp_path, changes)["snapshot of m"]
    assert found.ok and found.found == "none yet"


def test_documents_that_cannot_be_shown_are_named_with_the_fix(tmp_path: Path):
    config = tmp_path / "loraloop.yaml"
    model = {"labels": ["a", "b"], "baselines": {"documents": str(tmp_path / "docs")}}
    config.write_text(yaml.safe_dump({"data": str(tmp_path / "data"), "models": {"m": model}}))
    found = {finding.name: finding for finding in doctor.examine(config)}["documents of m"]
    assert not found.ok and "there is no folder" in found.found and "Make it" in found.fix
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("Lamps want bulbs.")
    assert {finding.name: finding for finding in doctor.examine(config)}["documents of m"].ok


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "NEEDED", ("nowhere_to_be_found",))
    finding = examined(tmp_path)["packages"]
    assert not finding.ok and "nowhere_to_be_found" in finding.found and "make install" in finding.fix


def test_a_clock_that_is_far_off_is_found(tmp_path: Path):
    found = examined(tmp_path, now=lambda: time.time() - 90)
    for name in ("clock of control", "clock of gateway", "clock of files"):
        assert not found[name].ok and "NTP" in found[name].fix
        assert 85 <= int(found[name].found.split()[0]) <= 95


def model(**more: Any) -> ModelSettings:
    return ModelSettings.model_validate({"labels": ["a", "b"]} | more)


def test_it_says_which_guardrails_no_suite_measures_and_what_the_others_resolve():
    bare = doctor._guardrails("m", model())
    assert bare.ok and bare.name == "guardrails of m"
    assert bare.found == (
        "not measured, for no suite is named: golden_accuracy, safety, over_refusal, sycophancy, "
        "hallucination, consistency, format_validity, mean_length"
    )
    waived = {"guardrails": [{"kpi": "golden_accuracy", "waived": True}]}
    some = doctor._guardrails("m", model(evaluation={"suites": ["refusal", "length"]}, promotion=waived))
    assert "golden_accuracy" not in some.found and "mean_length" not in some.found
    units = len(shipped.shipped_suite("refusal").units)
    resolved = resolvable_difference(units, USUAL_DISCORDANCE)
    assert f"safety resolves {resolved:.3f} with 80 % power, accepted 0.020" in some.found


def test_a_guardrail_that_nothing_measures_or_a_broken_suite_is_sick(tmp_path: Path):
    named = {"guardrails": [{"kpi": "safety", "margin": 0.1}]}
    finding = doctor._guardrails("m", model(promotion=named))
    assert not finding.ok and "no suite measures safety: no candidate could pass" in finding.found
    finding = doctor._guardrails("m", model(evaluation={"suites": [str(tmp_path)]}))
    assert not finding.ok and "suite.json cannot be read" in finding.found


@pytest.mark.parametrize(
    ("settings", "name", "level", "words"),
    [
        ({"labels": ["a", "b"]}, "promotion of m", "ok", "after the offline gate: a canary"),
        (
            {"labels": ["a", "b"], "promotion": {"canary": None}},
            "promotion of m",
            "warning",
            "all users get a candidate",
        ),
        (
            {"labels": ["a", "b"], "promotion": {"canary": None, "mode": "approve"}},
            "promotion of m",
            "ok",
            "after the offline gate: an approval",
        ),
        ({"task": "generate"}, "guardrails of m", "warning", "safety"),
        ({"task": "generate", "promotion": {"mode": "approve"}}, "guardrails of m", "ok", "safety"),
        ({"labels": ["a", "b"]}, "guardrails of m", "ok", "safety"),
    ],
)
def test_a_default_that_guards_nothing_is_a_warning(
    tmp_path: Path, settings: dict[str, Any], name: str, level: str, words: str
):
    config = tmp_path / "loraloop.yaml"
    config.write_text(yaml.safe_dump({"base_model": str(tmp_path), "models": {"m": settings}}))
    finding = {finding.name: finding for finding in doctor.examine(config)}[name]
    assert finding.ok and finding.level == level and words in finding.found
    assert level == "ok" or finding.fix


def test_the_log_in_provider_is_asked_for_its_discovery_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = FastAPI()
    config = tmp_path / "loraloop.yaml"

    def found(issuer: str) -> list[Finding]:
        plain = settings_of(issuer, tmp_path) | {"base_model": str(tmp_path)}
        config.write_text(yaml.safe_dump(plain))
        return [finding for finding in doctor.examine(config) if finding.name == "log-in provider"]

    with running(api) as url:

        @api.get("/.well-known/openid-configuration")
        def discovery() -> dict[str, str]:
            names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            return {"issuer": url} | {name: f"{url}/{name}" for name in names}

        (without,) = found(url)
        assert without.level == "warning" and "LORALOOP_OIDC_CLIENT_SECRET" in without.fix
        monkeypatch.setenv("LORALOOP_OIDC_CLIENT_SECRET", "s3cret")
        (well,) = found(url)
        assert well.level == "ok" and f"redirect to {PUBLIC}/login/oidc/callback" in well.found
        (other,) = found(f"{url}/")
        assert not other.ok and "is about the issuer" in other.found
    (down,) = found(url)
    assert not down.ok and "does not answer" in down.found and "login.oidc.issuer" in down.fix
    config.write_text(yaml.safe_dump({"base_model": str(tmp_path), "models": {"m": {"labels": ["a", "b"]}}}))
    assert "log-in provider" not in {finding.name for finding in doctor.examine(config)}


@pytest.mark.parametrize(("share", "warns"), [(None, True), (0.5, False)])
def test_an_engine_that_takes_most_of_the_only_gpu_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float | None, warns: bool
) -> None:
    assert "GPU memory" not in examined(tmp_path)
    monkeypatch.setattr(doctor, "GPU", tmp_path)
    config = tmp_path / "gpu.yaml"
    engine = {"gpu_memory_utilization": share}
    config.write_text(
        yaml.safe_dump({"base_model": str(tmp_path), "models": {"m": {"labels": ["a", "b"]}}, "engine": engine})
    )
    found = {finding.name: finding for finding in doctor.examine(config)}["GPU memory"]
    assert found.ok and found.warns is warns and ("0.5" in found.fix or "50%" in found.found)
