"""Whether the labels of a holdout represent live traffic: a check of the offline gate."""

import math

from eval.gates.result import Check, Outcome
from eval.kpis.approval import Approval
from eval.kpis.audit import LEAST_LABELS, LEAST_PEOPLE, Audit
from eval.kpis.evidence import Evidence
from eval.kpis.label_selection import LabelSelection

# Right or wrong answers may be missing among the labels if fewer than this number is expected.
EXPECTED = 5
# In a small holdout chance alone moves the shares of right and wrong answers, so this share of its labels is enough.
LEAST_SHARE = 2 / 3


def check_selection(evidence: Evidence, least_items: int) -> list[Check]:
    """One check, or none for a model that does not answer with labels and for labels of imported answers.

    The weighted labels must count for `least_items`, as many as a holdout needs.
    """
    found = evidence.selection
    if found is None or not found.right + found.wrong:
        return []
    outcome, reason = _outcome(found, least_items)
    return [Check("labels", outcome, " ".join([reason, *_remarks(found)]), _share(found), kind="selection")]


def _outcome(found: LabelSelection, least_items: int) -> tuple[Outcome, str]:
    counted = f"{found.right + found.wrong} labels are of known answers, {found.right} of them of right ones"
    if not found.is_known:
        if not found.right and found.wrong >= least_items:
            return Outcome.INCONCLUSIVE, (
                f"All {found.wrong} labels are of answers that were wrong, so the champion cannot win. "
                "Ask for labels of right answers too, or send thumbs, which say how often answers are right."
            )
        return (
            Outcome.PASS,
            f"{counted}. Too few thumbs say how often live answers are right, so no label has a weight.",
        )
    low, high = found.live.interval
    live = _live(found)
    for missing, share, kind in ((not found.right, low, "right"), (not found.wrong, 1 - high, "wrong")):
        if missing and share * len(found.served) >= EXPECTED:
            return Outcome.INCONCLUSIVE, (
                f"No label is of an answer that was {kind}; {live}. Ask for labels of {kind} answers too."
            )
    least = min(least_items, math.ceil(LEAST_SHARE * len(found.served)))
    if found.effective < least:
        return Outcome.INCONCLUSIVE, (
            f"{counted}; {live}. Weighted to live traffic, the labels count for {found.effective:.0f}; "
            f"a judgement needs {least}. Ask for labels of answers at random."
        )
    return Outcome.PASS, f"{counted}; {live}. The labels have weights, so that they count as in live traffic."


def _live(found: LabelSelection) -> str:
    """How often live answers are right, and which source says so."""
    if found.audit.is_known:
        return f"live, {found.live.share:.0%} of answers are right ({_interval(found.live)}, {_source(found.audit)})"
    return f"live, {found.live.share:.0%} of thumbs are up ({_interval(found.live)}, {found.live.voters} voters)"


def _source(audit: Audit) -> str:
    parts = []
    if audit.answered and not audit.ignored:
        parts.append(f"{audit.answered} labels on {audit.marked} marked answers")
    if audit.drawn:
        parts.append(f"{audit.drawn} labels of reviewers on random answers")
    return " and ".join(parts)


def _remarks(found: LabelSelection) -> list[str]:
    """What the audit says of thumbs and of the app, in sentences."""
    audit, said = found.audit, []
    if audit.is_known and found.thumbs_are_known and found.thumbs.differs(found.live):
        said.append(
            f"Thumbs say {found.thumbs.share:.0%} ({_interval(found.thumbs)}), which chance does not explain: users "
            "give thumbs to right and wrong answers with different probabilities. So thumbs are not used here."
        )
    if audit.app_seems_silent:
        said.append(
            f"{audit.marked} answers were marked, and users label them hardly more often than others. "
            "The app must ask where the header x-loraloop-ask says so."
        )
    if audit.labels and not audit.is_known:
        said.append(
            f"{audit.labels} labels of random answers are too few: the audit needs {LEAST_LABELS}, on answers of "
            f"{LEAST_PEOPLE} users."
        )
    return said


def _interval(approval: Approval) -> str:
    low, high = approval.interval
    return f"{low:.0%} to {high:.0%}"


def _share(found: LabelSelection) -> float:
    return found.right / (found.right + found.wrong)
