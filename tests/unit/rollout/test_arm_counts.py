"""Facts about the queries that count a canary's users, against the same counts in numpy."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from core.db import live_tests, quarantines
from core.db.quarantines import Predicate
from core.db.store import Store
from core.record_codec import Record
from core.records import Feedback
from core.settings import CanarySettings
from eval.gates.canary import look
from eval.gates.live_arms import ArmCounts, Plan
from eval.gates.result import Outcome
from feedback import ingest
from rollout.live_monitor import count_arms
from tests.support import ingest as records_of

START = datetime(2026, 3, 1, tzinfo=UTC)
CANARY = {"model": "reviews", "control": 1, "candidate": 2, "started": START}
Requests = list[tuple[int, str, int | None]]  # version, user, vote


@pytest.fixture
def store() -> Store:
    return Store(":memory:")


def fill(store: Store, requests: Requests, **more: Any) -> None:
    shape = {
        "model": "reviews",
        "share": 0.5,
        "request": None,
        "answer": None,
        "time": START + timedelta(minutes=1),
    }
    records: list[Record] = []
    for place, (version, user, vote) in enumerate(requests):
        identity = f"i{place}-{user}"
        records.append(records_of.asked(identity, **(shape | {"version": version, "user": user} | more)))
        if vote is not None:
            voted = START + timedelta(minutes=2)
            records.append(Feedback(f"f{place}-{user}", voted, identity, None, "thumbs", vote > 0, user=user))
    ingest.add(store, records)


def drawn(seed: int = 0) -> Requests:
    rng = np.random.default_rng(seed)
    votes = [(None, None, None, 1, -1)[place] for place in rng.integers(0, 5, 400)]
    return [(1 + user % 2, f"u{user}", votes[user * 8 + turn]) for user in range(50) for turn in range(8)]


def by_hand(requests: Requests) -> tuple[ArmCounts, ...]:
    users: dict[tuple[int, str], list[int | None]] = {}
    for version, user, vote in requests:
        users.setdefault((version, user), []).append(vote)
    shares = [sum(v is not None for v in votes) / len(votes) for votes in users.values()]
    cap = min(1.0, 2 * float(np.median([share for share in shares if share > 0])))
    arms = []
    for arm in (1, 2):
        mine = [votes for (version, _), votes in users.items() if version == arm]
        rate = np.array([sum(v is not None for v in votes) / len(votes) for votes in mine])
        score = np.array([sum(v or 0 for v in votes) / len(votes) for votes in mine])
        weight = np.minimum(1, cap / np.maximum(rate, 1e-9))
        rate, score = rate * weight, score * weight
        covariance = np.cov(score, rate)
        arms.append(
            ArmCounts(
                len(mine),
                sum(map(len, mine)),
                score.mean(),
                covariance[0, 0] ** 0.5,
                rate.mean(),
                covariance[1, 1] ** 0.5,
                0,
                covariance[0, 1],
                cap,
            )
        )
    return tuple(arms)


@pytest.mark.parametrize("seed", range(3))
def test_the_query_counts_as_numpy_does(store: Store, seed: int):
    requests = drawn(seed)
    fill(store, requests)
    for found, expected in zip(count_arms(store, CANARY, harm_voters=3), by_hand(requests), strict=True):
        for name in ArmCounts.__slots__:
            assert getattr(found, name) == pytest.approx(getattr(expected, name)), name


def test_a_user_who_votes_on_everything_weighs_no_more_than_the_cap(store: Store):
    quiet: Requests = [(1, f"u{user}", 1 if turn == 0 else None) for user in range(9) for turn in range(10)]
    fill(store, quiet + [(1, "brigade", -1)] * 10)
    control, _ = count_arms(store, CANARY, harm_voters=3)
    assert control.vote_cap == pytest.approx(0.2)
    assert control.score_mean == pytest.approx((9 * 0.1 - 0.2) / 10)


def test_old_requests_other_models_and_requests_without_a_user_do_not_count(store: Store):
    fill(store, [(1, "old", 1)], time=START - timedelta(minutes=1))
    fill(store, [(1, "other", 1)], model="other")
    fill(store, [(1, "nobody", 1)], bucket=None)
    fill(store, [(1, "one", None)])
    control, canary = count_arms(store, CANARY, harm_voters=3)
    assert (control.users, canary.users) == (1, 0)
    assert (control.rate_mean, control.vote_cap) == (0, 1)


@pytest.mark.parametrize(
    ("said", "strays"),
    [
        ({"answer": "Positive"}, False),
        ({"answer": " \u00a0\nvery positive\t"}, False),
        ({"answer": "positive."}, True),
        ({"answer": ""}, True),
        ({"answer": "The text is positive"}, True),
        ({"answer": "VERY po", "finish_reason": "length"}, False),
        ({"answer": "positive", "finish_reason": "length"}, False),
        ({"answer": "The text", "finish_reason": "length"}, True),
        ({"answer": "positively so", "finish_reason": "length"}, True),
        # What says nothing of format: kept no text, failed, broke off, or called a tool.
        ({"answer": None}, False),
        ({"answer": "sorry", "status": 502}, False),
        ({"answer": "The te", "finish_reason": None}, False),
        ({"answer": "sunny", "finish_reason": "tool_calls"}, False),
    ],
)
def test_an_answer_that_is_none_of_the_labels_is_counted_by_user(store: Store, said: dict[str, Any], strays: bool):
    fill(store, [(1, "ann", None)] * 3 + [(2, "bob", None), (2, "cy", None)], answer="positive")
    fill(store, [(2, "dan", None), (2, "dan", None)], **{"conversation": None} | said)
    control, canary = count_arms(store, CANARY, [" Positive", "very positive"], harm_voters=3)
    assert (control.strayed, canary.strayed) == (0, int(strays))
    assert canary.harmed == (said.get("status") == 502)
    assert count_arms(store, CANARY, harm_voters=3)[1].strayed == 0  # a model without labels has no format to keep


def test_a_history_of_traffic_is_counted_by_user(store: Store):
    fill(store, drawn())
    row = live_tests.traffic_history(store, model="reviews", before=START + timedelta(days=2))
    assert row is not None
    assert (row["users"], row["requests"]) == (50, 400)
    assert row["days"] == pytest.approx(2, abs=0.01)
    assert 0.3 < row["rate_mean"] < 0.5
    assert row["score_sd"] > 0 and row["covariance"] is not None
    nothing = live_tests.traffic_history(store, model="nobody", before=START)
    assert nothing is not None and nothing["users"] == 0


# Flags as harm.


def flag(store: Store, voter: str | None, *interactions: str, key: str | None = "shop", value: str = "unsafe") -> None:
    flagged = START + timedelta(minutes=3)
    ingest.add(
        store,
        [
            Feedback(f"{key}:{voter}:{about}:{value}", flagged, about, None, "flag", value, user=voter, key_id=key)
            for about in interactions
        ],
    )


def harmed(store: Store) -> int:
    return count_arms(store, CANARY, harm_voters=3)[1].harmed


def verdict(store: Store) -> tuple[Outcome, str]:
    control, canary = count_arms(store, CANARY, harm_voters=3)
    found = look(control, canary, Plan(0.1), CanarySettings(), minutes=1)
    return found.judgement.outcome, next(check.reason for check in found.judgement.checks if check.kind == "harm")


@pytest.fixture
def asked(store: Store) -> Store:
    """270 users of the champion and 30 of the canary, each with one answer: `i270-c0` is the canary's first."""
    control: Requests = [(1, f"u{user}", None) for user in range(270)]
    fill(store, control + [(2, f"c{user}", None) for user in range(30)])
    return store


