"""Facts about trainings by SFT on corrections and then DPO with the same adapter, and what a kill costs."""

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.db.store import Store
from core.errors import TooFewRows
from core.model_folder import ModelFolder
from core.settings import Settings, build
from feedback.snapshot import Snapshot
from retrain.job_settings import job_of_plan, planned_steps
from retrain.lineage import notes_of, training_of
from retrain.plan import Plan, plan_of
from retrain.trainer import losses
from retrain.trainer import train as trainer
from retrain.trainer.batches import Example, order_examples, steps_of
from retrain.trainer.examples import Examples
from retrain.trainer.job import ADAPTER, JOB, REPORT, Job, Report, Step
from retrain.trainer.loop import identity_of
from retrain.trainer.process import Trainer
from retrain.trainer.rendering import Renderer
from serve.adapters.preflight import folder_hash
from tests.support.curation import user_in
from tests.support.pairs import answer, fill, prefer, snap, vote
from tests.support.tiny_models import make_tokenizer, save_base
from tests.unit.retrain.trainer.test_preference_training import RETRAIN, WORDS, answered, ratios

VOTERS = [user_in("train", n) for n in range(2)]
CORRECTED = ("tree", "leaf", "root", "bark", "twig", "seed", "moss", "fern")
# Steps of each objective: 8 corrections, and 12 preferences with 8 pairs of corrections, in batches of 4.
SFT_STEPS, DPO_STEPS = 8, 20


