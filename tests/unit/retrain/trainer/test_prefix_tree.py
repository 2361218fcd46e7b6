"""Facts about prefix trees."""

from hypothesis import given
from hypothesis import strategies as st

from retrain.trainer.prefix_tree import TokenSequence, build_tree, visible_nodes

tokens = st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple)
sequences = st.lists(st.builds(TokenSequence, tokens, tokens), min_size=1, max_size=6)


def test_tokens_that_follow_the_same_tokens_are_one_node():
    tree = build_tree([TokenSequence((1, 2), (3, 9)), TokenSequence((1, 2), (4, 9)), TokenSequence((1, 5), (3, 9))])
    assert tree.tokens.tolist() == [1, 2, 3, 4, 5, 3]
    assert tree.depths.tolist() == [0, 1, 2, 2, 1, 2]
    assert tree.parents.tolist() == [-1, 0, 1, 1, 0, 4]
    assert tree.sources.tolist() == [1, 2, 3, 4, 5]
    assert [tree.tokens[tree.sources[read]] for read in tree.reads] == [2, 3, 2, 4, 5, 3]
    assert tree.targets.tolist() == [3, 9, 4, 9, 3, 9]
    assert tree.owners.tolist() == [0, 0, 1, 1, 2, 2]


@given(sequences)
def test_a_node_attends_to_the_tokens_before_it_in_its_sequence(given_sequences: list[TokenSequence]):
    tree = build_tree(given_sequences)
    visible = visible_nodes(tree.parents)
    expected = [
        (sequence.tokens[: len(sequence.prompt) + n])
        for sequence in given_sequences
        for n in range(len(sequence.answer))
    ]
    for read, before in zip(tree.reads, expected, strict=True):
        seen = visible[tree.sources[read]].nonzero()[0]
        order = sorted(seen, key=lambda node: tree.depths[node])
        assert tuple(tree.tokens[node] for node in order) == before
        assert [tree.depths[node] for node in order] == list(range(len(before)))


@given(sequences)
def test_no_two_nodes_follow_the_same_tokens(given_sequences: list[TokenSequence]):
    tree = build_tree(given_sequences)
    nodes = list(zip(tree.parents.tolist(), tree.tokens.tolist(), strict=True))
    assert len(set(nodes)) == len(nodes)
    assert (tree.parents < range(len(nodes))).all()
