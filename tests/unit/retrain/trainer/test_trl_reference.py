"""Facts about losses: on the same batch they are those of TRL's own trainers, gradients included."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from retrain.trainer.batches import Example
from retrain.trainer.objectives import Dpo, Kto, Objective, Scored, Sft, reference_sums
from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.scoring import score_tree
from tests.support.tiny_models import FAMILIES, make_model, make_tokenizer

PROMPTS = [(20, 21, 22, 23), (20, 21, 22, 24), (30, 31)]
LIKED = [(7, 9, 258), (8, 258), (10, 11, 12, 258)]
OTHER = [(8, 258), (7, 7, 258), (13, 258)]
PAIRS = [
    Example((TokenSequence(prompt, liked), TokenSequence(prompt, other)))
    for prompt, liked, other in zip(PROMPTS, LIKED, OTHER, strict=True)
]


LORA = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")


def common(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 3,
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "max_length": None,
    }


def adapted(trainer: Any) -> Any:
    """The trainer's model, with an adapter that changes its answers."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    return trainer.model.eval()


def compare(model: Any, trainer: Any, batch: Any, objective: Objective, examples: list[Example]) -> None:
    expected = trainer.compute_loss(trainer.model, batch)
    expected.backward()
    theirs = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    found = objective.backward(Scored(model, score_tree), examples, range(len(examples)))
    assert found == pytest.approx(expected.item(), abs=1e-5)
    assert any(float(grad.abs().max()) > 1e-3 for grad in theirs.values())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad, theirs[name], atol=1e-5), name


def test_sft(tmp_path: Path):
    rows = [
        {"input_ids": [*prompt, *liked], "completion_mask": [0] * len(prompt) + [1] * len(liked)}
        for prompt, liked in zip(PROMPTS, LIKED, strict=True)
    ]
    trainer = SFTTrainer(
        model=make_model(FAMILIES["llama"]),
        peft_config=LORA,
        args=SFTConfig(**common(tmp_path), completion_only_loss=True),
        train_dataset=Dataset.from_list(rows),
        processing_class=make_tokenizer(),
    )
    prepared: Any = trainer.train_dataset
    batch = trainer.data_collator([dict(row) for row in prepared])
    examples = [Example((TokenSequence(prompt, liked),)) for prompt, liked in zip(PROMPTS, LIKED, strict=True)]
    compare(adapted(trainer), trainer, batch, Sft(), examples)


@pytest.mark.parametrize(("loss", "smoothing"), [("sigmoid", 0.0), ("robust", 0.1)])
def test_dpo(tmp_path: Path, loss: str, smoothing: float):
    trainer = DPOTrainer(
        model=make_model(FAMILIES["llama"]),
        peft_config=LORA,
        args=DPOConfig(**common(tmp_path), loss_type=[loss], label_smoothing=smoothing, beta=0.3),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}] * 3),
        processing_class=make_tokenizer(),
    )
    batch = trainer.data_collator(
        [
            {"prompt_ids": list(prompt), "chosen_ids": list(liked), "rejected_ids": list(other)}
            for prompt, liked, other in zip(PROMPTS, LIKED, OTHER, strict=True)
        ]
    )
    model = adapted(trainer)
    reference = reference_sums(Scored(model, score_tree), PAIRS)
    compare(model, trainer, batch, Dpo(reference, beta=0.3, smoothing=smoothing), PAIRS)


def test_kto(tmp_path: Path):
    kto = pytest.importorskip("trl.trainer.kto_trainer")
    liked = [True, False, True]
    trainer = kto.KTOTrainer(
        model=make_model(FAMILIES["llama"]),
        peft_config=LORA,
        args=kto.KTOConfig(**common(tmp_path), beta=0.3),
        train_dataset=Dataset.from_list([{"prompt": "a", "completion": "b", "label": one} for one in liked]),
        processing_class=make_tokenizer(),
    )
    batch = trainer.data_collator(
        [
            {
                "prompt_ids": list(prompt),
                "completion_ids": list(answer),
                "KL_completion_ids": list(other),
                "label": one,
            }
            for prompt, answer, other, one in zip(PROMPTS, LIKED, OTHER, liked, strict=True)
        ]
    )
    examples = [Example(pair.sequences, 1.0, one) for pair, one in zip(PAIRS, liked, strict=True)]
    model = adapted(trainer)
    reference = reference_sums(Scored(model, score_tree), examples)
    compare(model, trainer, batch, Kto(reference, beta=0.3), examples)
