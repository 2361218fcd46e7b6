"""Whether a slice of the held-out items fell: a check of the offline gate."""

from core.settings import SliceSettings
from eval.gates.result import Check, Outcome
from eval.kpis.evidence import Slice, SliceEvidence
from eval.kpis.slices import LABEL_F1, LEAST_VOTERS

# Slices that a reason names, and words of each.
MOST_NAMED = 3


def check_slices(found: SliceEvidence | None, settings: SliceSettings | None) -> list[Check]:
    """One check, or none if slices were not compared.

    It fails if a slice is worse by more than the margin beyond chance. A loss that is possible but not shown passes:
    small slices cannot rule out a loss of the margin. A difference that is not a number is inconclusive.
    """
    if settings is None or found is None:
        return []
    if not found.slices:
        reason = f"No slice has {found.least} items from {LEAST_VOTERS} voters, so none is judged."
        return [_check(Outcome.PASS, reason, settings)]
    unknown = [one for one in found.slices if not one.is_measured]
    measured = [one for one in found.slices if one.is_measured]
    fallen = [one for one in measured if -one.difference.upper > settings.margin]
    shown = sorted(fallen or measured, key=lambda one: one.difference.upper)
    worst = shown[0] if shown else None
    if fallen:
        return [_check(Outcome.FAIL, _fallen(shown, found, settings), settings, worst)]
    if unknown:
        reason = f"The difference in {_named(unknown)} is not a number, so it is not known whether a slice fell."
        return [_check(Outcome.INCONCLUSIVE, reason, settings)]
    assert worst is not None
    lowest = min(measured, key=lambda one: one.difference.value)
    reason = (
        f"None of {len(measured)} slices is worse by more than {settings.margin:.3f} beyond chance. "
        f"The lowest difference is {_sized(lowest)}: {lowest.difference.value:+.3f} in {_kpi(lowest)}, between "
        f"{lowest.difference.lower:+.3f} and {lowest.difference.upper:+.3f}."
    )
    return [_check(Outcome.PASS, reason, settings, worst)]


def _check(outcome: Outcome, reason: str, settings: SliceSettings, worst: Slice | None = None) -> Check:
    """The harm of a slice as measured and at best, against the margin."""
    value = bound = None
    if worst is not None:
        value, bound = -worst.difference.value, -worst.difference.upper
    return Check("slices", outcome, reason, value, bound, settings.margin, "slices", worst.kpi if worst else None)


def _fallen(fallen: list[Slice], found: SliceEvidence, settings: SliceSettings) -> str:
    more = len(fallen) - MOST_NAMED
    sentences = [
        f"In the slice {_sized(one)}, {_kpi(one)} is {-one.difference.value:.3f} lower than the champion's: a loss of "
        f"at least {-one.difference.upper:.3f}, {settings.margin:.3f} is accepted.{_words(one)}"
        for one in fallen[:MOST_NAMED]
    ]
    if more > 0:
        sentences.append(f"{more} other {'slice' if more == 1 else 'slices'} fell too.")
    sentences.append(f"The upper bounds hold for all {len(found.slices)} slices together.")
    return " ".join(sentences)


def _sized(one: Slice) -> str:
    return f"{one.name} ({one.n} items from {one.voters} voters)"


def _named(slices: list[Slice]) -> str:
    names = ", ".join(one.name for one in slices[:MOST_NAMED])
    return f"{names} and {len(slices) - MOST_NAMED} other slices" if len(slices) > MOST_NAMED else names


def _kpi(one: Slice) -> str:
    return "the F1 of its labels" if one.kpi == LABEL_F1 else one.kpi


def _words(one: Slice) -> str:
    if not one.words:
        return ""
    counted = ", ".join(
        f"{word.word} ({word.lost} of {word.of_lost} voters, in other items {word.rest} of {word.of_rest})"
        for word in one.words[:MOST_NAMED]
    )
    return f" Words of its lost items: {counted}."
