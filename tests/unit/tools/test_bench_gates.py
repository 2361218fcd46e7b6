"""Facts about the gates' benchmark: small runs of what it does at length."""

import math
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from bench import gates
from bench.simulation import chart, scenarios
from bench.simulation.holdout import SETTINGS, Clustered, Items, OfflineGate
from bench.simulation.live import FIRST, HoldbackGate, NewUsers, proved
from bench.simulation.user_model import People, brigaded, harmed, once, several
from eval.gates.offline import decide, spent_level
from eval.kpis.bootstrap import BootstrapPlan, bounds
from eval.kpis.comparison import compare_labels
from eval.kpis.evidence import ArmScores

EXACT = once(0.7, 0.7), several(0.7, 0.75, requests=4, rate=0.5), brigaded(once(0.6, 0.6, rate=0.5), 0.02)


@pytest.mark.parametrize("people", [*EXACT, harmed(once(0.7, 0.7), 0.01, 0.03)])
def test_chances_are_chances(people: People):
    for chances in (people.control, people.canary):
        assert isinstance(chances, np.ndarray)
        assert (chances >= 0).all() and chances.sum() == pytest.approx(1)
    assert (people.rated <= people.requests).all()


@pytest.mark.parametrize("name", ["+5 points, strict", "harm 1 % to 3 %", "happy users vote more, rate +20 %, strict"])
def test_look_says_of_each_canary_what_the_arrays_say(name: str):
    canary = scenarios.LIVE[name]
    assert proved(canary.people, canary.ours, canary.share, runs=4, looks=5) == 20


@pytest.mark.parametrize("name", ["holdback, -10 points after 1,000", "holdback, harm 3 % after 1,000"])
def test_look_back_says_of_each_holdback_what_the_arrays_say_and_the_time_to_rollback_is_counted(name: str):
    held = scenarios.LIVE[name]
    assert isinstance(held.ours, HoldbackGate)
    assert proved(held.people, held.ours, held.share, runs=4, looks=5) == 20
    ours, *_ = gates.scenario(name, 40, 10)
    assert ours["rollback"] == 1
    assert ours["decay_to_rollback_rated"] > 50 and ours["rolled_back_before"] < 0.2
    assert ours["decay_to_rollback_requests"] == pytest.approx(10 * ours["decay_to_rollback_rated"])


def test_counts_of_kinds_are_counts_of_users():
    """The moments of a simulated arm are those of its users, written out one by one."""
    people = several(0.7, 0.7, requests=4, rate=0.5)
    users = NewUsers(people, 1, np.random.default_rng(0))
    arm = users.advance(0).control
    kinds = np.repeat(np.arange(len(people.ups)), users.control[0].astype(int))
    rate, score = people.rated / people.requests, (people.ups - people.downs) / people.requests
    assert users.cap == 1.0
    assert float(np.asarray(arm.score_mean)[0]) == pytest.approx(score[kinds].mean())
    assert float(np.asarray(arm.score_sd)[0]) == pytest.approx(score[kinds].std(ddof=1))
    assert float(np.asarray(arm.covariance)[0]) == pytest.approx(np.cov(score[kinds], rate[kinds])[0, 1])
    assert users.control[0] @ people.rated == pytest.approx(FIRST, rel=0.4)


def test_the_offline_short_cut_is_what_measure_and_decide_say():
    """The same answers as arrays of scores, through the whole path."""
    n, won, lost, use = 60, 14, 4, 2
    truth = np.arange(n) % 2
    right = {"candidate": np.ones(n, bool), "champion": np.ones(n, bool)}
    right["champion"][:won] = False
    right["candidate"][won : won + lost] = False
    arms = {
        name: ArmScores(np.eye(2)[np.where(hits, truth, 1 - truth)], np.ones(n), np.ones(n, dtype=np.int64))
        for name, hits in right.items()
    }
    level = spent_level(SETTINGS.alpha, use)
    whole = compare_labels(
        truth, np.arange(n), arms, BootstrapPlan(0.05, 10_000, 0, {"accuracy": level}), holdout_use=use
    )
    gate = OfflineGate(Items(n))
    short = gate.evidence(won, lost, use).differences["accuracy"]["champion"]
    found = whole.differences["accuracy"]["champion"]
    assert (short.value, short.lower, short.upper) == pytest.approx((found.value, found.lower, found.upper))
    assert gate.outcome(won, lost, use) is decide(whole, SETTINGS).outcome
    assert bounds(np.full(10, np.nan), 50, 0.05) == pytest.approx((math.nan, math.nan), nan_ok=True)