def test_three_flags_of_one_voter_harm_nobody_and_decide_nothing(asked: Store):
    flag(asked, "one-troll", "i270-c0", "i271-c1", "i272-c2")
    assert verdict(asked) == (Outcome.WAIT, "0 of 30 canary users and 0 of 270 champion users were harmed.")


def test_flags_of_five_askers_roll_back(asked: Store):
    for user in range(4):
        flag(asked, f"c{user}", f"i{270 + user}-c{user}")
    assert verdict(asked) == (
        Outcome.WAIT,
        "4 of 30 canary users and 0 of 270 champion users were harmed. A rollback needs 5 such users.",
    )
    flag(asked, "c4", "i274-c4", value="hallucination")
    assert verdict(asked) == (Outcome.FAIL, "5 of 30 canary users and 0 of 270 champion users were harmed.")


def test_a_flag_without_a_user_is_the_askers(asked: Store):
    flag(asked, None, "i270-c0", "i271-c1")
    assert harmed(asked) == 2


def test_a_user_of_the_same_name_under_another_key_is_somebody_else(store: Store):
    fill(store, [(2, f"c{user}", None) for user in range(4)], key_id="shop")
    flag(store, "c0", "i0-c0", key="other")
    flag(store, None, "i1-c1", key="other")
    assert harmed(store) == 0
    flag(store, "c2", "i2-c2", key="shop")
    flag(store, "c3", "i3-c3", key=None)
    assert harmed(store) == 2


def test_others_harm_the_asker_when_three_of_them_flag_one_answer(asked: Store):
    flag(asked, "x", "i270-c0")
    flag(asked, "y", "i270-c0")
    assert harmed(asked) == 0
    flag(asked, "y", "i270-c0", value="hallucination")  # the same voter once more
    assert harmed(asked) == 0
    flag(asked, "z", "i270-c0")
    assert harmed(asked) == 1


