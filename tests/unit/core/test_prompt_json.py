"""Facts about prompts as JSON: the bytes are those of `json.dumps`, because hashes of snapshots depend on them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from core.prompts import Chat, Prompt, Text, from_json, to_json

# Half characters too: they are in snapshots of old releases.
TEXTS = st.text(st.characters())
PROMPTS = TEXTS.map(Text) | st.lists(st.tuples(TEXTS, TEXTS)).map(lambda turns: Chat(tuple(turns)))


@given(PROMPTS)
def test_a_prompt_has_the_bytes_of_json_dumps_and_is_read_again(prompt: Prompt) -> None:
    plain = prompt.text if isinstance(prompt, Text) else prompt.as_openai()
    assert to_json(prompt) == json.dumps(plain, ensure_ascii=False)
    assert from_json(to_json(prompt)) == prompt
    assert from_json(json.dumps(plain)) == prompt
