"""Store the results of an evaluation in the database."""

from collections.abc import Mapping

from core.db import evaluations
from core.db.store import Store
from eval.kpis.evidence import Measure, SuiteEvidence


def store_kpis(
    store: Store,
    run_id: str,
    model: str,
    name: str,
    arms: Mapping[str, Mapping[str, Measure]],
    versions: Mapping[str, int],
    *,
    n: int,
    users: int,
) -> None:
    """Store the arms' KPIs of a suite or holdout. `versions` has no entry for an arm that is not a version."""
    rows = [
        {
            "run_id": run_id,
            "model": model,
            "suite": name,
            "arm": arm,
            "version": versions.get(arm),
            "kpi": kpi,
            "value": measure.value,
            "low": measure.low,
            "high": measure.high,
            "n": n,
            "users": users,
        }
        for arm, measures in arms.items()
        for kpi, measure in measures.items()
    ]
    with store.transaction() as transaction:
        evaluations.add(transaction, rows)


def store_suite(
    store: Store, run_id: str, model: str, name: str, suite: SuiteEvidence, versions: Mapping[str, int]
) -> None:
    """Store a suite's KPI of each arm."""
    arms = {arm: {suite.kpi: measure} for arm, measure in suite.arms.items()}
    store_kpis(store, run_id, model, name, arms, versions, n=suite.n, users=suite.users or suite.n)
