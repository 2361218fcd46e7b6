"""What a named value of another tool means: which type of feedback it is, and with which value."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from core.errors import InputError
from core.names import label_key
from core.settings.services import Meaning
from feedback.schema import FLAGS

# Names that mean a type of feedback wherever they are used.
RESERVED: dict[str, Meaning] = {
    "comment": "comment",
    "label": "label",
    "correction": "correction",
    "demonstration": "correction",
    "thumbs": "thumbs",
    "rating": "rating",
}
YES_OR_NO = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True, slots=True)
class Metrics:
    """The meanings that the settings give to names, and the labels of all models.

    A right answer is a label if one of the models has it, and a correction otherwise. The gateway cannot know the
    model of an interaction that it has not looked up.
    """

    meanings: Mapping[str, Meaning]
    labels: frozenset[str]

    @classmethod
    def of(cls, meanings: Mapping[str, Meaning], labels: Iterable[str]) -> "Metrics":
        """Metrics with the labels as the settings write them."""
        return cls(meanings, frozenset(label_key(label) for label in labels))

    def signal(self, name: str, value: Any) -> dict[str, Any]:
        """`type` and `value` of feedback. Raises InputError that says what the name takes.

        The settings decide first, then the names that are reserved here, then the value: a boolean is thumbs, a number
        is a rating, and a text is a comment.
        """
        if name in FLAGS and name not in self.meanings and _is_yes_or_no(value):
            harmed = YES_OR_NO[_plain(value)]
            return {"type": "flag", "value": name} if harmed else {"type": "comment", "value": f"{name}: false"}
        meaning = self.meanings.get(name) or RESERVED.get(name) or _by_value(value)
        match meaning:
            case "thumbs" | "thumbs_inverted":
                if not _is_yes_or_no(value):
                    _refuse(name, "takes true or false")
                return {"type": "thumbs", "value": YES_OR_NO[_plain(value)] is (meaning == "thumbs")}
            case "rating":
                if isinstance(value, bool) or not isinstance(value, int | float):
                    _refuse(name, "takes a number")
                return {"type": "rating", "value": value}
            case "label" | "correction":
                text = text_of(value)
                if text is None:
                    _refuse(name, "takes a text")
                is_label = meaning == "label" or label_key(text) in self.labels
                return {"type": "label" if is_label else "correction", "value": text}
            case "comment":
                return {"type": "comment", "value": value if isinstance(value, str) else f"{name}: {json.dumps(value)}"}


def text_of(value: Any) -> str | None:
    """An answer as text: a text, a message, parts of text, or the raw text of a JSON answer. None if it is none."""
    match value:
        case str():
            return value
        case {"raw": str(text)} | {"text": str(text)} | {"type": "text", "value": str(text)}:
            return text
        case {"content": content} if not isinstance(content, dict):
            return text_of(content)
        case {"choices": [{"message": message}, *_]}:
            return text_of(message)
        case [_, *_]:
            texts = [text_of(part) for part in value]
            return None if None in texts else "\n".join(text for text in texts if text is not None)
    return None


def _by_value(value: Any) -> Meaning:
    if isinstance(value, bool):
        return "thumbs"
    return "rating" if isinstance(value, int | float) else "comment"


def _plain(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _is_yes_or_no(value: Any) -> bool:
    return isinstance(value, str | int | float) and _plain(value) in YES_OR_NO


def _refuse(name: str, takes: str) -> NoReturn:
    raise InputError(f"value: {name} {takes}.", field="value")
