"""Facts about the self-test: what it asks, what it calls a change, and what it forgives.

Engines are plain functions here.
"""

from serve.cpu_lora.selftest import PROMPTS, ROUNDS, compare

ADAPTERS = ("french", "polite")


def healthy(questions):
    return [f"{model} says {prompt}" for model, prompt in questions]


def corrupted(questions):
    """As stock vLLM does: base rows next to an adapter answer as the adapter."""
    adapters = [model for model, _ in questions if model != "base"]
    return [f"{adapters[-1] if adapters else model} says {prompt}" for model, prompt in questions]


def test_a_healthy_engine_passes():
    result = compare(healthy, "base", ADAPTERS, PROMPTS)
    assert result.ok and result.prompts == len(PROMPTS)
    assert result.reason == "all 8 base answers with 2 adapters in the batch are unchanged"


def test_base_answers_in_an_adapters_words_fail_and_both_texts_are_named():
    result = compare(corrupted, "base", ADAPTERS, ["Hello", "Bye"])
    assert not result.ok
    assert "2 of 2 base answers change" in result.reason
    assert "'base says Hello'" in result.reason and "'polite says Hello'" in result.reason


def test_the_reference_has_the_shape_of_the_mixed_batch_and_the_same_prompts():
    batches = []

    def record(questions):
        batches.append(questions)
        return healthy(questions)

    compare(record, "base", ADAPTERS, ["a", "b", "c"])
    mixed, plain = batches
    assert [prompt for _, prompt in mixed] == [prompt for _, prompt in plain]
    assert [model for model, _ in mixed][1::2] == ["french", "polite", "french"]
    assert {model for model, _ in plain} == {"base"}


def test_a_near_tie_that_flips_between_batches_is_forgiven():
    calls = []

    def wavering(questions):
        calls.append(questions)
        return [f"answer {len(calls) % 2}" for _ in questions]

    assert compare(wavering, "base", ADAPTERS, ["a"]).ok
    assert len(calls) <= 1 + ROUNDS