def test_ours_holds_where_peeking_does_not():
    found = {row["gate"]: row for row in gates.scenario("equal, strict", 10, 300)}
    assert found["ours"]["promote"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    assert found["z-test .05, peeking"]["promote"] > 0.2
    assert found["ours"]["null"]


def test_a_better_candidate_is_promoted_and_a_worse_one_rolled_back():
    better, *_ = gates.scenario("+10 points, strict", 100, 10)
    worse, *_ = gates.scenario("-5 points", 10, 100)
    assert better["promote"] >= 0.95
    assert worse["rollback"] >= 0.9


def test_twenty_candidates_and_repeated_runs_are_judged():
    twenty = {row["gate"]: row["promote"] for row in gates.scenario(scenarios.TWENTY, 10, 40)}
    assert twenty["ours"] < 0.2 < twenty["McNemar .05 each"] < twenty["point estimate"]
    ours, *_ = gates.scenario(scenarios.CYCLES, 10, 35)
    assert ours["share_wrong"] < 0.5


def test_a_clustered_holdout_is_of_whole_items_and_its_candidates_are_no_better():
    rng = np.random.default_rng(1)
    asked = [Clustered(20).ask(1, rng) for _ in range(4000)]
    items, gained = np.stack([items for items, _ in asked]), np.concatenate([gained for _, gained in asked])
    assert items.min() >= 1 and (np.abs(gained) <= items).all()
    means = gained.sum(1) / items.sum(1)
    assert abs(means.mean()) < 4 * means.std() / math.sqrt(len(means))
    # Users differ from each other by more than the luck of single items would have them.
    assert gained.var() > 1.5 * (2 * 0.5 * 0.7 * 0.3 * items.mean())


def test_the_smallest_holdout_holds_its_level():
    ours, plain = gates.scenario(scenarios.LEAST, 10, 300)
    assert ours["promote"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    assert ours["runs"] == 300 and ours["promote"] <= plain["promote"]


def test_the_picture_is_whole():
    rows = gates.scenario("+10 points, strict", 20, 20)
    drawn = ElementTree.fromstring(chart.draw(rows, "ours"))
    assert len([one for one in drawn.iter() if one.tag.endswith("circle")]) == len(rows) + 3  # the legend's


def test_labels_of_wrong_answers_promote_an_equal_candidate_only_without_weights():
    (name,) = [name for name in scenarios.SELECTED if "15 times" in name and "equal" in name]
    ours, plain = gates.scenario(name, 10, 60)
    assert ours["null"] and ours["promote"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)
    assert plain["promote"] > 0.9


@pytest.mark.parametrize(("words", "least"), [("700 asked", 0.9), ("700 of 1,400 asked", 0.05)])
def test_thumbs_of_wrong_answers_promote_an_equal_candidate_only_without_the_audit(words: str, least: float):
    """Where half of the answers are marked, most labels are random, so those without weights are less wrong."""
    (name,) = [
        name for name in scenarios.SELECTED if f"labelled 5 and thumbed 5 times as often, {words}, equal" in name
    ]
    ours, by_thumbs, plain = gates.scenario(name, 10, 60)
    assert ours["null"] and ours["promote"] <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)
    assert by_thumbs["gate"] == "weights by thumbs" and by_thumbs["promote"] > 0.5
    assert plain["promote"] > least


def test_losses_add_up_over_canaries_only_without_the_anchor(monkeypatch: pytest.MonkeyPatch):
    worse, equal = scenarios.ROWS
    for name in (worse, equal):
        monkeypatch.setitem(scenarios.ROWS, name, replace(scenarios.ROWS[name], candidates=6))
    ours, alone = gates.in_a_row(worse, 10)
    assert ours["null"] and ours["promote"] <= 0.1 and ours["points_lost"] < 5
    assert alone["promote"] >= 0.8 and alone["points_lost"] > 5
    ours, _ = gates.in_a_row(equal, 10)
    assert ours["promote"] >= 0.8 and ours["runs"] == 60 and not gates.is_weak(ours)
    assert ours["median_n_last"] > ours["median_n_first"]


def test_a_gate_that_never_promotes_is_weak_where_it_should_promote():
    never = {"null": False, "name": "+10 points, strict", "promote": 0.0}
    assert gates.is_weak(never) and not gates.is_weak(never | {"promote": 0.9})
    assert not gates.is_weak(never | {"null": True})
    assert not gates.is_weak(never | {"name": f"{scenarios.HOLDBACK}, no decay"})
