"""The official OpenAI client with the running gateway: the request that tests vary, and what answers must look like."""

from typing import Any, Literal

import openai
from pydantic import BaseModel

MODEL = "plain"
MESSAGES: list[Any] = [{"role": "user", "content": "the phone was great"}]
GREEDY: dict[str, Any] = {"model": MODEL, "temperature": 0, "extra_body": {"ignore_eos": True}}


class Verdict(BaseModel):
    """The class that structured answers are parsed into."""

    label: Literal["bad", "fine", "good"]
    sure: bool


SCHEMA = Verdict.model_json_schema() | {"additionalProperties": False}
TOOL: Any = {
    "type": "function",
    "function": {"name": "rate", "description": "Rates a text.", "parameters": SCHEMA, "strict": True},
}


def chat(client: openai.OpenAI, **options: Any) -> Any:
    """One chat completion, greedy unless the options say otherwise."""
    return client.chat.completions.create(**{"messages": MESSAGES, **GREEDY, **options})


def complete(client: openai.OpenAI, prompt: Any, **options: Any) -> Any:
    """One text completion, greedy unless the options say otherwise."""
    return client.completions.create(prompt=prompt, **GREEDY | options)
