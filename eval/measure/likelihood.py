"""Likelihood: how likely arms find answers that are given to them, and how far a candidate is from the base model.

It owns what is asked of the engine for it and the estimators; it must not know votes, or what a gate makes of it.
"""

from collections.abc import Sequence

import numpy as np

from core.prompts import Prompt, answer_text
from eval.arms import Arm
from eval.engine_queries import Progress, Query, QueryRunner, Reply
from eval.kpis import classification
from eval.kpis.classification import Floats, Ints
from eval.kpis.evidence import Measure, SuiteEvidence

KL = "kl_to_base"
# Prompts that the candidate answers for it: some thousand tokens, each a draw.
KL_ITEMS = 200
NOT_ALL = "some answers have no likelihood"


def likelihoods(
    asker: QueryRunner,
    base_name: str,
    arms: Sequence[Arm],
    answered: Sequence[tuple[Prompt, str]],
    progress: Progress = lambda done, total: None,
) -> dict[str, Floats]:
    """log p(answer | prompt) divided by the answer's tokens, (n,) by arm; NaN for one without a token, or refused.

    An answer's end is no token of it: what users saw says nothing of where the model would have gone on.
    """
    asked = []
    for prompt, answer in answered:
        for arm in arms:
            rewritten = arm.rewrite(prompt)
            said = asker.tokens(base_name, answer_text(rewritten, answer))
            asked.append(Query(arm.engine_name, rewritten, said=said))
    answers = iter(asker.ask([question for question in asked if question.said], progress))
    found = np.array([_mean(next(answers).scores) if question.said else np.nan for question in asked])
    return {arm.name: found[place :: len(arms)] for place, arm in enumerate(arms)}


def _mean(scores: Sequence[float]) -> float:
    return float(np.mean(scores)) if scores else float("nan")


def drift(
    asker: QueryRunner,
    base_name: str,
    candidate: Arm,
    prompts: Sequence[Prompt],
    *,
    max_tokens: int,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> tuple[Floats, Ints]:
    """Σ log p_candidate − log p_base over an answer that the candidate draws, (n,), and its tokens, (n,).

    Both read the same tokens after the same prompt, the end of the answer with them. A prompt that the engine refuses
    has no tokens.
    """
    rewritten = [candidate.rewrite(prompt) for prompt in prompts]
    drawn = asker.ask(
        [Query(candidate.engine_name, prompt, max_tokens=max_tokens, seed=seed) for prompt in rewritten], progress
    )
    asked = [
        Query(name, prompt, said=answer.ids)
        for prompt, answer in zip(rewritten, drawn, strict=True)
        for name in (candidate.engine_name, base_name)
        if answer.ids
    ]
    scored = iter(asker.ask(asked, progress))
    ratios = [_ratio(next(scored), next(scored)) if answer.ids else np.zeros(0) for answer in drawn]
    return np.array([ratio.sum() for ratio in ratios]), np.array([len(ratio) for ratio in ratios], dtype=np.int64)


def _ratio(ours: Reply, theirs: Reply) -> Floats:
    if ours.refused or theirs.refused:
        return np.zeros(0)
    return np.array(ours.scores) - np.array(theirs.scores)


def kl_to_base(sums: Floats, tokens: Ints, users: Ints, *, resamples: int, seed: int) -> SuiteEvidence:
    """KL(candidate ‖ base) in nats a token, with its interval over users (n,); no number where none can be given.

    The Monte-Carlo estimate Σ(log p_candidate − log p_base) / Σ tokens over answers drawn from the candidate, called
    k1 in Schulman, "Approximating KL Divergence", 2020 (joschu.net/blog/kl-approx.html). A token's term is unbiased,
    being drawn from the candidate at temperature 1; the ratio of the two sums has a bias that falls as 1/n. Answers
    are cut at `max_tokens`: it is the divergence of what comes before. A greedy answer would show the most likely
    tokens alone. The k3 of the same source varies less where the models are close, but where they are not its mean
    hangs on rare tokens, and what is found without them is too small: the wrong side for an upper limit.
    """
    if not tokens.any():
        return SuiteEvidence(KL, 0, {}, missing="the candidate answers with nothing")
    if not np.isfinite(sums).all():
        return SuiteEvidence(KL, len(sums), {}, missing=NOT_ALL)
    drawn = int(users.max()) + 1
    samples = classification.bootstrap(
        {KL: lambda weights: (weights @ sums) / (weights @ tokens)}, users, resamples, seed
    )
    found = Measure(float(sums.sum() / tokens.sum()), *classification.interval(samples[KL], drawn))
    return SuiteEvidence(KL, len(sums), {"candidate": found}, users=drawn)
