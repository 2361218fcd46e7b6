"""Facts about the demo's data and plan, on the real ratings."""

from collections import Counter

import pytest

from demo import dataset_split, ratings, report
from demo.dataset_split import DemoSplit
from demo.ratings import Rated
from demo.runner import COMPANION, MAIN, QUICK, QUICK_SMALL, SMALL, SMALL_LABEL_SHARE
from demo.simulated_users import mixed
from eval.gates.offline import LEAST_ITEMS, LEAST_USERS
from feedback.split import HOLDOUTS, bucket_of, split_key


@pytest.fixture(scope="module")
def texts() -> list[Rated]:
    return ratings.load("reviews", print)


@pytest.fixture(scope="module")
def part(texts: list[Rated]) -> DemoSplit:
    return dataset_split.make("reviews", texts, label_share=0.5, **MAIN)


def test_the_ratings_are_all_there(texts: list[Rated]):
    assert len(texts) == 3708
    assert Counter(len(text.ratings) for text in texts) == {20: 3708}
    assert texts[0].mean == pytest.approx(sum(texts[0].ratings) / 20)


def test_no_document_is_both_learnt_from_and_tested_on(part: DemoSplit):
    learnt = {act.text.document for act in part.learn}
    kept = {act.text.document for act in (*part.live, *part.after)} | {text.document for text in part.test}
    assert not learnt & kept
    assert len(part.test) >= 500


def test_train_dev_and_holdout_share_no_document(part: DemoSplit):
    documents: dict[str, set[str]] = {}
    for act in part.learn:
        bucket = bucket_of(split_key(act.user), train=0.62, dev=0.06)
        documents.setdefault(bucket, set()).add(act.text.document)
    for bucket, own in documents.items():
        others = set().union(*(docs for name, docs in documents.items() if name != bucket))
        assert not own & others


@pytest.mark.parametrize("sizes", [MAIN, QUICK])
@pytest.mark.parametrize("name", ratings.FILES)
def test_a_holdout_has_as_many_users_and_labels_as_a_judgement_needs(name: str, sizes: dict[str, int]):
    part = dataset_split.make(name, ratings.load(name, print), label_share=0.5, **sizes)
    assert judged(part, canary=True)


@pytest.mark.parametrize("sizes", [SMALL, QUICK_SMALL])
def test_so_has_the_companions(sizes: dict[str, int]):
    part = dataset_split.make(COMPANION, ratings.load(COMPANION, print), label_share=SMALL_LABEL_SHARE, **sizes)
    assert judged(part, canary=False)


def judged(part: DemoSplit, *, canary: bool) -> bool:
    """Whether a holdout could judge, with a few votes to spare."""
    models = frozenset({part.model} if canary else ())
    split = dataset_split.configuration([part], canaries=models, ports=(1, 2, 3))["models"][part.model]["split"]
    users: dict[str, list[str]] = {}
    for act in part.learn:
        if act.labels:
            users.setdefault(bucket_of(split_key(act.user), **split), []).append(act.user)
    return any(len(set(users[bucket])) >= LEAST_USERS and len(users[bucket]) >= LEAST_ITEMS + 2 for bucket in HOLDOUTS)


def test_a_vote_is_one_raters_sign_and_never_the_mean(texts: list[Rated]):
    for text in texts[:200]:
        assert text.rater(1) in {ratings.sign(rating) for rating in text.ratings}
    differing = sum(text.rater(1) != text.truth for text in texts)
    assert 0.1 < differing / len(texts) < 0.25


def test_the_plan_is_the_same_every_time(texts: list[Rated], part: DemoSplit):
    assert dataset_split.make("reviews", texts, label_share=0.5, **MAIN) == part


def test_the_trigger_waits_for_just_the_labels_of_the_first_wave(part: DemoSplit):
    settings = dataset_split.configuration([part], canaries=frozenset({"reviews"}), ports=(1, 2, 3))
    wanted = settings["models"]["reviews"]["retrain"]["min_new_feedback"]
    assert wanted == sum(act.labels for act in part.learn)


def test_live_users_take_turns(part: DemoSplit):
    assert len({act.user for act in part.live[:80]}) == 80


def test_both_endpoints_are_used(part: DemoSplit):
    assert {act.plain for act in part.learn} == {True, False}


def test_streams_are_mixed_evenly(part: DemoSplit):
    woven = mixed(part.live[:100], part.after[:50])
    assert 30 <= sum(act in part.after[:50] for act in woven[:75]) * 2 <= 70


def test_a_candidate_without_a_gain_misses_its_targets():
    arm = {"weighted_f1": 0.6}
    found = report.targets(
        {
            "arms": dict.fromkeys(("base", "rag", "champion", "candidate"), arm),
            "vader": arm,
            "tfidf_logreg": arm,
            "failed_requests": 1,
            "total_seconds": 1500.0,
            "test_items": 400,
            "in_flight_at_switch": 0,
        }
    )
    assert not any(target["met"] for target in found)
