"""What engines of other models are for, with the routes and the fields of their requests.

A test compares the fields with those of the installed vLLM. See request_fields.py for those that no client may set.
"""

from dataclasses import dataclass

COMMON = frozenset(
    (
        "model",
        "user",
        "chat_template_kwargs",
        "padding",
        "truncate_prompt_tokens",
        "truncation_side",
        "use_activation",
    )
)


@dataclass(frozen=True, slots=True)
class Purpose:
    """One purpose: its name in the settings and in metrics, its paths, and the fields that engines get."""

    name: str
    paths: tuple[str, ...]
    fields: frozenset[str]

    @property
    def setting(self) -> str:
        """The setting that has its engines."""
        return f"gateway.{self.name}"


EMBEDDINGS = Purpose(
    "embeddings",
    ("/v1/embeddings",),
    COMMON
    | {
        "input",
        "dimensions",
        "encoding_format",
        "embed_dtype",
        "endianness",
        "add_special_tokens",
        "messages",
        "add_generation_prompt",
        "continue_final_message",
    },
)
RERANK = Purpose(
    "rerank",
    ("/v1/rerank", "/v2/rerank", "/rerank"),
    COMMON | {"query", "documents", "top_n", "instruction", "max_tokens_per_query", "max_tokens_per_doc"},
)
PURPOSES = (EMBEDDINGS, RERANK)
