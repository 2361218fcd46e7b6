"""Facts about preference training: from votes over a snapshot to an adapter that prefers what users preferred."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from core.db.store import Store
from core.errors import TooFewRows
from core.model_folder import ModelFolder
from core.prompts import Text
from core.settings import build
from feedback.pairs import Pair
from feedback.snapshot import Snapshot
from retrain.job_settings import job_of_run
from retrain.plan import Method, plan_of
from retrain.trainer import train as trainer
from retrain.trainer.batches import Example
from retrain.trainer.examples import Examples, balanced, render_rated
from retrain.trainer.job import ADAPTER, REPORT, Job, Report, Step
from retrain.trainer.objectives import Scored, reference_sums
from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.process import Trainer
from retrain.trainer.rendering import Renderer
from retrain.trainer.scoring import score_padded
from tests.support.curation import user_in
from tests.support.pairs import answer, fill, prefer, snap, vote
from tests.support.tiny_models import make_tokenizer, save_base

VOTERS = [user_in("train", n) for n in range(4)]
WORDS = ("sun", "moon", "star", "cloud", "rain", "wind")
RETRAIN = {
    "min_pairs": 8,
    "min_rated": 10,
    "rank": 4,
    "epochs": 4.0,
    "min_steps": 1,
    "batch_size": 4,
    "preference_learning_rate": 5e-3,
    "max_length": 120,
    "threads": 1,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    yield opened
    opened.close()


def answered(store: Store, words: Sequence[str] = WORDS) -> None:
    """A short and a polite answer to each of some questions."""
    for word in words:
        prompt = f"Tell me of the {word}."
        fill(store, answer(f"{word}a", f"Dear friend, the {word}.", prompt=prompt))
        fill(store, answer(f"{word}b", f"{word}!", prompt=prompt))


def voted(store: Store) -> None:
    answered(store)
    numbered = enumerate((word, voter) for word in WORDS for voter in VOTERS[:2])
    fill(store, *(prefer(n, f"{word}a", f"{word}b", voter) for n, (word, voter) in numbered))


def job_of(snapshot: Snapshot, base: Path, folder: Path, method: Method = "dpo", **retrain: Any) -> Job:
    settings = build(
        {
            "data": str(folder),
            "engine": {"dtype": "float32"},
            "models": {"m": {"task": "generate", "retrain": RETRAIN | retrain}},
        }
    )
    return job_of_run(
        "run",
        method,
        model=settings.models["m"],
        settings=settings,
        base=ModelFolder("base", base),
        snapshot=snapshot,
    )


def trained(job: Job) -> list[Step]:
    """The steps of a training in this process: a trainer's own process imports for seconds before its first step."""
    steps: list[Step] = []
    job.write()
    trainer.train(job, steps.append)
    return steps


def ratios(base: Path, adapter: Path, examples: list[Example]) -> torch.Tensor:
    """The log-ratios to the base (n, 2) of both sequences of each example."""
    model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    scored = Scored(model.eval(), score_padded)
    with torch.no_grad():
        return scored.sums(examples) - reference_sums(scored, examples)


def test_dpo_measures_the_loss_on_pairs_of_dev_voters(store: Store, base: Path, tmp_path: Path) -> None:
    voted(store)
    words = [f"{word}light" for word in WORDS]  # a prompt is in one part only
    answered(store, words)
    others = enumerate(((word, user_in("dev", n)) for word in words for n in range(4)), 100)
    fill(store, *(prefer(n, f"{word}a", f"{word}b", voter) for n, (word, voter) in others))
    job = job_of(snap(store, tmp_path / "snapshots"), base, tmp_path, dev_steps=3)
    steps = trained(job)
    report = Report.read(Path(job.output) / REPORT)
    assert report and report.dev and report.dev["rows"] == 24
    losses = [step.metrics["dev_loss"] for step in steps if "dev_loss" in step.metrics]
    assert [round(loss, 6) for _, loss in report.dev["losses"]] == losses
    assert losses[-1] < losses[0]


def test_votes_over_a_snapshot_become_an_adapter_that_prefers_as_users_did(
    store: Store, base: Path, tmp_path: Path
) -> None:
    voted(store)
    snapshot = snap(store, tmp_path / "snapshots")
    job = job_of(snapshot, base, tmp_path)
    steps: list[Step] = []
    adapter = Trainer().run(job, steps.append)
    examples, left = Examples(job).render(Renderer(make_tokenizer(), job.max_length))
    assert (len(examples), left) == (12, {})
    found = ratios(base, adapter, examples)
    margins = found[:, 0] - found[:, 1]
    # Before training every margin is 0, so that no pair is decided.
    assert (margins > 0).float().mean() == 1.0, margins
    assert steps[-1].metrics["loss"] < steps[0].metrics["loss"]
    report = Report.read(Path(job.output) / REPORT)
    assert report and report.forgetting
    assert replace(report, forgetting=None) == Report(rows=12, left_out={}, prefix_trees=True)


def test_the_opposite_votes_give_the_opposite_preference(store: Store, base: Path, tmp_path: Path) -> None:
    answered(store)
    numbered = enumerate((word, voter) for word in WORDS for voter in VOTERS[:2])
    fill(store, *(prefer(n, f"{word}b", f"{word}a", voter) for n, (word, voter) in numbered))
    job = job_of(snap(store, tmp_path / "snapshots"), base, tmp_path)
    trained(job)
    examples, _ = Examples(job).render(Renderer(make_tokenizer(), job.max_length))
    assert all(len(one.sequences[0].answer) < len(one.sequences[1].answer) for one in examples)
    found = ratios(base, Path(job.output) / ADAPTER, examples)
    assert (found[:, 0] > found[:, 1]).all()


