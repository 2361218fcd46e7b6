"""Losses as functions of log-probabilities of answers: SFT, DPO, KTO, and the divergence from the base model.

Each returns terms that add up to the loss of a step, so that a step can be computed in parts.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def sft_terms(sums: Tensor, weights: Tensor, total: float) -> Tensor:
    """Return (n,): the weighted negative log-likelihood of each answer, per answer token of the step.

    `sums` are Σ log p over an answer's tokens. `total` is Σ weight · tokens over all answers of the step.
    """
    return -(weights * sums) / total


def dpo_terms(ratios: Tensor, weights: Tensor, total: float, *, beta: float, smoothing: float) -> Tensor:
    """Return (n,) from the log-ratios to the reference (n, 2) of chosen and rejected answers.

    −log σ(β·margin) of Rafailov et al., "Direct Preference Optimization", 2023. With `smoothing` ε > 0 it is the
    estimate of that loss under labels that are wrong at the rate ε: Chowdhury et al., "Provably Robust DPO", 2024.
    `total` is Σ weight over the step.
    """
    margin = beta * (ratios[:, 0] - ratios[:, 1])
    losses = -(1 - smoothing) * logsigmoid(margin) + smoothing * logsigmoid(-margin)
    return weights * losses / (1 - 2 * smoothing) / total


def kto_terms(ratios: Tensor, desirable: Tensor, kl: Tensor, weights: Tensor, total: float, *, beta: float) -> Tensor:
    """Return (n,) from the log-ratios to the reference (n,) of answers that users liked or not.

    Equation 7 of Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization", 2024. `kl` is the step's
    estimate of the divergence from the reference, at least 0; no gradient passes through it.
    """
    signs = torch.where(desirable, 1.0, -1.0)
    return weights * (1 - torch.sigmoid(signs * beta * (ratios - kl))) / total


def divergences(base: Tensor, adapted: Tensor) -> Tensor:
    """Return KL(base ‖ adapted) (m,), in nats, of the next token's distributions, from logits (m, vocabulary).

    Σ_v p(v) · (log p(v) − log q(v)), with p of the base model. It is at least 0, and 0 only where both are the same.
    """
    log_p, log_q = base.float().log_softmax(dim=-1), adapted.float().log_softmax(dim=-1)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)
