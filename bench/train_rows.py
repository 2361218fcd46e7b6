"""Rows for the training benchmark: the demo's reviews, and votes between two arguments, as token ids.

It must not know how they are trained on.
"""

import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.prompts import Chat
from demo.dataset_split import INSTRUCTION
from demo.ratings import Rated
from retrain.trainer.batches import Example, order_examples
from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.rendering import Left, Renderer

SEED = 7
# Tokens of an argument that are kept; most have fewer.
ANSWER_TOKENS = 110
POLICY = (
    "Products that arrived broken are rated by what the writer says of the product, and not of the parcel. "
    "Irony counts as what the writer means. A text that only describes is neutral. "
    "Praise of a competitor is negative if it compares the product with it. "
)


def long_instruction(tokenizer: Any, tokens: int) -> str:
    """Return an app's instruction with about this number of tokens."""
    text = INSTRUCTION
    while len(tokenizer(text)["input_ids"]) < tokens:
        text += " " + POLICY
    return text


def review_examples(tokenizer: Any, texts: list[Rated], instruction: str, count: int) -> list[Example]:
    """Return reviews as chats, each with the label of one of its real raters."""
    rng, renderer = random.Random(SEED), Renderer(tokenizer, 1024)
    chosen = rng.sample(texts, min(count, len(texts)))
    found = []
    for text in chosen:
        rendered = renderer.render(Chat((("system", instruction), ("user", text.text))), text.rater(SEED))
        assert not isinstance(rendered, Left), rendered
        found.append(Example((TokenSequence(*rendered),)))
    return order_examples(found, SEED)


def vote_examples(tokenizer: Any, folder: Path, count: int) -> list[Example]:
    """Return single voters' decided votes as pairs: the debate and the side are the prompt."""
    arguments = {row["id"]: row for row in pq.read_table(folder / "convarg_arguments.parquet").to_pylist()}
    votes = pq.read_table(folder / "convarg_votes.parquet", columns=["arg1", "arg2", "value"]).to_pylist()
    random.Random(SEED).shuffle(votes)
    renderer, found = Renderer(tokenizer, 1024), []
    for vote in votes:
        sides = [arguments.get(vote[name].removeprefix("arg")) for name in ("arg1", "arg2")]
        if vote["value"] == "equal" or not all(sides):
            continue
        if vote["value"] == "a2":
            sides.reverse()
        question = Chat((("user", f"{sides[0]['debate']} Argue for: {sides[0]['stance']}"),))
        rendered = [renderer.render(question, side["text"]) for side in sides]
        if any(isinstance(one, Left) for one in rendered):
            continue
        found.append(Example(tuple(TokenSequence(one[0], one[1][:ANSWER_TOKENS]) for one in rendered)))
        if len(found) == count:
            break
    return order_examples(found, SEED)
