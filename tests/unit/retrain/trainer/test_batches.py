"""Facts about the plan of a training's steps."""

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.trainer.batches import Example, group_passes, learning_rate, order_examples, plan_steps
from retrain.trainer.prefix_tree import TokenSequence, build_tree

tokens = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple)
examples = st.lists(
    st.lists(st.builds(TokenSequence, tokens, tokens), min_size=1, max_size=2).map(lambda two: Example(tuple(two))),
    min_size=1,
    max_size=12,
)


def test_every_pass_over_the_rows_has_each_row_once_in_another_order():
    steps = plan_steps(10, epochs=2, batch_size=4, seed=1)
    assert [len(step) for step in steps] == [4, 4, 2, 4, 4, 2]
    first, second = list(chain(*steps[:3])), list(chain(*steps[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert steps == plan_steps(10, epochs=2, batch_size=4, seed=1) != plan_steps(10, epochs=2, batch_size=4, seed=2)


def test_a_part_of_a_pass_has_its_share_of_the_steps():
    assert len(plan_steps(80, epochs=1.5, batch_size=8, seed=0)) == 15


def test_few_rows_get_more_passes_up_to_a_limit():
    assert len(plan_steps(549, epochs=1, batch_size=8, seed=0, least=150)) == 150
    assert len(plan_steps(2000, epochs=1, batch_size=8, seed=0, least=150)) == 250
    few = plan_steps(20, epochs=1, batch_size=8, seed=0, least=150)
    assert len(few) == 30
    assert Counter(chain(*few)) == dict.fromkeys(range(20), 10)


def test_the_order_of_examples_does_not_depend_on_the_order_of_the_rows():
    rows = [Example((TokenSequence((n,), (1,)),), weight=n) for n in range(20)]
    assert order_examples(rows, 3) == order_examples(rows[::-1], 3) != order_examples(rows, 4)


@given(examples, st.integers(4, 40))
def test_passes_have_every_example_once_and_no_tree_is_too_large(given_examples: list[Example], most: int):
    passes = group_passes(given_examples, range(len(given_examples)), most)
    assert Counter(n for some in passes for n in some) == Counter(range(len(given_examples)))
    for some in passes:
        tree = build_tree([sequence for n in some for sequence in given_examples[n].sequences])
        assert len(some) == 1 or len(tree.tokens) <= most


def test_the_learning_rate_rises_and_falls_in_a_line():
    rates = [learning_rate(step, 15, peak=1.0, warmup=5) for step in range(15)]
    assert rates[:6] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[-1] == pytest.approx(0.1)
