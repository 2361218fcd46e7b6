"""Facts about the score of the dev part: it is the KPI of a candidate, and measuring it changes no adapter."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score

from core.prompts import Chat
from feedback.pairs import Pair
from feedback.snapshot import Row
from retrain.trainer import dev
from retrain.trainer import train as trainer
from retrain.trainer.batches import Example, score_points
from retrain.trainer.dev_score import LEAST_ROWS, LabelScore, PairScore, RatedScore, choose_score
from retrain.trainer.examples import Examples
from retrain.trainer.job import REPORT, Job, Report, Step
from retrain.trainer.objectives import Scored
from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.rendering import Renderer
from retrain.trainer.scoring import score_padded, score_tree
from tests.support.tiny_models import FAMILIES, make_tokenizer
from tests.unit.retrain.trainer.test_dev import dev_rows
from tests.unit.retrain.trainer.test_scoring import adapted
from tests.unit.retrain.trainer.test_training import Killed, base, make_job, row, rows_of, trained  # noqa: F401 — fixtures

LABELS = ("good", "bad")


@pytest.fixture(scope="module")
def scored() -> Scored:
    return Scored(adapted(FAMILIES["llama"]), score_tree)


def prompts(count: int) -> list[tuple[int, ...]]:
    return [(20, 21, 30 + n % 7, 40 + n % 5) for n in range(count)]


def alone(scored: Scored, sequence: TokenSequence) -> float:
    with torch.no_grad():
        return float(score_padded(scored.model, [sequence])[0])


def gain(scored: Scored, sequence: TokenSequence) -> float:
    with scored.model.disable_adapter():
        before = alone(scored, sequence)
    return alone(scored, sequence) - before


def test_labels_are_chosen_by_the_likelihood_of_the_whole_label(scored: Scored) -> None:
    """One label begins another, so the token that ends the answer decides between them."""
    labels = ((7, 258), (7, 9, 258), (8, 258))
    examples = [Example(tuple(TokenSequence(prompt, label) for label in labels)) for prompt in prompts(35)]
    chosen = [int(np.argmax([alone(scored, one) for one in example.sequences])) for example in examples]
    assert len(set(chosen)) > 1
    truth = [(n if n % 3 else n + 1) % 3 for n in chosen]
    truth[:20] = chosen[:20]
    found = LabelScore(examples, truth, "weighted_f1").measure(scored)
    assert found == pytest.approx(
        {
            "dev_score": f1_score(truth, chosen, average="weighted"),
            "dev_accuracy": np.mean(np.equal(chosen, truth)),
            "dev_macro_f1": f1_score(truth, chosen, average="macro"),
            "dev_weighted_f1": f1_score(truth, chosen, average="weighted"),
        }
    )
    assert 0.5 < found["dev_accuracy"] < 1


def test_a_kpi_that_is_undefined_gives_way_to_accuracy(scored: Scored) -> None:
    examples = [Example((TokenSequence(p, (7, 258)), TokenSequence(p, (8, 258)))) for p in prompts(4)]
    found = LabelScore(examples, [1] * 4, "roc_auc").measure(scored)
    assert found["dev_score"] == found["dev_accuracy"] and "dev_roc_auc" not in found


def test_pairs_count_by_what_each_answer_gains_on_the_base_model(scored: Scored) -> None:
    examples = [
        Example((TokenSequence(p, (7, 9, 258)), TokenSequence(p, (8, 258))), 1 + n % 2)
        for n, p in enumerate(prompts(12))
    ]
    wins = [gain(scored, one.sequences[0]) > gain(scored, one.sequences[1]) for one in examples]
    expected = np.average(wins, weights=[one.weight for one in examples])
    assert 0 < expected < 1
    assert PairScore(examples, scored).measure(scored) == pytest.approx({"dev_score": expected, "dev_margin": expected})


def test_a_fresh_adapter_wins_half_of_the_pairs(scored: Scored) -> None:
    examples = [Example((TokenSequence(p, (7, 258)), TokenSequence(p, (8, 258)))) for p in prompts(4)]
    score = PairScore(examples, scored)
    with scored.model.disable_adapter():
        assert score.measure(scored)["dev_score"] == 0.5


def test_rated_answers_count_as_pairs_of_a_liked_and_a_disliked_one(scored: Scored) -> None:
    examples = [
        Example((TokenSequence(p, (7 + n % 3, 258)), TokenSequence(p, (1, 258))), 1 + n % 2, desirable=n % 4 < 2)
        for n, p in enumerate(prompts(14))
    ]
    gains = [gain(scored, one.sequences[0]) for one in examples]
    weights = [one.weight for one in examples]
    expected = roc_auc_score([one.desirable for one in examples], gains, sample_weight=weights)
    assert 0 < expected < 1
    assert RatedScore(examples, scored).measure(scored)["dev_margin"] == pytest.approx(expected)


def test_a_score_is_measured_evenly_and_after_the_last_step() -> None:
    assert score_points(10, 4) == [3, 5, 8, 10]
    assert score_points(2, 4) == [1, 2]
    assert score_points(7, 0) == []


def easy_rows(count: int, bucket: str) -> list[Row]:
    """Rows whose prompt has the right label in it."""
    labels = [LABELS[n % 2] for n in range(count)]
    prompts = [Chat((("user", f"{label * 3} {n // 2}"),)) for n, label in enumerate(labels)]
    return [row(n, prompt, label, bucket=bucket) for n, (prompt, label) in enumerate(zip(prompts, labels, strict=True))]


@pytest.fixture
def scored_job(make_job: Callable[..., Job]) -> Callable[..., Job]:  # noqa: F811 — the fixture
    def made(output: str = "run", *, rows: list[Row] | None = None, **more: Any) -> Job:
        rows = easy_rows(24, "train") + easy_rows(24, "dev") if rows is None else rows
        return make_job(output, rows=rows, **({"scores": 3, "labels": LABELS, "kpi": "macro_f1", "epochs": 8.0} | more))

    return made


def scores_of(steps: list[Step]) -> list[tuple[int, float]]:
    return [(step.done, step.metrics["dev_score"]) for step in steps if "dev_score" in step.metrics]


def report_of(job: Job) -> dict[str, Any]:
    found = Report.read(Path(job.output) / REPORT)
    assert found and found.dev
    return found.dev


def test_a_training_is_scored_and_gives_the_same_adapter_as_without(
    scored_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]
) -> None:
    job = scored_job()
    adapter, steps = trained(job)
    assert "The dev part is scored by macro f1 on 24 rows." in capsys.readouterr().out
    found = scores_of(steps)
    assert [at for at, _ in found] == [16, 32, 48]
    # The labels of the dev part follow the rule of the train rows.
    assert found[-1][1] > 0.9 and steps[-1].metrics["dev_accuracy"] > 0.9
    report = report_of(job)
    assert [[at, figures["dev_score"]] for at, figures in report["scores"]] == [list(one) for one in found]
    assert report["score"] == report["scores"][-1][1] and "reason" not in report
    assert trained(scored_job("unscored", scores=0))[0] == adapter


def test_a_training_that_continues_reports_every_score(scored_job: Callable[..., Job]) -> None:
    undisturbed, job = scored_job("undisturbed"), scored_job("killed", checkpoint_s=0.0)
    trained(undisturbed)

    def report(step: Step) -> None:
        if step.done == 10:
            raise Killed

    with pytest.raises(Killed):
        trainer.train(job, report)
    trained(job)
    assert report_of(job) == report_of(undisturbed)


def test_the_score_of_the_weights_that_are_kept_is_reported(
    scored_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another label than that of the train rows is right, so the dev loss rises and early weights are kept."""
    monkeypatch.setattr(dev, "TOLERANCE", 0.0)
    wrong = dev_rows(24, wrong=True)
    job = scored_job(rows=rows_of(24) + wrong, dev_steps=5, patience=2, epochs=10.0, scores=0, labels=())
    trained(job)
    report = report_of(job)
    assert report["kept"] < report["steps"] and report["score"] == dict(report["scores"])[report["kept"]]


