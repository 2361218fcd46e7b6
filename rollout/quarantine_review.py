"""Review: which votes a person puts in quarantine and what becomes of them, with its row in the ledger.

It owns that the two happen together; which votes are held, and what leaves them out, is the quarantine's.
"""

from typing import Any

from core.records import Verdict
from feedback import quarantine
from rollout.routes import DecisionContext, RouteManager

VERDICTS: dict[quarantine.Outcome, Verdict] = {"released": Verdict.RELEASED, "rejected": Verdict.DISCARDED}
WORDS: dict[quarantine.Outcome, str] = {
    "released": "may be learnt from again",
    "rejected": "are left out for good",
}


def hold_key(promotion: RouteManager, model: str, key_id: str, *, actor: str, comment: str) -> dict[str, Any]:
    """Holds every vote that a key gave on a model's answers. Raises UnknownModel, or NotReady when there is none."""
    held: list[str] = []
    why = DecisionContext(
        f"What the key {key_id} gave is held for review, says {actor}.", "review", actor, comment, live={"key": key_id}
    )
    promotion.note(
        model,
        None,
        Verdict.QUARANTINED,
        why,
        lambda transaction: held.append(quarantine.hold_key(transaction, model, key_id)),
    )
    return quarantine.find(promotion.store, held[0])


def decide(
    promotion: RouteManager, identity: str, outcome: quarantine.Outcome, *, actor: str, comment: str
) -> dict[str, Any]:
    """Releases or rejects a quarantine. Raises UnknownDecision, or NotReady when somebody did before."""
    held = quarantine.find(promotion.store, identity)
    identity, model, version = held["id"], held["model"], held["version"]
    whose = f"the key {held['key']} gave" if held["key"] else f"{model}@{version} was the first to learn from"
    reason = f"Votes that {whose} {WORDS[outcome]}, says {actor}."
    why = DecisionContext(reason, "review", actor, comment, live={"quarantine": identity})
    promotion.note(
        model,
        version,
        VERDICTS[outcome],
        why,
        lambda transaction: quarantine.decide(
            transaction, identity, outcome, actor=actor, comment=comment, time=promotion.clock()
        ),
    )
    return quarantine.find(promotion.store, identity)
