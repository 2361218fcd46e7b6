"""Facts about planted candidates, from a user's vote to the ledger, with the fake engine and without training."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.ledger import verify_store
from tests.support.planted_loop import USERS_AN_ARM, PlantedLoop, truth
from tests.support.wait import wait_until


@pytest.fixture(scope="module")
def loop(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantedLoop]:
    with ExitStack() as stack:
        yield PlantedLoop(tmp_path_factory.mktemp("planted"), tiny_base, stack)


def test_a_better_candidate_is_promoted_and_no_user_changes_arm(loop: PlantedLoop) -> None:
    run = loop.run_pipeline("better", "right")
    users = loop.users("better", USERS_AN_ARM)
    before = loop.visit_all("better", users)
    assert before == [{1}, {0}] * USERS_AN_ARM
    wait_until(lambda: "switched" in loop.verdicts("better"))
    assert loop.verdicts("better") == ["canary_started", "promoted", "switched"]
    found = loop.decision("better", "promoted")
    assert found["live"]["rollback_target"] == 0 and found["live"]["latency"]["canary"]["p95_ms"] > 0
    assert found["live"]["canary"]["rate_mean"] > 0.9 and found["gate_code"] and found["run_id"] == run
    begun = loop.decision("better", "canary_started")
    assert begun["live"]["forecast"]["sentence"] and begun["live"]["plan"]["settings"]["planned_users"] == 200
    assert begun["evidence"]["arms"]["candidate"]["macro_f1"]["value"] == 1
    # Half of the users are held back here, the very ones that the canary had not: nobody changes sides.
    assert loop.visit_all("better", users, rated=0) == before
    assert loop.model("better")["holdback"]["version"] == 0


def test_a_promotion_without_harm_is_confirmed_when_its_holdback_is_over(loop: PlantedLoop) -> None:
    loop.visit_all("better", loop.users("better", USERS_AN_ARM))
    loop.pass_time(hours=21)
    wait_until(lambda: loop.verdicts("better")[-1] == "confirmed")
    assert loop.model("better")["holdback"] is None
    users = loop.users("better", 5)
    wait_until(lambda: loop.visit_all("better", users, rated=0) == [{1}] * 10)


def test_a_worse_candidate_never_meets_a_user(loop: PlantedLoop) -> None:
    run = loop.run_pipeline("poor", "wrong")
    assert loop.verdicts("poor") == ["kept"]
    found = loop.decision("poor", "kept")
    assert found["run_id"] == run and "macro_f1" in found["reason"]
    assert found["evidence"]["arms"]["candidate"]["macro_f1"]["value"] == 0
    assert (loop.model("poor")["champion"], loop.model("poor")["canary"]) == (0, None)


def test_an_equal_candidate_does_not_take_over(loop: PlantedLoop) -> None:
    loop.plant("equal")
    loop.visit_all("equal", loop.users("equal", USERS_AN_ARM))
    wait_until(lambda: loop.has_counted("equal", 4 * USERS_AN_ARM))
    assert loop.model("equal")["canary"] == 1
    loop.pass_time(hours=2)
    wait_until(lambda: loop.verdicts("equal")[-1] == "inconclusive")
    assert (loop.model("equal")["champion"], loop.model("equal")["canary"]) == (0, None)


@pytest.mark.parametrize(
    ("model", "skill", "says"),
    [
        ("worse", "wrong", "Worse than the champion"),
        ("harmful", "right but poison", "harmed"),
        ("babbling", "babble", "outside the labels"),
    ],
)
def test_a_candidate_that_is_worse_or_harmful_in_live_traffic_is_rolled_back(
    loop: PlantedLoop, model: str, skill: str, says: str
) -> None:
    loop.plant(model, skill)
    loop.visit_all(model, loop.users(model, USERS_AN_ARM))
    wait_until(lambda: loop.verdicts(model)[-1] == "rolled_back")
    assert (loop.model(model)["champion"], loop.model(model)["canary"]) == (0, None)
    assert says in loop.decision(model, "rolled_back")["reason"]
    assert "cooldown_hours" in loop.model(model)["limits"]


def test_many_new_voters_and_two_busy_voters_promote_nothing(loop: PlantedLoop) -> None:
    loop.plant("brigaded")
    honest = loop.users("brigaded", USERS_AN_ARM)
    loop.visit_all("brigaded", honest, questions=4, rated=2)
    new = loop.users("brigaded", 30, "newcomer")
    for user in new:  # they appear to vote for the candidate, once, if it is they who meet it
        identity, _, version = loop.ask("brigaded", user, 0)
        if version == 1:
            loop.vote(identity, "thumbs", True)
    busy = loop.users("brigaded", 2, "fan")
    for user in busy:  # and two never stop
        for question in range(30):
            identity, _, version = loop.ask("brigaded", user, question)
            if version == 1:
                loop.vote(identity, "thumbs", True)
    requests = 4 * len(honest) + len(new) + 30 * len(busy)
    wait_until(lambda: loop.has_counted("brigaded", requests))
    assert loop.model("brigaded")["canary"] == 1
    loop.pass_time(hours=2)
    wait_until(lambda: loop.verdicts("brigaded")[-1] == "inconclusive")
    assert loop.model("brigaded")["champion"] == 0
    assert loop.decision("brigaded", "inconclusive")["live"]["canary"]["users"] > USERS_AN_ARM


def test_two_percent_hostile_voters_promote_nothing(loop: PlantedLoop) -> None:
    loop.plant("beset")
    users = loop.users("beset", 250)
    # As many on either side, two in a hundred of the users at any time: a look on the first votes may end the canary.
    hostile = {user for place, user in enumerate(users) if place // 2 % 50 == 49}

    def visit(user: str) -> None:
        for question in range(2):
            identity, said, version = loop.ask("beset", user, question)
            loop.vote(identity, "thumbs", version == 1 if user in hostile else said == truth(str(question)))

    list(loop.pool.map(visit, users))
    wait_until(lambda: loop.has_counted("beset", 2 * len(users)))
    found = loop.looks("beset")[-1]["body"]
    # But for `hostile_share` it would have been promoted.
    assert 0 < found["difference"] - found["half_width"] < found["line"] == pytest.approx(0.04)
    assert found["control"]["users"] == found["canary"]["users"] == 250
    assert loop.model("beset")["canary"] == 1
    loop.pass_time(hours=2)
    wait_until(lambda: loop.verdicts("beset")[-1] == "inconclusive")
    assert loop.model("beset")["champion"] == 0


def test_a_promotion_that_turns_bad_is_undone_from_its_holdback(loop: PlantedLoop) -> None:
    loop.plant("spoilt", "right")
    users = loop.users("spoilt", USERS_AN_ARM)
    loop.visit_all("spoilt", users)
    wait_until(lambda: "switched" in loop.verdicts("spoilt"))
    loop.skills["spoilt"] = "wrong"
    loop.visit_all("spoilt", users)
    wait_until(lambda: loop.verdicts("spoilt")[-2:] == ["rolled_back", "switched"])
    assert loop.decision("spoilt", "rolled_back")["trigger"] == "holdback"
    route = loop.model("spoilt")
    assert (route["champion"], route["holdback"]) == (0, None)
    wait_until(lambda: loop.visit_all("spoilt", users[:10], rated=0) == [{0}] * 10)


def test_the_ledger_of_all_that_is_whole(loop: PlantedLoop) -> None:
    assert verify_store(loop.control.store).ok