@pytest.mark.parametrize(("scores", "labels", "measured"), [(0, LABELS, 1), (0, (), 0), (4, LABELS, 5)])
def test_a_training_scores_at_the_points_of_a_search_and_the_weights_to_keep(
    scored_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, scores: int, labels: tuple[str, ...], measured: int
) -> None:
    """Without a KPI the score is minus the loss, which is known. Else every measurement counts."""
    done: list[int] = []
    losses: list[float] = []
    measure, loss = LabelScore.measure, dev.DevPart.loss
    monkeypatch.setattr(LabelScore, "measure", lambda *given: done.append(1) or measure(*given))
    monkeypatch.setattr(dev.DevPart, "loss", lambda part: losses.append(0.0) or loss(part))
    # The loss falls until the end; the tolerance below keeps no later weights than those of step 5.
    monkeypatch.setattr(dev, "TOLERANCE", -2.0)
    job = scored_job(dev_steps=5, patience=99, scores=scores, labels=labels)
    _, steps = trained(job)
    report = report_of(job)
    assert len(done) == measured and len(losses) == len(report["losses"]) == 10
    assert [at for at, _ in scores_of(steps)] == score_points(48, scores)
    assert [at for at, _ in report["scores"]] == sorted({*score_points(48, scores), report["kept"]})
    assert report["score"] == dict(report["scores"])[report["kept"]] and report["kept"] == 5


