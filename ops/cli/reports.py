"""Commands that only read: models, versions, feedback, runs, promotions and their log.

Each asks control over HTTP and prints what it says, as a table or as JSON.
"""

import json as jsonlib
from typing import Annotated, Any

import typer

from core.records import Verdict
from ops.cli.control_choice import client_of
from ops.cli.moments import Since, Until
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    cell,
    out,
    show,
)
from ops.verdict_words import VERDICT_WORDS

SHOWN = (
    "accuracy",
    "macro_f1",
    "weighted_f1",
    "roc_auc",
    "exact_match",
    "token_f1",
    "chrf",
    "valid_json",
    "schema_match",
    "tool_name",
    "tool_name_f1",
    "tool_arguments",
    "tool_fields",
    "p50_first_token_ms",
    "p50_latency_ms",
    "p95_latency_ms",
    "prompt_tokens",
    "cost_per_1000",
)
ModelArgument = Annotated[str | None, typer.Argument(help="Only this model.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="Maximum number of rows.")]

Head = Annotated[str | None, typer.Option("--head", help="A head that was sent out once, as in a notification.")]


def models(config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False) -> None:
    """Show what serves now: champion, canary, holdback, feedback since the last run."""
    rows = client_of(config).get("/api/models")
    if not as_data:
        for row in rows:
            held = row["holdback"]
            row["holdback"] = f"v{held['version']} {held['share']:.0%} until {cell(held['until'])}" if held else None
            row["share"] = "paused" if row["paused"] else row["share"]
            row["frozen"] = row["frozen"] and row["frozen"]["actor"]
    columns = {
        "model": "model",
        "champion": "champion",
        "since": "since (UTC)",
        "canary": "canary",
        "share": "share",
        "holdback": "holdback",
        "new_feedback": "new feedback",
        "rollback_to": "rolls back to",
        "awaiting": "waits for approval",
        "frozen": "frozen by",
    }
    show(rows, as_data, columns, "No models.")


def versions(
    model: Annotated[str, typer.Argument(help="The model.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """List a model's versions: adapters and retrievals; version 0 is the bare base model."""
    rows = client_of(config).get(f"/api/models/{model}/versions")
    columns = {
        "version": "version",
        "kind": "kind",
        "time": "made (UTC)",
        "rank": "rank",
        "forgetting": "forgetting (nats)",
        "engine_name": "name",
        "run_id": "run",
        "revoked": "votes revoked since",
        "in_quarantine": "in quarantine",
    }
    show(rows, as_data, columns, "No versions.")


def one_version(
    model: Annotated[str, typer.Argument(help="The model.")],
    version: Annotated[int, typer.Argument(min=0, help="The version.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Show one version, with the votes that it learnt from and that were taken back since."""
    found = client_of(config).get(f"/api/models/{model}/versions/{version}")
    if as_data:
        print_data(found)
        return
    out.print(f"{found['model']}@{found['version']}, {found['kind']}", style="bold", markup=False)
    facts = {"made (UTC)": "time", "run": "run_id", "snapshot": "snapshot", "name": "engine_name"}
    facts |= {"forgetting, nats per token": "forgetting"} if found["forgetting"] is not None else {}
    facts |= {"votes revoked since": "revoked", "votes in quarantine": "in_quarantine"}
    rows = [{"what": title, "value": found[name]} for title, name in facts.items()]
    rows.append({"what": "users erased since", "value": len(found["erasures"])})
    show(rows, False, {"what": "what", "value": "value"}, "")
    columns = {"feedback_id": "feedback", "type": "type", "interaction_id": "answer", "revoked": "revoked (UTC)"}
    show(found["taken_back"], False, columns, "It learnt from no vote that was revoked or is in quarantine.")


def feedback(
    model: ModelArgument = None,
    by_key: Annotated[bool, typer.Option("--by-key", help="Also by the key that gave it.")] = False,
    by_user: Annotated[bool, typer.Option("--by-user", help="Also by key and user, those with most first.")] = False,
    key: Annotated[str | None, typer.Option("--key", help="Only what this key gave, by the key's id.")] = None,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="What waits: feedback for its answer, and DELETEs for their feedback.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Count feedback by model and type; a model of – has not (yet) met its interaction."""
    if waiting:
        _show_waiting(client_of(config).get("/api/feedback/waiting"), as_data)
        return
    rows = client_of(config).get("/api/feedback", model=model, key=key, by_key=by_key, by_user=by_user)
    columns = {"model": "model", "type": "type", "n": "count", "revoked": "revoked", "newest": "newest (UTC)"}
    if by_user:
        columns = {"key": "key", "user": "user"} | columns
    elif by_key:
        columns = {"key": "key", "users": "users"} | columns
    show(rows, as_data, columns, "No feedback yet. Apps send it to POST /v1/feedback.")


def _show_waiting(found: dict[str, Any], as_data: bool) -> None:
    if as_data:
        print_data(found)
        return
    columns = {"key": "key", "type": "type", "n": "count", "oldest": "oldest (UTC)", "newest": "newest (UTC)"}
    show(found["feedback"], False, columns, "No feedback waits for its answer.")
    asked = {"asked": "taken back without its feedback: key, id", "newest": "newest (UTC)"}
    show(found["revocations"], False, asked, "Every DELETE has met its feedback.")


def runs(
    model: ModelArgument = None, limit: Limit = 20, config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False
) -> None:
    """List runs with their progress."""
    rows = client_of(config).get("/api/runs", model=model, limit=limit)
    for row in rows:
        row["step"] = row["progress"]["text"] if row["progress"] and not row["finished"] else None
    columns = {
        "id": "run",
        "model": "model",
        "state": "state",
        "step": "step",
        "started": "started (UTC)",
        "trigger": "trigger",
        "reason": "reason",
    }
    show(rows, as_data, columns, "No runs yet. One starts automatically when there is enough new feedback.")


def promotions(
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only this model.")] = None,
    verdict: Annotated[Verdict | None, typer.Option("--verdict", help="Only this verdict.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """List decisions, newest first; `promotions show ID` tells everything about one."""
    rows = client_of(config).get("/api/promotions", model=model, verdict=verdict, since=since, until=until, limit=limit)
    for row in rows:
        row["change"] = f"{_v(row['from_version'])} → {_v(row['to_version'])}"
        row["decided"] = VERDICT_WORDS.get(row["verdict"], row["verdict"])
        measured = row["primary"]
        row["kpi"] = (
            f"{measured['kpi']} {cell(measured['champion']['value'])} → {cell(measured['candidate']['value'])}"
            if measured
            else None
        )
    columns = {
        "seq": "#",
        "time": "time (UTC)",
        "model": "model",
        "decided": "verdict",
        "change": "version",
        "kpi": "primary KPI",
        "reason": "reason",
    }
    show(rows, as_data, columns, "No decisions yet. The first run writes one.")


def promotion(
    identity: Annotated[str, typer.Argument(metavar="ID", help="A decision's id or number.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Show one decision: verdict, reason, every check, the four arms, what it was made of."""
    found = client_of(config).get(f"/api/promotions/{identity}")
    if as_data:
        print_data(found)
        return
    _headline(found)
    _checks(found["evidence"].get("gate", ()))
    _arms(found["evidence"])
    _classes(found["evidence"])
    _suites(found["evidence"])
    _slices(found["evidence"])
    for name in ("live", "lineage"):
        if found[name]:
            out.print(f"\n{name}", style="bold")
            for key, value in found[name].items():
                text = jsonlib.dumps(value) if isinstance(value, dict) else cell(value)
                out.print(f"  {key}: {text}", markup=False)


def verify(head: Head = None, config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False) -> None:
    """Prove that no row of the ledger was changed, removed or cut off, and that what serves follows from it."""
    report = client_of(config).get("/api/ledger", head=head)
    if as_data:
        print_data(report)
    else:
        state = "whole" if report["ok"] else "BROKEN"
        out.print(f"{state}: {report['reason']}  Head: {report['head']}", markup=False)
    if not report["ok"]:
        raise typer.Exit(1)


def _v(version: int | None) -> str:
    return "–" if version is None else f"v{version}"


def _headline(found: dict[str, Any]) -> None:
    verdict = VERDICT_WORDS.get(found["verdict"], found["verdict"])
    out.print(
        f"{found['model']} {_v(found['from_version'])} → {_v(found['to_version'])}: {verdict}",
        style="bold",
        markup=False,
    )
    out.print(found["reason"], markup=False)
    out.print(
        f"  {cell(found['time'])} UTC, trigger: {found['trigger']}, by {found['actor']}, row {found['seq']}",
        markup=False,
    )
    out.print(f"  hash {found['hash'][:16]}, after {found['previous_hash'][:16]}", markup=False)


def _checks(checks: Any) -> None:
    if checks:
        out.print("\ngate", style="bold")
    for check in checks:
        out.print(f"  {check['outcome']:<13}{check['reason']}", markup=False)


def _arms(evidence: dict[str, Any]) -> None:
    arms = evidence.get("arms")
    if not arms:
        return
    names = [name for name in SHOWN if any(name in found for found in arms.values())]
    rows = [{"arm": arm} | {n: found.get(n, {}).get("value") for n in names} for arm, found in arms.items()]
    if evidence["tfidf_logreg"]:
        rows.append({"arm": "tfidf_logreg"} | {n: evidence["tfidf_logreg"].get(n, {}).get("value") for n in names})
    out.print(f"\narms, on {evidence['n']} held-out labels from {evidence['users']} users", style="bold", markup=False)
    show(rows, False, {"arm": "arm", **{n: n for n in names}}, "")


def _classes(evidence: dict[str, Any]) -> None:
    """F1 of each label by arm."""
    found = evidence.get("class_f1")
    if not found:
        return
    rows = [
        {"label": label} | {arm: values[place] for arm, values in found.items()}
        for place, label in enumerate(evidence["labels"])
    ]
    out.print("\nF1 by label", style="bold")
    show(rows, False, {"label": "label", **{arm: arm for arm in found}}, "")


def _suites(evidence: dict[str, Any]) -> None:
    """What guardrail suites found, and whether fine-tuning was worth it."""
    suites = evidence.get("suites") or {}
    if suites:
        out.print("\nsuites", style="bold")
        rows = [
            {
                "kpi": kpi,
                "n": one["n"],
                "missing": one["missing"] or None,
                **{arm: (one["arms"].get(arm) or {}).get("value") for arm in ("base", "champion", "candidate")},
            }
            for kpi, one in suites.items()
        ]
        columns = {
            "kpi": "KPI",
            "base": "base",
            "champion": "champion",
            "candidate": "candidate",
            "n": "units",
            "missing": "not asked, because",
        }
        show(rows, False, columns, "")
    if evidence.get("worth"):
        out.print(f"\n{evidence['worth']['reason']}", markup=False)


def _slices(evidence: dict[str, Any]) -> None:
    """The candidate against the champion on parts of the held-out items."""
    found = evidence.get("slices")
    if not found or not found["judged"]:
        return
    out.print(f"\nslices, {found['small']} others are too small", style="bold", markup=False)
    rows = [
        {"slice": f"{one['dimension']} {one['value']}", "words": ", ".join(word["word"] for word in one["words"])}
        | {name: one[name] for name in ("kpi", "n", "voters")}
        | {name: one["difference"][name] for name in ("value", "lower", "upper")}
        for one in found["judged"]
    ]
    names = ("slice", "kpi", "n", "voters", "value", "lower", "upper", "words")
    show(rows, False, dict(zip(names, (*names[:4], "difference", *names[5:]), strict=True)), "")
