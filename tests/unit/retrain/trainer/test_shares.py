"""Facts about shares of the train rows, and the noise of a dev score: both are by voter."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.prompts import Text
from feedback.pairs import Pair
from feedback.snapshot import Row
from retrain.trainer.batches import Example
from retrain.trainer.dev import DevPart
from retrain.trainer.dev_score import LabelScore, PairScore, RatedScore
from retrain.trainer.examples import share_of, voter_of
from retrain.trainer.job import REPORT, Job, Report
from retrain.trainer.objectives import Scored, Sft
from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.scoring import score_tree
from tests.support.tiny_models import FAMILIES
from tests.unit.retrain.trainer.test_dev import dev_rows
from tests.unit.retrain.trainer.test_dev_score import LABELS, easy_rows, prompts
from tests.unit.retrain.trainer.test_scoring import adapted
from tests.unit.retrain.trainer.test_training import base, make_job, rows_of, trained  # noqa: F401 — fixtures


def rows(users: Sequence[str]) -> list[Row]:
    return [Row(f"i{n}", f"f{n}", user, "train", Text(f"q {n}"), "good") for n, user in enumerate(users)]


@given(st.lists(st.sampled_from(["", *"abcdefghij"]), min_size=1, max_size=60), st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_shares_are_whole_voters_and_each_is_a_part_of_the_next(users: list[str], seed: int) -> None:
    every = rows(users)
    kept = [share_of(every, share, seed) for share in (1 / 8, 1 / 4, 1 / 2, 1.0)]
    assert kept[-1] == every
    for smaller, larger in itertools.pairwise(kept):
        assert {one.feedback_id for one in smaller} <= {one.feedback_id for one in larger}
    for share, found in zip((1 / 8, 1 / 4, 1 / 2), kept, strict=False):
        assert len(found) >= share * len(every)
        inside, outside = {voter_of(one) for one in found}, {voter_of(one) for one in every if one not in found}
        assert not inside & outside
        largest = max(users.count(user) if user else 1 for user in users)
        assert len(found) < share * len(every) + largest


def test_a_share_depends_on_voters_and_seed_and_not_on_ids() -> None:
    every = rows([f"u{n % 20}" for n in range(80)])
    others = [replace(one, interaction_id=f"x{n}", feedback_id=f"y{n}") for n, one in enumerate(every)]
    first, again = share_of(every, 0.25, 0), share_of(others, 0.25, 0)
    assert [one.prompt for one in first] == [one.prompt for one in again]
    assert [one.prompt for one in share_of(every, 0.25, 1)] != [one.prompt for one in first]


def test_rows_of_nobody_known_are_by_their_content() -> None:
    one, other = rows(["", ""])
    assert voter_of(one) != voter_of(other) and voter_of(one) == voter_of(replace(one, feedback_id="z"))
    pair = Pair("a", "b", "f", "", "train", Text("q"), "x", "y", "preference")
    assert voter_of(pair) != voter_of(replace(pair, chosen="z"))
    assert voter_of(replace(pair, user="u", key_id="k")) == "k\nu"


def test_a_training_with_a_share_has_fewer_rows_and_the_same_dev_part(
    make_job: Callable[..., Job],  # noqa: F811 — the fixture
) -> None:
    every = [replace(one, user=f"u{n}") for n, one in enumerate(easy_rows(24, "train"))]
    dev = [replace(one, user=f"v{n}") for n, one in enumerate(easy_rows(24, "dev"))]
    found = {}
    for share in (0.25, 1.0):
        job = make_job(
            f"run-{share}", rows=every + dev, share=share, scores=1, resamples=200, labels=LABELS, kpi="accuracy"
        )
        trained(job)
        report = Report.read(Path(job.output) / REPORT)
        assert report and report.dev
        found[share] = (report.rows, report.dev["rows"])
        assert len(report.dev["samples"]) == 200 and report.dev["voters"] == 24
        assert np.mean(report.dev["samples"]) == pytest.approx(report.dev["score"]["dev_score"], abs=0.05)
    assert found == {0.25: (6, 24), 1.0: (24, 24)}


def test_resamples_change_no_adapter(make_job: Callable[..., Job]) -> None:  # noqa: F811 — the fixture
    every = rows_of(24) + dev_rows(24, wrong=False)
    plain, measured = make_job("a", rows=every), make_job("b", rows=every, scores=1, resamples=50)
    assert trained(plain)[0] == trained(measured)[0]


@pytest.fixture(scope="module")
def scored() -> Scored:
    return Scored(adapted(FAMILIES["llama"]), score_tree)


def test_a_score_with_every_row_once_is_the_score(scored: Scored) -> None:
    pairs = [
        Example((TokenSequence(p, (7 + n % 3, 258)), TokenSequence(p, (8, 9, 258))), 1 + n % 2, n % 4 < 2, f"u{n % 5}")
        for n, p in enumerate(prompts(20))
    ]
    for score in (LabelScore(pairs, [0, 1] * 10, "macro_f1"), PairScore(pairs, scored), RatedScore(pairs, scored)):
        expected = score.measure(scored)["dev_score"]
        assert score.resampled(scored)(np.ones((2, 20))) == pytest.approx([expected] * 2)
        assert score.voters.max() == 4
    sft = [replace(one, sequences=one.sequences[:1]) for one in pairs]
    part = DevPart(sft, Sft(), scored)
    drawn = np.ones((1, 20))
    assert part._resampled_loss()(drawn) == pytest.approx([part.score()["dev_score"]], rel=1e-5)


def test_a_resample_without_one_kind_of_answer_has_no_share(scored: Scored) -> None:
    rated = [
        Example((TokenSequence(p, (7, 258)), TokenSequence(p, (8, 258))), 1.0, n < 10)
        for n, p in enumerate(prompts(20))
    ]
    drawn = np.array([[1.0] * 10 + [0.0] * 10])
    assert np.isnan(RatedScore(rated, scored).resampled(scored)(drawn)).all()


def test_resamples_draw_voters_and_not_rows(scored: Scored) -> None:
    pairs = [Example((TokenSequence(p, (7, 258)), TokenSequence(p, (8, 9, 258)))) for p in prompts(40)]
    wide, narrow = ([replace(one, voter=f"u{n % voters}") for n, one in enumerate(pairs)] for voters in (2, 40))
    spread = {}
    for name, examples in (("two", wide), ("forty", narrow)):
        part = DevPart(examples, Sft(), scored, PairScore(examples, scored))
        found = part.resampled(400)
        spread[name] = (found["voters"], len(set(found["samples"])))
    assert spread["two"][0] == 2 and spread["two"][1] <= 3 < spread["forty"][1]
    assert spread["forty"][0] == 40
