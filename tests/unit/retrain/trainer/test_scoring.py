"""Facts about scores over prefix trees: the losses and gradients are those of rows alone, for each family."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from retrain.trainer import losses
from retrain.trainer.batches import Example
from retrain.trainer.lora_linear import speed_up
from retrain.trainer.objectives import Dpo, Kto, Objective, Scored, Sft, reference_sums
from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.scoring import score_padded, score_tree, token_logprobs
from retrain.trainer.tree_check import reason_against_trees
from tests.support.tiny_models import FAMILIES, NARROW, STATE_SPACE, make_model

SYSTEM = tuple(range(20, 32))
ROWS = [
    TokenSequence((*SYSTEM, 40, 41, 42), (7, 258)),
    TokenSequence((*SYSTEM, 40, 41, 42), (8, 258)),
    TokenSequence((*SYSTEM, 40, 50), (7, 9, 10, 258)),
    TokenSequence((60, 61, 62, 63), (7, 258)),
    TokenSequence((*SYSTEM, 40, 41, 42), (7, 258)),
]
PAIRS = [
    Example((ROWS[0], ROWS[1]), 0.5),
    Example((TokenSequence(ROWS[2].prompt, (3, 4, 258)), ROWS[2]), 1.0),
    Example((ROWS[3], TokenSequence(ROWS[3].prompt, (5, 6, 258))), 2.0),
]


def adapted(config: Any, seed: int = 1, fast: bool = True) -> Any:
    """A model with an adapter that changes its answers."""
    model = get_peft_model(
        make_model(config), LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    if fast:
        assert speed_up(model)
    return model.eval()


def gradients(model: Any) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    return found


def alone(model: Any, sequences: Any) -> Tensor:
    """Each sequence's score from a pass of its own, by the library's own arithmetic."""
    sums = []
    for sequence in sequences:
        logits = model(input_ids=torch.tensor([sequence.tokens])).logits[0].log_softmax(dim=-1)
        before = range(len(sequence.prompt) - 1, len(sequence.tokens) - 1)
        sums.append(logits[list(before), list(sequence.answer)].sum())
    return torch.stack(sums)


def sft(_: Scored) -> tuple[Objective, list[Example]]:
    return Sft(), [Example((row,), weight) for row, weight in zip(ROWS, (1.0, 0.5, 2.0, 1.0, 0.3), strict=True)]


def dpo(scored: Scored) -> tuple[Objective, list[Example]]:
    return Dpo(reference_sums(scored, PAIRS), beta=0.1, smoothing=0.1), PAIRS


def kto(scored: Scored) -> tuple[Objective, list[Example]]:
    examples = [
        Example(pair.sequences, pair.weight, liked) for pair, liked in zip(PAIRS, (True, False, True), strict=True)
    ]
    return Kto(reference_sums(scored, examples), beta=0.1), examples


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("objective", [sft, dpo, kto])
@pytest.mark.parametrize("score", [score_tree, score_padded])
def test_loss_and_gradient_equal_those_of_rows_alone(family: str, objective: Callable[..., Any], score: Any):
    model, plain = adapted(FAMILIES[family]), adapted(FAMILIES[family], fast=False)
    expected, found = [], []
    for one, scorer, into in ((plain, alone, expected), (model, score, found)):
        scored = Scored(one, scorer)
        how, examples = objective(scored)
        into += [how.backward(scored, examples, range(len(examples))), gradients(one)]
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    assert any(float(grad.abs().max()) > 1e-3 for grad in expected[1].values())
    for name, grad in expected[1].items():
        assert torch.allclose(found[1][name], grad, atol=1e-5), name


def test_a_step_in_several_passes_has_the_gradient_of_one_pass(monkeypatch: pytest.MonkeyPatch):
    model = adapted(FAMILIES["llama"])
    scored = Scored(model, score_tree)
    results = []
    for most in (1000, 1):
        monkeypatch.setattr("retrain.trainer.objectives.group_passes.__defaults__", (most,))
        how, examples = dpo(scored)
        results.append((how.backward(scored, examples, range(len(examples))), gradients(model)))
    (one_loss, one), (many_loss, many) = results
    assert one_loss == pytest.approx(many_loss, abs=1e-6)
    assert all(torch.allclose(one[name], many[name], atol=1e-5) for name in one)


def test_token_logprobs_are_those_of_a_softmax_and_so_is_their_gradient():
    torch.manual_seed(0)
    logits = torch.randn(600, 50, requires_grad=True)
    reads, targets = torch.randint(0, 600, (900,)), torch.randint(0, 50, (900,))
    weights = torch.randn(900)
    found = token_logprobs(logits, reads, targets)
    (ours,) = torch.autograd.grad((found * weights).sum(), logits)
    expected = logits.log_softmax(dim=-1)[reads, targets]
    (theirs,) = torch.autograd.grad((expected * weights).sum(), logits)
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_reference_is_the_model_without_its_adapter():
    model = adapted(FAMILIES["qwen2"])
    base = make_model(FAMILIES["qwen2"])
    found = reference_sums(Scored(model, score_tree), PAIRS)
    expected = alone(base, [sequence for pair in PAIRS for sequence in pair.sequences]).view(-1, 2)
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_trees_are_right_for_models_with_full_attention(family: str):
    assert reason_against_trees(adapted(FAMILIES[family]), ROWS) is None


def test_a_sliding_window_that_is_shorter_than_a_row_speaks_against_trees():
    reason = reason_against_trees(adapted(NARROW), ROWS)
    assert reason == "rows have up to 18 tokens; the model's sliding window has 8"


def test_a_state_space_model_speaks_against_trees():
    model = make_model(STATE_SPACE)
    assert reason_against_trees(model, ROWS) is not None
    found = score_padded(model, ROWS)
    assert torch.allclose(found, alone(model, ROWS), atol=1e-4)


def test_a_model_that_ignores_the_mask_speaks_against_trees():
    model = adapted(FAMILIES["llama"])
    plain = model.forward

    def forward(**given: Any) -> Any:
        mask = given.pop("attention_mask", None)
        return plain(**given, attention_mask=None if mask is None or mask.ndim == 4 else mask)

    model.forward = forward
    reason = reason_against_trees(model, ROWS)
    assert reason is not None and "differ" in reason


def test_dpo_without_smoothing_is_the_plain_loss():
    ratios = torch.tensor([[1.0, -2.0], [0.0, 0.5]])
    found = losses.dpo_terms(ratios, torch.ones(2), 2.0, beta=0.5, smoothing=0.0).sum()
    assert float(found) == pytest.approx(float(-torch.nn.functional.logsigmoid(torch.tensor([1.5, -0.25])).mean()))