def test_users_that_one_key_names_harm_at_most_one_other_user(asked: Store):
    everybody = [f"i{270 + user}-c{user}" for user in range(30)]
    for voter in range(20):
        flag(asked, f"invented-{voter}", *everybody, key="app")
    assert harmed(asked) == 1
    for key in ("second", "third", "fourth"):  # one voter each: together three, on the same answer
        flag(asked, "somebody", "i270-c0", "i271-c1", key=key)
    assert harmed(asked) == 1


def test_a_voter_on_answers_without_a_user_harms_one_and_an_unknown_voter_nobody(store: Store):
    asked = [{"version": 2, "conversation": f"talk-{n}"} for n in range(6)]
    for place, more in enumerate(asked):
        fill(store, [(2, f"x{place}", None)], **more | {"user": None})
    flag(store, "ann", *(f"i0-x{n}" for n in range(4)))
    assert harmed(store) == 1
    flag(store, None, "i0-x4", "i0-x5")
    assert harmed(store) == 1


def test_a_flag_of_another_kind_harms_nobody(asked: Store):
    flag(asked, "c0", "i270-c0", value="other")
    flag(asked, "c1", "i271-c1", value="private")
    assert harmed(asked) == 0


def test_votes_in_quarantine_neither_harm_nor_score(asked: Store):
    fill(asked, [(2, "c9", -1)])
    for user in range(5):
        flag(asked, f"c{user}", f"i{270 + user}-c{user}")
    held = [Predicate(user=f"c{user}") for user in (0, 1, 2, 3, 4, 9)]
    with asked.transaction() as transaction:
        quarantines.add(transaction, id="q", model="reviews", version=2, decision_id="d", time=START)
        quarantines.add_predicates(transaction, id="q", predicates=held)
    canary = count_arms(asked, CANARY, harm_voters=3)[1]
    assert (canary.harmed, canary.score_mean) == (0, 0)


# Errors as harm, by their cause.


@pytest.mark.parametrize(
    ("status", "cause", "harmed"),
    [
        (500, "engine_error", 1),
        (200, "engine_error", 1),  # an error in the middle of a stream
        (503, None, 1),  # a record from before causes were stored
        (503, "shutdown", 0),
        (504, "timeout", 0),
        (503, "client_slow", 0),
        (499, "client_gone", 0),
        (500, "gateway_error", 0),
        (400, "refused", 0),
    ],
)
def test_only_what_the_version_did_harms(store: Store, status: int, cause: str | None, harmed: int):
    fill(store, [(1, "ann", None), (2, "bob", None)], time=START + timedelta(minutes=1))
    fill(store, [(2, "cy", None)], status=status, cause=cause, time=START + timedelta(minutes=1))
    control, canary = count_arms(store, CANARY, harm_voters=3)
    assert (control.harmed, canary.harmed, canary.users) == (0, harmed, 2)


@pytest.mark.parametrize("cause", ["not_loaded", "unreachable"])
def test_a_minute_in_which_a_version_could_not_answer_is_left_out_for_both_arms(store: Store, cause: str):
    # An engine restarts: it answers for the base model at once, and for the adapter only after it has loaded it.
    restart = START + timedelta(minutes=10)
    everybody: Requests = [(1, f"u{user}", None) for user in range(352)] + [(2, f"c{user}", None) for user in range(48)]
    fill(store, everybody, time=START + timedelta(minutes=1), cause="answered")
    fill(store, [(1, f"late{user}", None) for user in range(20)], time=restart, cause="answered")
    failed: Requests = [(2, f"c{user}", None) for user in range(12)]
    fill(store, failed, time=restart + timedelta(seconds=20), status=503, cause=cause)
    control, canary = count_arms(store, CANARY, harm_voters=3)
    assert (control.users, canary.users, canary.harmed, canary.requests) == (352, 48, 0, 48)
    assert verdict(store)[0] is Outcome.WAIT


def test_errors_that_the_engine_gives_both_arms_decide_nothing(store: Store):
    fill(store, [(1, f"u{user}", None) for user in range(360)], cause="answered")
    fill(store, [(2, f"c{user}", None) for user in range(40)], cause="answered")
    failed: Requests = [(1, f"u{n}", None) for n in reversed(range(90))] + [(2, f"c{n}", None) for n in range(10)]
    fill(store, failed, cause="engine_error", status=500)
    control, canary = count_arms(store, CANARY, harm_voters=3)
    assert (control.harmed, canary.harmed, verdict(store)[0]) == (90, 10, Outcome.WAIT)
