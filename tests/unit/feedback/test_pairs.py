"""Facts about pairs: which votes teach which answer is better, by the rules of rows, and what is left out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.db import quarantines
from core.db.quarantines import Predicate
from core.db.store import Store
from core.errors import IntegrityFailed
from core.records import Revocation
from core.settings import ModelSettings
from feedback.snapshot import Snapshot, load_snapshot, read_pairs
from feedback.snapshot_files import PAIRS
from tests.support.curation import user_in
from tests.support.pairs import NOW, answer, fill, prefer, settings, snap, vote

TRAIN, OTHER, THIRD = (user_in("train", n) for n in range(3))
H1, H2 = user_in("h1"), user_in("h2")
WITH_TOOLS = {
    "messages": [{"role": "user", "content": "How are you?"}],
    "tools": [{"type": "function", "function": {"name": "look"}}],
}


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    yield opened
    opened.close()


def left_out(found: Snapshot) -> dict[str, int]:
    return found.report.pairs["left_out"]


def learnt(found: Snapshot) -> list[tuple[str, str, str, str]]:
    return [(pair.signal, pair.chosen, pair.rejected, pair.bucket) for pair in found.pairs]


def test_a_preference_a_correction_a_thumb_and_a_rating_each_make_a_pair(store: Store, tmp_path: Path) -> None:
    fill(store, answer("a", "well"), answer("b", "what?"), answer("c", "hm"), answer("d", "yes", user=TRAIN))
    fill(store, prefer(1, "a", "b", TRAIN), vote(2, "c", "correction", " better ", TRAIN))
    fill(store, vote(3, "d", "thumbs", True, None), vote(4, "c", "thumbs", False, TRAIN))
    fill(store, vote(5, "a", "rating", 5, TRAIN), vote(6, "b", "rating", 2, TRAIN), vote(7, "c", "rating", 3, TRAIN))
    found = snap(store, tmp_path, settings(retrain={"rating_middle": 3}))
    assert learnt(found) == [
        ("preference", "well", "what?", "train"),
        ("correction", "better", "hm", "train"),
        ("thumbs", "yes", "", "train"),
        ("thumbs", "", "hm", "train"),
        ("rating", "well", "", "train"),
        ("rating", "", "what?", "train"),
    ]
    assert left_out(found) == {"a rating in the middle of the scale": 1}
    assert found.report.pairs["rows"] == {"train": 6} and found.report.pairs["users"] == {"train": 1}
    assert found.report.pairs["by_signal"]["thumbs"] == {"rows": 2, "users": 1}
    first = found.pairs[0]
    assert (first.interaction_id, first.other_id, first.feedback_id) == ("a", "b", "f1")
    assert (first.user, first.weight, first.compares) == (f"user:{TRAIN}", 1.0, True)


def test_ratings_without_a_middle_teach_nothing(store: Store, tmp_path: Path) -> None:
    fill(store, answer("a"), vote(1, "a", "rating", 5, TRAIN))
    assert left_out(snap(store, tmp_path)) == {"a rating, and retrain.rating_middle is not set": 1}


def test_a_model_that_classifies_has_no_pairs(store: Store, tmp_path: Path) -> None:
    fill(store, answer("a"), answer("b"), prefer(1, "a", "b", TRAIN))
    found = snap(store, tmp_path, ModelSettings(labels=["x", "y"]))
    assert found.pairs == () and found.report.pairs == {}


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"prompt": "How old are you?"}, "answers to different prompts"),
        ({"endpoint": "completion", "request": {"prompt": "How are you?"}}, "answers to different prompts"),
        ({"request": WITH_TOOLS}, "answers to different prompts"),
        ({"text": "answer a"}, "both answers are the same"),
        ({"text": "  "}, "an answer that is not kept, or not text alone"),
        ({"request": None}, "the prompt is not kept"),
        ({"finish_reason": "length"}, "an answer that failed or was cut off"),
        ({"finish_reason": "tool_calls"}, "an answer that failed or was cut off"),
        ({"status": 500}, "an answer that failed or was cut off"),
        ({"model": "other"}, "an answer that is not known"),
    ],
)
def test_answers_that_cannot_be_compared_are_left_out_by_reason(
    store: Store, tmp_path: Path, second: dict[str, Any], reason: str
) -> None:
    fill(store, answer("a"), answer("b", **second), prefer(1, "a", "b", TRAIN))
    found = snap(store, tmp_path)
    assert (learnt(found), left_out(found)) == ([], {reason: 1})


def test_what_is_flagged_revoked_in_quarantine_or_unknown_is_left_out(store: Store, tmp_path: Path) -> None:
    fill(store, *(answer(name) for name in "abcdefg"))
    fill(store, prefer(1, "a", "b", TRAIN), vote(2, "b", "flag", "unsafe", TRAIN))
    fill(store, prefer(3, "c", "d", TRAIN), Revocation("f3", NOW))
    fill(store, prefer(4, "e", "f", OTHER), prefer(5, "a", "nobody", TRAIN))
    with store.transaction() as transaction:
        quarantines.add(transaction, id="q", model="m", version=1, decision_id="d", time=NOW)
        quarantines.add_predicates(transaction, id="q", predicates=[Predicate(user=OTHER)])
    found = snap(store, tmp_path)
    assert left_out(found) == {
        "the answer is flagged unsafe or private": 1,
        "an answer that is not known": 1,
        "in quarantine": 1,
    }
    assert learnt(found) == []


def test_voter_and_askers_are_in_one_bucket(store: Store, tmp_path: Path) -> None:
    fill(store, answer("a", user=TRAIN), answer("b", user=TRAIN), answer("c", user=OTHER), answer("d"), answer("e"))
    fill(store, prefer(1, "a", "b", H1), prefer(2, "a", "c", TRAIN), prefer(3, "d", "e", H1))
    found = snap(store, tmp_path)
    assert learnt(found) == [("preference", "answer d", "answer e", "h1")]
    assert left_out(found) == {
        "answers that different users asked for": 1,
        "voter and asker are in different buckets": 1,
    }


def test_a_pair_that_judges_is_not_learnt_whatever_its_order_and_spelling(store: Store, tmp_path: Path) -> None:
    fill(
        store, answer("a", "Yes."), answer("b", "No."), answer("c", "yes. "), answer("d", "no."), answer("e", "Maybe.")
    )
    fill(
        store, prefer(1, "a", "b", H1), prefer(2, "d", "c", TRAIN), prefer(3, "a", "b", H2), prefer(4, "a", "e", TRAIN)
    )
    found = snap(store, tmp_path)
    assert [(pair.feedback_id, pair.bucket) for pair in found.pairs] == [("f1", "h1"), ("f4", "train")]
    assert left_out(found) == {
        "same text as one in another bucket to judge by": 1,
        "same text as one kept to judge by": 1,
    }


def test_a_cut_answer_may_judge_but_its_end_is_not_learnt(store: Store, tmp_path: Path) -> None:
    fill(store, answer("a", finish_reason="length"), answer("b", finish_reason="length"), answer("c"))
    fill(store, prefer(1, "a", "b", H1), prefer(2, "a", "c", TRAIN), vote(3, "b", "thumbs", True, H1))
    found = snap(store, tmp_path)
    assert learnt(found) == [("preference", "answer a", "answer b", "h1")]
    assert left_out(found) == {"an answer that failed or was cut off": 2}


def test_a_voters_last_word_on_a_pair_counts_in_either_order(store: Store, tmp_path: Path) -> None:
    fill(store, answer("a"), answer("b"), prefer(1, "a", "b", TRAIN), prefer(2, "b", "a", TRAIN))
    fill(store, vote(3, "a", "correction", "one", TRAIN), vote(4, "a", "correction", "answer a", OTHER))
    found = snap(store, tmp_path)
    assert [(pair.chosen, pair.rejected) for pair in found.pairs] == [("answer b", "answer a"), ("one", "answer a")]
    assert left_out(found) == {"both answers are the same": 1, "replaced by the voter's later preference": 1}


def test_limits_hold_for_voters_and_for_equal_pairs(store: Store, tmp_path: Path) -> None:
    fill(store, *(answer(f"a{n}") for n in range(5)))
    fill(store, *(prefer(n, "a0", f"a{n}", TRAIN) for n in range(1, 5)))
    fill(store, *(prefer(10 + n, "a0", "a4", user_in("train", n)) for n in range(1, 4)))
    found = snap(store, tmp_path, settings(trust={"rows_per_voter": 3, "rows_per_duplicate_cluster": 2}))
    assert left_out(found) == {"over trust.rows_per_duplicate_cluster": 2, "over trust.rows_per_voter": 1}
    assert [pair.feedback_id for pair in found.pairs] == ["f2", "f3", "f12", "f13"]


def test_a_voter_who_disagrees_with_others_weighs_less_and_is_left_out_at_last(store: Store, tmp_path: Path) -> None:
    fill(store, *(answer(f"{side}{n}") for n in range(8) for side in "ab"))
    for n in range(8):
        fill(store, *(prefer(10 * n + k, f"a{n}", f"b{n}", user_in("train", k)) for k in (1, 2)))
        wrong = (f"b{n}", f"a{n}") if n else (f"a{n}", f"b{n}")
        fill(store, prefer(10 * n + 3, *wrong, user_in("train", 3)))
    found = snap(store, tmp_path)
    weights = {pair.user: pair.weight for pair in found.pairs}
    assert set(weights) == {f"user:{user_in('train', k)}" for k in (1, 2)}
    assert all(weight > 0.9 for weight in weights.values()), weights
    assert left_out(found) == {"the voter disagrees with others": 8}


def test_a_correction_needs_as_many_voters_as_rows_do(store: Store, tmp_path: Path) -> None:
    fill(store, answer("a"), answer("b"), vote(1, "a", "correction", "Right", TRAIN))
    fill(store, vote(2, "a", "correction", "right", OTHER), vote(3, "b", "correction", "alone", THIRD))
    found = snap(store, tmp_path, settings(trust={"correction_voters": 2}))
    assert [pair.chosen for pair in found.pairs] == ["Right", "right"]
    assert left_out(found) == {"a correction of fewer voters than trust.correction_voters": 1}


def test_personal_data_is_replaced_in_prompt_and_both_answers(store: Store, tmp_path: Path) -> None:
    ask = "Write to zoe@example.com"
    fill(store, answer("a", "I wrote to zoe@example.com", prompt=ask), answer("b", "no@example.com?", prompt=ask))
    fill(store, prefer(1, "a", "b", TRAIN))
    found = snap(store, tmp_path)
    assert b"example.com" not in (found.path / PAIRS).read_bytes()
    assert [(pair.chosen, pair.rejected) for pair in found.pairs] == [("I wrote to [EMAIL]", "[EMAIL]?")]
    assert found.report.pairs["scrubbed"] == {"email": 3} and found.report.scrubbed == {}


def test_a_choice_is_judged_by_its_own_text(store: Store, tmp_path: Path) -> None:
    choices = [{"message": {"content": text}, "finish_reason": "stop"} for text in ("first", "second")]
    fill(store, answer("a", "first", choices=choices), answer("b"))
    fill(store, vote(1, "a", "thumbs", True, TRAIN, choice=1), vote(2, "a", "thumbs", True, OTHER))
    fill(store, prefer(3, "a", "b", TRAIN))
    found = snap(store, tmp_path)
    assert learnt(found) == [("thumbs", "second", "", "train")]
    assert left_out(found) == {"does not name which of several choices it is about": 2}


def test_equal_votes_have_an_equal_hash_and_a_pair_changes_it(store: Store, tmp_path: Path) -> None:
    fill(store, *(answer(f"{side}{n}", user=TRAIN) for n in range(3) for side in "ab"))
    fill(store, vote(1, "a0", "correction", "better", TRAIN))
    rows_alone = snap(store, tmp_path / "x", settings(trust={"correction_voters": 9}))
    assert rows_alone.pairs == () and not (rows_alone.path / PAIRS).exists()
    first = snap(store, tmp_path)
    again = snap(store, tmp_path / "elsewhere", run="r2")
    fill(store, prefer(2, "a1", "b1", TRAIN))
    more = snap(store, tmp_path, run="r3")
    assert first.hash == again.hash != more.hash
    assert load_snapshot(store, more.hash).pairs == more.pairs == tuple(read_pairs(more.path))
    (more.path / PAIRS).unlink()
    with pytest.raises(IntegrityFailed, match="do not have its hash"):
        load_snapshot(store, more.hash)