class Killed(Exception):
    """Raised where a test ends a training."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def settings_of(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    retrain = RETRAIN | {"min_labels": 8, "min_pairs": 12}
    model = {"task": "generate", "retrain": retrain}
    folder = str(tmp_path_factory.mktemp("data"))
    return build({"data": folder, "engine": {"dtype": "float32"}, "models": {"m": model}})


def mixed_snapshot(folder: Path, dev: bool = False) -> Snapshot:
    """A snapshot of corrections, and of preferences for the polite one of two answers. `dev`: of dev voters too."""
    store = Store(":memory:")
    fill_mixed(store, WORDS, {word: f"Draw a {word}, please." for word in CORRECTED}, VOTERS)
    if dev:
        prompts = {f"thing{n}": f"thing number {n * n + 50}" for n in range(20)}
        fill_mixed(store, [f"{w}light" for w in WORDS], prompts, [user_in("dev", n) for n in range(4)], first=1000)
    found = snap(store, folder)
    store.close()
    return found


def fill_mixed(
    store: Store, words: Sequence[str], drawn: Mapping[str, str], voters: Sequence[str], first: int = 0
) -> None:
    """Add a preference per word and voter, and a correction per prompt of what is drawn, numbered from `first`."""
    answered(store, words)
    pairs = [(f"{word}a", f"{word}b", voter) for word in words for voter in voters]
    fill(store, *(prefer(n, *pair) for n, pair in enumerate(pairs, first)))
    for n, (word, prompt) in enumerate(drawn.items()):
        fill(store, answer(word, f"No {word}.", prompt=prompt))
        fill(store, vote(first + 100 + n, word, "correction", f"Here is the {word}.", voters[n % len(voters)]))


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return mixed_snapshot(tmp_path_factory.mktemp("snapshots"))


@pytest.fixture
def make_job(settings_of: Settings, base: Path, snapshot: Snapshot, tmp_path: Path) -> Callable[..., Job]:
    def made(output: str = "run", of: Snapshot = snapshot, **more: Any) -> Job:
        model = settings_of.models["m"]
        plan = plan_of(of, model)
        job = job_of_plan(output, plan, model=model, settings=settings_of, base=ModelFolder("base", base), snapshot=of)
        folder = str(tmp_path / output)
        job = replace(job, output=folder, answers=str(tmp_path / "answers"), **more)
        job.write()
        return job

    return made


@pytest.fixture(scope="module")
def undisturbed(settings_of: Settings, base: Path, snapshot: Snapshot, tmp_path_factory: Any) -> tuple[str, list[Step]]:
    """The hash of the adapter of a training that nothing ends, and its steps."""
    model = settings_of.models["m"]
    job = job_of_plan(
        "run",
        plan_of(snapshot, model),
        model=model,
        settings=settings_of,
        base=ModelFolder("base", base),
        snapshot=snapshot,
    )
    return trained(replace(job, output=str(tmp_path_factory.mktemp("undisturbed"))))


def trained(job: Job) -> tuple[str, list[Step]]:
    steps: list[Step] = []
    trainer.train(job, steps.append)
    return folder_hash(Path(job.output) / ADAPTER), steps


def report_of(job: Job) -> Report:
    found = Report.read(Path(job.output) / REPORT)
    assert found
    return found


def rendered(job: Job) -> tuple[list[Example], list[Example]]:
    """The examples of both objectives."""
    first, second = (Examples(one).render(Renderer(make_tokenizer(), job.max_length))[0] for one in job.in_order)
    return first, second


def test_a_snapshot_of_both_is_planned_as_sft_and_then_dpo(snapshot: Snapshot, settings_of: Settings) -> None:
    found = plan_of(snapshot, settings_of.models["m"])
    assert (found.objective, found.then) == ("sft", "dpo")
    assert found.reason == ("The train split has 8 corrections. DPO follows SFT on 20 pairs, 12 of them preferences.")


def test_one_training_learns_corrections_and_then_preferences(make_job: Callable[..., Job], base: Path) -> None:
    job = make_job()
    _, steps = trained(job)
    objectives = [step.metrics["objective"] for step in steps]
    assert objectives == ["SFT"] * SFT_STEPS + ["DPO"] * DPO_STEPS
    assert [(step.done, step.total) for step in steps] == [(n, 28) for n in range(1, 29)]
    corrections, pairs = rendered(job)
    gains = ratios(base, Path(job.output) / ADAPTER, pairs)
    assert (gains[:, 0] > gains[:, 1]).all()
    assert len(corrections) == 8
    report = report_of(job)
    assert (report.rows, report.then) == (8, {"rows": 20, "left_out": {}, "dev": None})


def test_the_second_objective_begins_with_the_adapter_of_the_first_and_its_reference_is_the_base(
    make_job: Callable[..., Job], base: Path
) -> None:
    both, alone = make_job("both"), make_job("alone", then=None)
    _, steps = trained(both)
    trained(alone)
    _, pairs = rendered(both)
    # The first step of DPO has a loss by what SFT alone made of its pairs, in log-ratios to the base model.
    second = both.in_order[1]
    ordered = order_examples(pairs, second.seed)
    batch = [ordered[n] for n in steps_of(second, len(ordered))[0]]
    weights = torch.tensor([one.weight for one in batch])
    found = ratios(base, Path(alone.output) / ADAPTER, batch)
    terms = losses.dpo_terms(found, weights, float(weights.sum()), beta=second.beta, smoothing=second.label_smoothing)
    assert steps[SFT_STEPS].metrics["loss"] == pytest.approx(float(terms.sum()), rel=1e-4)
    assert found.abs().min() > 0.01  # the adapter of SFT is not the base model


def test_the_first_objective_is_the_training_without_a_second(make_job: Callable[..., Job]) -> None:
    both, alone = make_job("both"), make_job("alone", then=None)
    (_, steps), (_, plain) = trained(both), trained(alone)
    assert [step.metrics["loss"] for step in steps[:SFT_STEPS]] == [step.metrics["loss"] for step in plain]
    assert {step.metrics.get("objective") for step in plain} == {None}
    assert report_of(alone).then is None


@pytest.mark.parametrize("after", [1, SFT_STEPS - 1, SFT_STEPS, SFT_STEPS + 1, SFT_STEPS + DPO_STEPS - 1])
def test_a_training_that_continues_with_either_objective_gives_the_same_adapter(
    make_job: Callable[..., Job], undisturbed: tuple[str, list[Step]], after: int
) -> None:
    job = make_job("killed", checkpoint_s=0.0)

    def report(step: Step) -> None:
        if step.done == after + 1:
            raise Killed

    with pytest.raises(Killed):
        trainer.train(job, report)
    torch.manual_seed(99)
    adapter, steps = trained(job)
    assert steps[0].done == after + 1
    assert adapter == undisturbed[0]
    expected = [step.metrics["loss"] for step in undisturbed[1]]
    assert [step.metrics["loss"] for step in steps] == expected[after:]


@pytest.mark.parametrize("at", [5, SFT_STEPS + 9])
def test_a_trainer_that_is_killed_at_either_objective_continues_with_the_same_adapter(
    make_job: Callable[..., Job], undisturbed: tuple[str, list[Step]], at: int
) -> None:
    job = make_job("killed", checkpoint_s=0.0)
    process, killed = Trainer(), threading.Event()

    def report(step: Step) -> None:
        if step.done == at and not killed.is_set():
            killed.set()
            os.kill(process.pid, signal.SIGKILL)

    assert folder_hash(process.run(job, report)) == undisturbed[0]
    assert killed.is_set()


@pytest.mark.parametrize("at", [5, SFT_STEPS, SFT_STEPS + 9])
def test_a_pause_ends_a_training_after_its_step_also_between_the_objectives(
    make_job: Callable[..., Job], undisturbed: tuple[str, list[Step]], at: int
) -> None:
    job, seen = make_job("paused"), []

    def report(step: Step) -> None:
        seen.append(step.done)
        if step.done == at:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        trainer.train(job, report)
    assert seen[-1] == at
    adapter, steps = trained(job)
    assert (steps[0].done, adapter) == (at + 1, undisturbed[0])


def test_without_a_checkpoint_in_the_second_objective_the_first_is_not_repeated(
    make_job: Callable[..., Job], undisturbed: tuple[str, list[Step]]
) -> None:
    job = make_job("killed", checkpoint_s=3600.0)

    def report(step: Step) -> None:
        if step.done == SFT_STEPS + 3:
            raise Killed

    with pytest.raises(Killed):
        trainer.train(job, report)
    adapter, steps = trained(job)
    assert steps[0].done == SFT_STEPS + 1
    assert adapter == undisturbed[0]


def test_a_second_objective_belongs_to_the_rows_of_the_first(make_job: Callable[..., Job], snapshot: Snapshot) -> None:
    first, second = make_job().in_order
    corrections, pairs = rendered(make_job())
    before = identity_of(first, corrections)
    other = identity_of(first, corrections[1:])
    assert identity_of(second, pairs, (), before) != identity_of(second, pairs, (), other)
    assert identity_of(second, pairs, (), "") == identity_of(second, pairs)


def test_a_checkpoint_of_sft_alone_continues_in_a_job_with_two_objectives(make_job: Callable[..., Job]) -> None:
    job = make_job()
    assert identity_of(job, []) == identity_of(replace(job, then=None), [])


def test_the_dev_report_of_the_first_objective_survives_a_kill_in_the_second(
    make_job: Callable[..., Job], settings_of: Settings, tmp_path: Path
) -> None:
    mixed = mixed_snapshot(tmp_path / "snapshots", dev=True)
    kept, job = (make_job(name, mixed, dev_steps=4, checkpoint_s=0.0) for name in ("kept", "killed"))
    expected, _ = trained(kept)

    def report(step: Step) -> None:
        if step.metrics["objective"] == "DPO" and step.done == step.total - 2:
            raise Killed

    with pytest.raises(Killed):
        trainer.train(job, report)
    assert trained(job)[0] == expected
    found, then = report_of(job), report_of(job).then
    assert found.dev and then and then["dev"]
    assert (found.dev, then) == (report_of(kept).dev, report_of(kept).then)
    assert found.dev["rows"] == 20 and then["dev"]["rows"] == 20 + 24


def test_too_few_pairs_that_can_be_trained_on_leave_out_the_second_objective(
    make_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job()
    assert job.then
    job = replace(job, then=replace(job.then, min_rows=21))
    _, steps = trained(job)
    why = "No DPO followed: 20 pairs of the train split can be trained on; 21 are needed."
    assert why in capsys.readouterr().out
    assert len(steps) == SFT_STEPS and "objective" not in steps[0].metrics
    assert report_of(job).then == {"skipped": why}
    made = training_of(job, Plan("sft", "Why.", "dpo"))
    assert made["training"]["then"]["skipped"] == why
    assert notes_of(made)["stopped"] == why


def test_too_few_corrections_end_the_run_as_without_a_second_objective(make_job: Callable[..., Job]) -> None:
    with pytest.raises(TooFewRows, match=r"^8 rows of the train split can be trained on; 9 are needed\.$"):
        trained(make_job(min_rows=9))


def test_the_ledger_has_settings_and_rows_of_both_objectives(make_job: Callable[..., Job]) -> None:
    job = make_job()
    trained(job)
    training = training_of(job, Plan("sft", "Why.", "dpo"))["training"]
    assert (training["objective"], training["rows"], training["learning_rate"]) == ("sft", 8, 5e-4)
    assert training["then"] == {
        "objective": "dpo",
        "epochs": 4.0,
        "learning_rate": 5e-3,
        "label_smoothing": 0.1,
        "min_rows": 12,
        "min_steps": 1,
        "rows": 20,
        "left_out": {},
        "dev": None,
    }
    assert training["because"] == "Why."
    json.dumps(training)
    assert "then" not in training_of(replace(job, then=None, output="gone"), Plan("sft", "Why."))["training"]


def test_what_ended_each_objective_is_noted() -> None:
    training = {"dev": {"reason": "Ended at 8."}, "then": {"dev": {"reason": "Stopped at 20."}}}
    assert notes_of({"training": training})["stopped"] == "SFT: Ended at 8. DPO: Stopped at 20."
    assert notes_of({"training": {"dev": {"reason": "Ended at 8."}}})["stopped"] == "Ended at 8."
    assert notes_of({"training": {"dev": None, "then": {"dev": None}}}) == {}


def test_a_job_with_two_objectives_survives_its_file(make_job: Callable[..., Job]) -> None:
    job = make_job()
    assert Job.read(Path(job.output) / JOB) == job
    first, second = job.in_order
    assert (first.objective, first.then, first.label_smoothing) == ("sft", None, 0.0)
    assert (second.objective, second.then, second.label_smoothing) == ("dpo", None, 0.1)
    assert (second.learning_rate, second.beta, second.rank) == (5e-3, 0.1, first.rank)
    assert replace(job, then=None).in_order == (first,)


def test_the_steps_of_both_objectives_are_planned(make_job: Callable[..., Job], snapshot: Snapshot) -> None:
    assert planned_steps(make_job(), snapshot) == {"sft": SFT_STEPS, "dpo": DPO_STEPS}
    assert planned_steps(make_job(then=None), snapshot) == {"sft": SFT_STEPS}
