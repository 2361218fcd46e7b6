"""Facts about the error of an audit: how often its 95% interval has the true share of right answers, by simulation."""

import numpy as np
import pytest

from eval.kpis.approval import NORMAL_95
from eval.kpis.audit import LabelledAnswers, audit_of

LIVE = 0.7
# Shares of right and of wrong answers that get a label without the question.
VOLUNTEERS = 0.02, 0.1


def coverage(pairs: list[tuple[LabelledAnswers, LabelledAnswers]], live: float = LIVE) -> float:
    """The share of audits whose interval has the true share."""
    found = [audit_of(asked, others, LabelledAnswers()).approval for asked, others in pairs]
    return float(np.mean([abs(one.share - live) <= NORMAL_95 * one.error for one in found]))


def single_answers(answers: int, response: float, rng: np.random.Generator) -> LabelledAnswers:
    right = rng.binomial(answers, LIVE)
    said = [
        int(rng.binomial(n, volunteers + (1 - volunteers) * response))
        for n, volunteers in zip((right, answers - right), VOLUNTEERS, strict=True)
    ]
    return LabelledAnswers.of_single(answers, sum(said), said[0])


@pytest.mark.parametrize("response", [0.3, 0.5])
@pytest.mark.parametrize("audit_share", [0.05, 0.5])
def test_intervals_of_answers_of_one_user_each_have_the_true_share(audit_share: float, response: float):
    rng, others = np.random.default_rng(1), round(700 * (1 - audit_share) / audit_share)
    pairs = [(single_answers(700, response, rng), single_answers(others, 0.0, rng)) for _ in range(3000)]
    assert 0.94 <= coverage(pairs) <= 0.96


def of_users(shown: np.ndarray, votes: np.ndarray, up: np.ndarray) -> LabelledAnswers:
    """From the answers, labels and right labels of each user, all (users,)."""
    sums = {"shown": shown, "votes": votes, "up": up}
    products = {f"{one}_{other}": (one, other) for one in sums for other in sums}
    found = {name: float(sums[one] @ sums[other]) for name, (one, other) in products.items()}
    fields = LabelledAnswers.__dataclass_fields__
    counts = int(shown.sum()), int(votes.sum()), int((votes > 0).sum())
    return LabelledAnswers(
        *counts,
        **{name: float(values.sum()) for name, values in sums.items()},
        **{name: value for name, value in found.items() if name in fields},
    )


@pytest.mark.parametrize("audit_share", [0.1, 0.5])
def test_intervals_of_users_with_ten_answers_each_have_the_true_share(audit_share: float):
    """Users differ in how often their answers are right, how often they volunteer, and whether they ever answer."""
    rng, runs = np.random.default_rng(2), []
    people = round(140 / audit_share)
    for _ in range(600):
        live, volunteers = rng.beta(3.5, 1.5, people), rng.beta(0.2, 1.8, people) / 2
        responds = rng.random(people) < 0.5
        pair = []
        for share, response in ((audit_share, responds * 0.8), (1 - audit_share, 0.0)):
            shown = rng.binomial(10, share, people)
            right = rng.binomial(shown, live)
            given = [
                rng.binomial(n, often + (1 - often) * response)
                for n, often in ((right, volunteers / 4), (shown - right, volunteers))
            ]
            pair.append(of_users(shown.astype(float), (given[0] + given[1]).astype(float), given[0].astype(float)))
        runs.append((pair[0], pair[1]))
    assert 0.94 <= coverage(runs) <= 0.97
