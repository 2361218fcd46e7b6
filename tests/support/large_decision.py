"""A decision with all that a page can show: 15 labels, every suite, slices, a canary's looks, and long texts."""

import random
from typing import Any

from core.db import evaluations
from core.records import Interaction
from feedback.ingest import add
from tests.support.console import ARMS, LINEAGE, NOW, Console, full_evidence, look_body

LABELS = [f"department {n}: billing and refunds" for n in range(15)]
SUITES = (
    "golden_accuracy",
    "safety",
    "over_refusal",
    "hallucination",
    "instruction_following",
    "language",
    "toxicity",
    "mean_length",
    "kl_to_base",
    "forgetting",
)


def confused(seed: int) -> list[list[int]]:
    """A table in which half of the pairs of labels were confused at least once."""
    draw = random.Random(seed)
    return [
        [draw.randint(10, 40) if row == column else draw.choice((0, 1, 2, 0)) for column in range(len(LABELS))]
        for row in range(len(LABELS))
    ]


def large_evidence() -> dict[str, Any]:
    """The evidence of a model with 15 labels, all suites and 24 slices."""
    found = full_evidence()
    measure = {"value": 0.61, "low": 0.55, "high": 0.66}
    apart = {"value": 0.0214159, "lower": -0.0112345, "upper": 0.0412345, "level": 0.00123}
    suites = {
        kpi: {
            "n": 200,
            "arms": dict.fromkeys(("candidate", "champion"), measure),
            "difference": apart,
            "relative": None,
            "resolvable": 0.04,
            "missing": "",
        }
        for kpi in SUITES
    }
    gate = found["gate"] + [
        {
            "name": f"guardrail {kpi}",
            "outcome": "pass",
            "value": -0.0214159,
            "bound": 0.0112345,
            "threshold": 0.02,
            "kind": "margin",
            "kpi": kpi,
            "against": "champion",
            "reason": f"{kpi} is 0.021 better than the champion's, at worst 0.011 worse; at most 0.020 is accepted.",
        }
        for kpi in (*SUITES, *found["differences"])
    ]
    kpis = [
        {
            "kpi": kpi,
            "arms": {},
            "difference": 0.08,
            "interval": [0.031, 0.12],
            "level": 0.0076,
            "n": 330,
            "users": 121,
            "test": "paired bootstrap over users, one-sided",
            "checks": [{"name": f"{kpi} against champion", "threshold": 0.0, "verdict": "pass"}],
        }
        for kpi in (*found["differences"], *SUITES)
    ]
    words = [{"word": "refund", "lost": 14, "of_lost": 20, "rest": 3, "of_rest": 90}] * 5
    slices = [
        {
            "dimension": "app",
            "value": f"shop {n}",
            "kpi": "accuracy",
            "n": 1200,
            "voters": 80,
            "difference": {"value": n / 100 - 0.1, "lower": n / 100 - 0.2, "upper": n / 100, "level": 0.0021},
            "words": words,
        }
        for n in range(24)
    ]
    return found | {
        "labels": LABELS,
        "class_f1": {arm: [0.61 + n / 100 for n in range(15)] for arm in ARMS},
        "confusion": {arm: confused(place) for place, arm in enumerate(ARMS)},
        "suites": suites,
        "gate": gate,
        "kpis": kpis,
        "level_spent": 0.0076,
        "slices": {"judged": slices, "small": 3, "least": 50, "level": 0.0021},
        "worth": {
            "retrieval_is_enough": False,
            "reason": "Fine-tuning is worth it: macro_f1 +0.100 over retrieval.",
            "saved_ms": 12.5,
            "saved_tokens": 180.0,
            "requests": 4800,
        },
    }


def _asked(identity: str) -> Interaction:
    request = {"messages": [{"role": "user", "content": "where is my parcel, it should be here " * 8}]}
    about = ("reviews", 6, "champion", 0.0, None, "u", None, "chat", request, "x", "stop", 200, 1.0, None, 1, 1, False)
    return Interaction(identity, NOW, *about)


def add_large_decision(console: Console) -> str:
    """Adds the decision with its 250 looks and 20 regressions, and returns its id."""
    add(console.store, [_asked(f"i{place}") for place in range(1, 21)])
    rows = [
        {
            "run_id": "run-1",
            "place": place,
            "interaction_id": f"i{place}",
            "kpi": "accuracy",
            "wanted": LABELS[1],
            "champion": LABELS[1],
            "candidate": LABELS[2],
            "loss": 0.8 / place,
        }
        for place in range(1, 21)
    ]
    with console.store.transaction() as transaction:
        evaluations.add_regression(transaction, rows)
    for look in range(1, 251):
        console.look(look, look_body(4 * look, 0.05 + 0.1 / look, 1 / look**0.5), reason="Not yet shown to be as good.")
    evidence, live = large_evidence(), look_body(1000, 0.05, 0.04)
    live |= {"gate": evidence["gate"][:5], "forecast": {"sentence": "It is likely to need 3 days."}}
    return console.add_decision("promoted", evidence=evidence, lineage=LINEAGE, live=live, run_id="run-1")