def test_thumbs_become_an_adapter_that_finds_liked_answers_likelier(store: Store, base: Path, tmp_path: Path) -> None:
    answered(store)
    numbered = enumerate((word, side, voter) for word in WORDS for side in "ab" for voter in VOTERS[:2])
    fill(store, *(vote(n, word + side, "thumbs", side == "a", voter) for n, (word, side, voter) in numbered))
    job = job_of(snap(store, tmp_path / "snapshots"), base, tmp_path, "kto")
    trained(job)
    examples, _ = Examples(job).render(Renderer(make_tokenizer(), job.max_length))
    assert len(examples) == 24
    found = ratios(base, Path(job.output) / ADAPTER, examples)[:, 0]
    liked = torch.tensor([example.desirable for example in examples])
    assert found[liked].min() > found[~liked].max() + 1, found


def test_a_pair_that_is_too_long_is_left_out_and_counted(store: Store, base: Path, tmp_path: Path) -> None:
    voted(store)
    fill(store, answer("long", "x" * 200, prompt="Tell me of the sun."), prefer(99, "suna", "long", VOTERS[3]))
    job = job_of(snap(store, tmp_path / "snapshots"), base, tmp_path, min_pairs=13)
    with pytest.raises(TooFewRows, match=r"^12 pairs of the train split .* 13 are needed \(left out: 1 longer than"):
        trained(job)


def test_the_newest_pairs_are_learnt_first(store: Store, base: Path, tmp_path: Path) -> None:
    voted(store)
    snapshot = snap(store, tmp_path / "snapshots")
    job = job_of(snapshot, base, tmp_path, max_rows=8)
    assert job.min_rows == 8
    examples, _ = Examples(job).render(Renderer(make_tokenizer(), job.max_length))
    kept = {make_tokenizer().decode(one.sequences[1].answer[:-1]) for one in examples}
    assert kept == {f"{word}!" for word in WORDS[2:]}


def test_the_weight_of_a_voter_reaches_the_examples(store: Store, base: Path, tmp_path: Path) -> None:
    voted(store)
    # The third voter agrees on four of six questions: (6 * (2 * 4 / 6 - 1) + 2) / (6 + 2).
    for n, word in enumerate(WORDS):
        sides = (f"{word}a", f"{word}b") if n < 4 else (f"{word}b", f"{word}a")
        fill(store, prefer(50 + n, *sides, VOTERS[2]))
    job = job_of(snap(store, tmp_path / "snapshots"), base, tmp_path)
    examples, _ = Examples(job).render(Renderer(make_tokenizer(), job.max_length))
    assert sorted({example.weight for example in examples}) == [0.5, 1.0]


def rated(number: int, text: str, liked: bool, weight: float = 1.0) -> Pair:
    texts = (text, "") if liked else ("", text)
    return Pair(f"i{number}", "", f"f{number}", "u", "train", Text(f"q {number} "), *texts, "thumbs", weight=weight)


def test_answers_that_users_liked_or_not_weigh_the_same_in_all() -> None:
    some = [rated(n, f"a {n}", n < 6, weight=0.5 if n == 7 else 1.0) for n in range(8)]
    examples, _ = render_rated(Renderer(make_tokenizer(), 100), some)
    weights = {side: sum(one.weight for one in examples if one.desirable is side) for side in (True, False)}
    assert weights == {True: 6.0, False: pytest.approx(6.0)}
    one_sided = [Example((TokenSequence((1,), (2,)),), 0.5, desirable=True)]
    assert balanced(one_sided) == one_sided


def test_divergence_is_estimated_by_another_rows_answer_whatever_the_order_of_rows() -> None:
    some = [rated(n, f"a {n % 2}", True) for n in range(6)]
    renderer = Renderer(make_tokenizer(), 100)
    examples, _ = render_rated(renderer, some)
    assert all(one.sequences[0].prompt == one.sequences[1].prompt for one in examples)
    assert all(one.sequences[0].answer != one.sequences[1].answer for one in examples)
    assert sorted(map(repr, render_rated(renderer, some[::-1])[0])) == sorted(map(repr, examples))


def test_the_plan_of_a_snapshot_with_pairs_alone_is_dpo(store: Store, tmp_path: Path) -> None:
    voted(store)
    settings = build({"models": {"m": {"task": "generate", "retrain": RETRAIN}}}).models["m"]
    plan = plan_of(snap(store, tmp_path), settings)
    assert (plan.objective, plan.reason) == ("dpo", "The train split has 12 pairs.")


def test_the_adapter_is_in_the_folder_of_the_run(base: Path, store: Store, tmp_path: Path) -> None:
    job = job_of(snap(store, tmp_path / "snapshots"), base, tmp_path, "dpo")
    assert (job.learning_rate, job.beta, job.label_smoothing, job.unit) == (5e-3, 0.1, 0.1, "pairs")
    assert job_of(snap(store, tmp_path / "snapshots"), base, tmp_path, "sft").learning_rate == 5e-4
    assert Path(job.output) / ADAPTER == (tmp_path / "runs" / "run" / "adapter").resolve()
