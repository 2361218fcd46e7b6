"""Review: what becomes of quarantined votes, with its row in the ledger.

It owns that the two happen together; which votes are held, and what leaves them out, is the quarantine's.
"""

from typing import Any

from core.records import Verdict
from eval.promotion import Promotion, Why
from feedback import quarantine

VERDICTS: dict[quarantine.Outcome, Verdict] = {"released": Verdict.RELEASED, "rejected": Verdict.DISCARDED}
WORDS: dict[quarantine.Outcome, str] = {
    "released": "may be learnt from again",
    "rejected": "are left out for good",
}


def decide(promotion: Promotion, identity: str, outcome: quarantine.Outcome, *, actor: str,
           comment: str) -> dict[str, Any]:  # fmt: skip
    """Releases or rejects a quarantine. Raises UnknownDecision, or NotReady when somebody did before."""
    held = quarantine.find(promotion.store, identity)
    model, version = held["model"], held["version"]
    reason = f"Votes that {model}@{version} was the first to learn from {WORDS[outcome]}, says {actor}."
    why = Why(reason, "review", actor, comment, live={"quarantine": identity})
    promotion.note(
        model, version, VERDICTS[outcome], why,
        lambda transaction: quarantine.decide(transaction, identity, outcome, actor=actor, comment=comment,
                                              time=promotion.clock()),
    )  # fmt: skip
    return quarantine.find(promotion.store, identity)
