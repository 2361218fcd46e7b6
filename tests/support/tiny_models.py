"""Tiny random models of several families, and a tokenizer with a chat template, for tests of the trainer."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 257,
    "eos_token_id": 258,
    "pad_token_id": 258,
}
FAMILIES: dict[str, Any] = {
    "llama": LlamaConfig(**SIZES),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=8),
    "gemma": GemmaConfig(**SIZES, head_dim=8),
    "gemma3": Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=64),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
}
NARROW = MistralConfig(**SIZES, sliding_window=8)
STATE_SPACE = MambaConfig(vocab_size=320, hidden_size=32, state_size=8, num_hidden_layers=2)

CHATML = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
WITH_BOS = "{{ bos_token }}" + CHATML
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)


def make_model(config: Any, seed: int = 0) -> Any:
    """A random model in float32 whose weights are large enough that its logits differ."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    return model


def make_tokenizer(template: str = CHATML, *, adds_bos: bool = False) -> Any:
    """A tokenizer of bytes whose pad token is its end of text; with `adds_bos`, texts begin with BOS."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={char: n for n, char in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(["<unk>", "<s>", "</s>", "<|start|>", "<|end|>"])
    if adds_bos:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", inner.token_to_id("<s>"))]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    made.chat_template = template
    return made


def save_base(folder: Path, config: Any = FAMILIES["llama"], template: str = CHATML, *, adds_bos: bool = False) -> Path:
    """A folder with a random model and a tokenizer, as a base model has."""
    make_model(config).save_pretrained(folder)
    make_tokenizer(template, adds_bos=adds_bos).save_pretrained(folder)
    return folder
