"""The names in an answer: the interaction's id and the public name of its version, instead of the engine's own.

An engine answers with its own name of an adapter, or with the base model's name. A proxy between gateway and engine may
replace the request's id, and with it the answer's. Texts that a retrieval put into the prompt are removed.
"""

from typing import Any

import orjson

from serve.gateway.request_fields import PROMPT_PARTS

PROMPT_PART = b'"prompt_'
# How a name's key may be written, by name.
KEYS = {name: tuple(f'"{name}":{blank}'.encode() for blank in ("", " ")) for name in ("id", "model")}


class AnswerNames:
    """Rewrites the data of one answer, whole or in the events of a stream."""

    def __init__(self, *, identity: str, model: str, hides_prompt: bool) -> None:
        self._right = {"id": identity, "model": model}
        self._hides_prompt = hides_prompt
        # What is replaced by what in every event, once the first event has shown what the engine writes.
        self._swaps: list[tuple[bytes, bytes]] | None = None

    def rewrite(self, data: bytes) -> bytes:
        """JSON of an answer with the right names. Anything but an object stays as it is."""
        if self._hides_prompt and PROMPT_PART in data:
            data = _without_prompt(data)
        swaps = self._learn(data) if self._swaps is None else self._swaps
        for wrong, right in swaps:
            data = data.replace(wrong, right, 1)
        return data

    def beginning(self, data: bytes, rewritten: bytes) -> tuple[bytes, bytes] | None:
        """(what an event begins with, its right beginning), up to the last name in it. The rest stays as it is.

        None while no event had both names, and where parts of events are taken out.
        """
        if self._swaps is None or self._hides_prompt:
            return None
        end = max((data.find(wrong) + len(wrong) for wrong, _ in self._swaps), default=1)
        return data[:end], rewritten[: len(rewritten) - len(data) + end]

    def rewrite_answer(self, content: bytes) -> tuple[bytes, dict[str, Any]]:
        """A whole answer with the right names, as bytes and parsed. Raises ValueError or TypeError."""
        if self._hides_prompt and PROMPT_PART in content:
            content = _without_prompt(content)
        found = orjson.loads(content)
        if not isinstance(found, dict):
            raise TypeError("The answer is not a JSON object.")
        for name, right in self._right.items():
            wrong = found.get(name)
            if isinstance(wrong, str) and wrong != right:
                content = _with_name(content, name, wrong, right)
                found[name] = right
        return content, found

    def rename(self, found: dict[str, Any]) -> None:
        """Puts the right names into a parsed event, and takes out what shows the prompt."""
        if self._hides_prompt:
            _take_prompt_out(found)
        self._put(found)

    def _put(self, found: dict[str, Any]) -> None:
        for name, right in self._right.items():
            if isinstance(found.get(name), str):
                found[name] = right

    def _learn(self, data: bytes) -> list[tuple[bytes, bytes]]:
        found = parsed_object(data)
        swaps = self._find_swaps(found, data)
        if self._right.keys() <= found.keys():
            self._swaps = swaps
        return swaps

    def _find_swaps(self, found: dict[str, Any], data: bytes) -> list[tuple[bytes, bytes]]:
        swaps = []
        for name, right in self._right.items():
            wrong = found.get(name)
            if not isinstance(wrong, str) or wrong == right:
                continue
            there, here = orjson.dumps(wrong), orjson.dumps(right)
            swaps += [(before, key + here) for key in KEYS[name] if (before := key + there) in data]
        return swaps


def _with_name(content: bytes, name: str, wrong: str, right: str) -> bytes:
    there, here = orjson.dumps(wrong), orjson.dumps(right)
    for key in KEYS[name]:
        if key + there in content:
            return content.replace(key + there, key + here, 1)
    return content


def parsed_object(data: bytes) -> dict[str, Any]:
    """The JSON object in some bytes, an empty one if there is none."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _without_prompt(data: bytes) -> bytes:
    found = parsed_object(data)
    if not found:
        return data
    _take_prompt_out(found)
    return orjson.dumps(found)


def _take_prompt_out(found: dict[str, Any]) -> None:
    choices = found.get("choices")
    for part in (found, *(choices if isinstance(choices, list) else ())):
        if isinstance(part, dict):
            for name in PROMPT_PARTS:
                part.pop(name, None)
