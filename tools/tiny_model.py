"""A tiny base model for tests: random weights, whole words as tokens, a chat template.

Two layers of width 64 are enough for LoRA to learn which word stands for which label, and nothing more. Every
character of JSON is a token too, and tokens join without spaces, so that an engine can hold answers to a grammar.
"""

import json
import string
from pathlib import Path

LABELS = ("bad", "fine", "good")
CUES = {
    "bad": ("awful", "broken", "dreadful", "useless"),
    "fine": ("okay", "average", "plain", "usual"),
    "good": ("lovely", "great", "superb", "perfect"),
}
FILLER = (
    "the",
    "phone",
    "book",
    "film",
    "was",
    "is",
    "a",
    "and",
    "it",
    "very",
    "quite",
    "this",
    "for",
    "me",
    "in",
    "box",
    "cable",
    "story",
    "sound",
    "screen",
    "rate",
    "answer",
    "yes",
    "no",
    "I",
    "The",
)
CHARACTERS = string.digits + string.ascii_letters + string.punctuation + " \n"
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


def token_ids(folder: Path) -> dict[str, int]:
    """The vocabulary of a model's folder."""
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]


def no_blanks(folder: Path) -> dict[str, int]:
    """A `logit_bias` against spaces and newlines: JSON may hold any number, and an untrained model writes many."""
    ids = token_ids(folder)
    return {str(ids[blank]): -100 for blank in " \n"}


def make_base(folder: Path) -> Path:
    """Writes the model and its tokenizer; the same bytes every time."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<end>", "<system>", "<user>", "<assistant>", *LABELS, *FILLER]
    words += [cue for cues in CUES.values() for cue in cues]
    words += CHARACTERS
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>", pad_token="<end>", chat_template=TEMPLATE
    ).save_pretrained(str(folder))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=256,
        initializer_range=0.1,
        eos_token_id=1,
        bos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(str(folder))
    return folder
