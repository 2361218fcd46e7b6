"""Likelihood: how likely arms find given answers, and how far a candidate is from the base model."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from core.prompts import Prompt, answer_text
from eval.arm_definitions import Arm
from eval.engine_queries import EngineContext, Reply, Sample, ScoreAnswer
from eval.kpis.arrays import Floats, Ints
from eval.kpis.bootstrap import BootstrapPlan, interval, resample
from eval.kpis.evidence import Measure, SuiteEvidence

KL = "kl_to_base"
# Prompts that the candidate answers for KL. Each of the several thousand answer tokens is one sample.
KL_ITEMS = 200
# The name of the base model that an arm's likelihoods are compared with.
REFERENCE = "reference"
NOT_ALL = "some answers have no likelihood"


def likelihoods(
    engine: EngineContext, arms: Sequence[Arm], answered: Sequence[tuple[Prompt, str]]
) -> dict[str, Floats]:
    """log p(answer | prompt) divided by the answer's tokens, (n,) by arm. NaN if refused or without tokens.

    The end of an answer does not count: a user's judgement of the text does not concern it.
    """
    sums, tokens = answer_scores(engine, arms, answered)
    with np.errstate(invalid="ignore"):
        return {arm: sums[arm] / tokens[arm] for arm in sums}


def implicit_rewards(
    engine: EngineContext, arms: Sequence[Arm], answered: Sequence[tuple[Prompt, str]]
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Σ log p_arm − log p_base of each answer, (n,) by arm, and log p_arm divided by its tokens, (n,) by arm.

    The first is the reward that DPO trains, without its factor β: Rafailov et al., "Direct Preference Optimization",
    2023, section 4. The base model has the app's own prompt, as in training. NaN as in `likelihoods`.
    """
    base = Arm(REFERENCE, engine.base_name)
    sums, tokens = answer_scores(engine, [*arms, base], answered)
    with np.errstate(invalid="ignore"):
        rewards = {arm.name: sums[arm.name] - sums[REFERENCE] for arm in arms}
        return rewards, {arm.name: sums[arm.name] / tokens[arm.name] for arm in arms}


def answer_scores(
    engine: EngineContext, arms: Sequence[Arm], answered: Sequence[tuple[Prompt, str]]
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Σ log p(answer | prompt) and the answer's tokens, each (n,) by arm. NaN if refused or without tokens."""
    queries = []
    for prompt, answer in answered:
        for arm in arms:
            rewritten = arm.rewrite(prompt)
            queries.append(ScoreAnswer(arm.engine_name, rewritten, engine.tokens(answer_text(rewritten, answer))))
    replies = iter(engine.run([query for query in queries if query.answer]))
    scores = [next(replies).scores if query.answer else () for query in queries]
    sums = np.array([float(np.sum(found)) if found else np.nan for found in scores])
    counts = np.array([float(len(found)) if found else np.nan for found in scores])
    by_arm = {arm.name: slice(index, None, len(arms)) for index, arm in enumerate(arms)}
    return {arm: sums[part] for arm, part in by_arm.items()}, {arm: counts[part] for arm, part in by_arm.items()}


def drift(
    engine: EngineContext, candidate: Arm, prompts: Sequence[Prompt], *, max_tokens: int, seed: int
) -> tuple[Floats, Ints]:
    """Σ log p_candidate − log p_base over an answer that the candidate samples, (n,), and its tokens, (n,).

    Both models score the same tokens after the same prompt, the end of the answer included. A prompt that the engine
    refuses has 0 tokens.
    """
    rewritten = [candidate.rewrite(prompt) for prompt in prompts]
    # A prompt that several users sent gets another draw for each, so that they are not one draw counted several times.
    seen: Counter[Prompt] = Counter()
    draws = []
    for prompt in rewritten:
        draws.append(Sample(candidate.engine_name, prompt, max_tokens, seed + seen[prompt]))
        seen[prompt] += 1
    samples = engine.run(draws)
    scored = iter(
        engine.run(
            [
                ScoreAnswer(name, prompt, sample.ids)
                for prompt, sample in zip(rewritten, samples, strict=True)
                for name in (candidate.engine_name, engine.base_name)
                if sample.ids
            ]
        )
    )
    ratios = [_log_ratios(next(scored), next(scored)) if sample.ids else np.zeros(0) for sample in samples]
    return np.array([ratio.sum() for ratio in ratios]), np.array([len(ratio) for ratio in ratios], dtype=np.int64)


def _log_ratios(ours: Reply, theirs: Reply) -> Floats:
    if ours.refused or theirs.refused:
        return np.zeros(0)
    return np.array(ours.scores) - np.array(theirs.scores)


def kl_to_base(sums: Floats, tokens: Ints, users: Ints, plan: BootstrapPlan) -> SuiteEvidence:
    """KL(candidate ‖ base) in nats per token, with its interval over users (n,). Missing if it cannot be computed.

    The Monte-Carlo estimate Σ(log p_candidate − log p_base) / Σ tokens over answers sampled from the candidate, called
    k1 in Schulman, "Approximating KL Divergence", 2020 (joschu.net/blog/kl-approx.html). A token's term is unbiased,
    because it is sampled from the candidate at temperature 1. The ratio of the two sums has a bias that falls as 1/n.
    Answers are cut at `max_tokens`, so this is the divergence of the tokens before the cut. A greedy answer would
    show the most likely tokens only. The k3 of the same source varies less if the models are close. Otherwise its mean
    depends on rare tokens. An estimate without them is too small, which is the wrong side for an upper limit.
    """
    if not tokens.any():
        return SuiteEvidence(KL, 0, {}, missing="the candidate's answers are empty")
    if not np.isfinite(sums).all():
        return SuiteEvidence(KL, len(sums), {}, missing=NOT_ALL)
    units = int(users.max()) + 1
    samples = resample({KL: lambda weights: (weights @ sums) / (weights @ tokens)}, users, plan)
    measure = Measure(float(sums.sum() / tokens.sum()), *interval(samples[KL], units))
    return SuiteEvidence(KL, len(sums), {"candidate": measure}, users=units)
