"""Compare a candidate with a simple classifier, TF-IDF with logistic regression, which learned from the same rows."""

from eval.evaluation import Result

KPI = "accuracy"


def warning_if_behind(result: Result) -> str | None:
    """Why an adapter may not be worth its cost: the simple classifier is as accurate. None if it is above."""
    candidate, simple = result.evidence.arms.get("candidate", {}).get(KPI), result.tfidf.get(KPI)
    # A value that is no number is no measurement, and compares as false.
    if candidate is None or simple is None or not candidate.value <= simple.value:
        return None
    return (
        f"TF-IDF with logistic regression has an accuracy of {simple.value:.3f} on the same holdout, and the candidate "
        f"{candidate.value:.3f}. A simple classifier may do, or the candidate needs more labels or more steps "
        "(retrain.min_steps)."
    )