def test_corrections_are_scored_by_their_loss(scored_job: Callable[..., Job]) -> None:
    _, steps = trained(scored_job(labels=()))
    last = steps[-1].metrics
    assert last["dev_score"] == -last["dev_loss"] < 0


def test_too_few_dev_rows_give_no_score(scored_job: Callable[..., Job]) -> None:
    job = scored_job(rows=rows_of(24) + dev_rows(LEAST_ROWS - 1, wrong=False))
    _, steps = trained(job)
    assert scores_of(steps) == []


def test_rows_of_a_label_that_the_model_has_no_more_are_not_scored(scored_job: Callable[..., Job]) -> None:
    job = scored_job(labels=("good", "fine"))
    examples, truth = Examples(job).label_choices(Renderer(make_tokenizer(), 100), "dev", job.labels, job.seed)
    assert len(examples) == 12 and set(truth) == {0}
    assert all(len(example.sequences) == 2 for example in examples)


def test_the_order_of_scored_rows_depends_on_their_content_alone(scored_job: Callable[..., Job]) -> None:
    job = scored_job()
    other = scored_job("other", rows=(easy_rows(24, "train") + easy_rows(24, "dev"))[::-1])
    renderer = Renderer(make_tokenizer(), 100)
    first, again = (Examples(one).label_choices(renderer, "dev", LABELS, 0) for one in (job, other))
    assert first == again


def pair(n: int, signal: str, liked: bool = True) -> Pair:
    texts = ("fine", "no") if signal == "preference" else ("fine", "") if liked else ("", "no")
    return Pair(f"i{n}", "", f"f{n}", "u", "dev", Chat((("user", f"q {n}"),)), *texts, signal)


@pytest.mark.parametrize(
    ("pairs", "rated", "kind"), [(20, 0, PairScore), (20, 30, PairScore), (19, 30, RatedScore), (0, 19, type(None))]
)
def test_kto_is_scored_by_pairs_where_there_are_enough(
    scored: Scored, scored_job: Callable[..., Job], pairs: int, rated: int, kind: type
) -> None:
    job = replace(scored_job(labels=()), objective="kto")
    data = Examples(job)
    data._pairs = [
        *(pair(n, "preference") for n in range(pairs)),
        *(pair(100 + n, "thumbs", n % 2 == 0) for n in range(rated)),
    ]
    assert type(choose_score(job, scored, data, Renderer(make_tokenizer(), 100))) is kind


def test_answers_that_are_all_liked_give_no_score(scored: Scored, scored_job: Callable[..., Job]) -> None:
    job = replace(scored_job(labels=()), objective="kto")
    data = Examples(job)
    data._pairs = [pair(n, "thumbs") for n in range(30)]
    assert choose_score(job, scored, data, Renderer(make_tokenizer(), 100)) is None
