"""Facts about a whole training: deterministic, resumable, and readable by PEFT."""

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from core.errors import TooFewRows, TrainingFailed
from core.prompts import Chat, Prompt, Text, to_json
from feedback.snapshot import SCHEMA, Report, Row
from feedback.snapshot_files import MODEL, Tables, content_hash, write_files
from retrain.trainer import train as trainer
from retrain.trainer.job import ADAPTER, REPORT, Job, Step
from retrain.trainer.job import Report as TrainingReport
from retrain.trainer.process import Trainer
from serve.adapters.preflight import folder_hash, preflight
from tests.support.tiny_models import FAMILIES, NARROW, NO_SYSTEM, save_base

ROWS = 24
# Enough for a training that is still under way when a signal arrives.
LONG = 20.0


class Killed(Exception):
    """Raised where a test ends a training."""


def row(number: int, prompt: Prompt, label: str, **more: Any) -> Row:
    return Row(f"i{number}", f"f{number}", "u", more.pop("bucket", "train"), prompt, label, **more)


def rows_of(count: int, named: str = "f") -> list[Row]:
    """Rows with an instruction that they share."""
    made = [
        row(n, Chat((("user", f"rate {n % 5} {'x' * (n % 7)}"),)), ("good", "bad")[n % 2], weight=1 - n % 3 / 4)
        for n in range(count)
    ]
    return [replace(one, feedback_id=f"{named}{n}") for n, one in enumerate(made)]


def snapshot(folder: Path, rows: list[Row]) -> Path:
    table = pa.Table.from_pylist(
        [{name: getattr(one, name) for name in SCHEMA.names} | {"prompt": to_json(one.prompt)} for one in rows], SCHEMA
    ).replace_schema_metadata({MODEL: b"reviews"})
    target = folder / content_hash(table)
    write_files(Tables(table), asdict(Report({}, {}, {}, {}, {}, {})), target)
    return target


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


def job_in(folder: Path, output: str = "run", rows: list[Row] | None = None, **more: Any) -> Job:
    values: dict[str, Any] = {
        "run_id": output,
        "snapshot": str(snapshot(folder, rows_of(ROWS) if rows is None else rows)),
        "output": str(folder / output),
        "rank": 4,
        "epochs": 3.0,
        "batch_size": 4,
        "learning_rate": 1e-2,
        "max_rows": None,
        "max_length": 100,
        "seed": 0,
        "threads": 1,
        "dtype": "float32",
    }
    job = Job(**values | more)
    job.write()
    return job


@pytest.fixture
def make_job(base: Path, tmp_path: Path) -> Callable[..., Job]:
    return partial(job_in, tmp_path, base=str(base))


@pytest.fixture(scope="module")
def undisturbed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the adapter that LONG epochs make when nothing ends them."""
    return trained(job_in(tmp_path_factory.mktemp("undisturbed"), base=str(base), epochs=LONG))[0]


def trained(job: Job) -> tuple[str, list[Step]]:
    steps: list[Step] = []
    trainer.train(job, steps.append)
    return folder_hash(Path(job.output) / ADAPTER), steps


def test_the_same_rows_settings_and_seed_give_the_same_adapter(make_job: Callable[..., Job]):
    first, steps = trained(make_job("a"))
    again, _ = trained(make_job("b", rows=rows_of(ROWS, "other ids ")[::-1]))
    other, _ = trained(make_job("c", seed=1))
    assert first == again != other
    assert [step.done for step in steps] == list(range(1, 19))
    assert steps[-1].metrics["loss"] < steps[0].metrics["loss"] - 1
    assert {"tokens_per_s", "seconds_left", "memory_gb"} <= steps[-1].metrics.keys()


@pytest.mark.parametrize("after", [1, 7, 17])
def test_a_training_that_continues_from_a_checkpoint_gives_the_same_adapter(make_job: Callable[..., Job], after: int):
    undisturbed, _ = trained(make_job("undisturbed"))
    job = make_job("killed", checkpoint_s=0.0)

    def report(step: Step) -> None:
        if step.done == after + 1:
            raise Killed

    with pytest.raises(Killed):
        trainer.train(job, report)
    torch.manual_seed(99)
    continued, steps = trained(job)
    assert steps[0].done == after + 1
    assert continued == undisturbed


def test_a_trainer_that_is_killed_continues_with_the_same_adapter(make_job: Callable[..., Job], undisturbed: str):
    job = make_job("killed", epochs=LONG, checkpoint_s=0.0)
    process, killed = Trainer(), threading.Event()

    def report(step: Step) -> None:
        if step.done == 50 and not killed.is_set():
            killed.set()
            os.kill(process.pid, signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "7")
        assert folder_hash(process.run(job, report)) == undisturbed
    assert killed.is_set()


def test_a_trainer_that_is_killed_without_a_new_checkpoint_has_failed(make_job: Callable[..., Job]):
    process = Trainer()
    with pytest.raises(TrainingFailed, match="most likely for want of memory"):
        process.run(make_job(epochs=LONG), lambda step: os.kill(process.pid, signal.SIGKILL))


@pytest.mark.parametrize("after", [0, 50])
def test_a_trainer_that_is_paused_ends_after_its_step_and_continues_with_the_same_adapter(
    make_job: Callable[..., Job], undisturbed: str, after: int
):
    job, process, seen = make_job("paused", epochs=LONG), Trainer(), []

    def report(step: Step) -> None:
        seen.append(step.done)
        if step.done == after:
            process.interrupt("another run", save=False)
            process.interrupt("paused", save=True)

    if after == 0:  # before its first step, while it loads the model
        threading.Timer(0.2, lambda: process.interrupt("paused", save=True)).start()
    with pytest.raises(TrainingFailed, match="was stopped before its end"):
        process.run(job, report)
    assert not (Path(job.output) / ADAPTER).exists()
    last = max(seen, default=0)
    assert last < 120
    seen.clear()
    assert folder_hash(process.run(job, lambda step: seen.append(step.done))) == undisturbed
    assert seen[0] == last + 1


def test_a_trainer_that_is_cancelled_ends_at_once(make_job: Callable[..., Job]):
    process, seen = Trainer(), []

    def report(step: Step) -> None:
        seen.append(step.done)
        process.interrupt("run", save=False)

    with pytest.raises(TrainingFailed, match="was stopped before its end"):
        process.run(make_job(epochs=LONG, checkpoint_s=0.0), report)
    assert seen[-1] < 120


def test_an_error_while_progress_is_recorded_ends_the_process(make_job: Callable[..., Job]):
    process = Trainer()
    pids = []

    def report(step: Step) -> None:
        pids.append(process.pid)
        raise Killed

    with pytest.raises(Killed):
        process.run(make_job(epochs=LONG), report)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_the_process_says_that_too_few_rows_can_be_trained_on(make_job: Callable[..., Job]):
    with pytest.raises(TooFewRows, match=r"^24 rows of the train split can be trained on; 25 are needed"):
        Trainer().run(make_job(min_rows=25), lambda _: None)


def test_a_checkpoint_of_other_rows_or_settings_is_not_used(make_job: Callable[..., Job]):
    expected, _ = trained(make_job("a", seed=3))
    job = make_job("b", checkpoint_s=0.0)
    trained(job)
    changed = replace(job, seed=3)
    found, steps = trained(changed)
    assert steps[0].done == 1
    assert found == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_and_its_adapter_passes_preflight(
    family: str, make_job: Callable[..., Job], tmp_path: Path
):
    folder = save_base(tmp_path / "model", FAMILIES[family])
    job = make_job(base=str(folder))
    _, steps = trained(job)
    assert steps[-1].metrics["loss"] < steps[0].metrics["loss"]
    adapter = Path(job.output) / ADAPTER
    assert preflight(adapter, base=folder, max_rank=16).rank == 4
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), str(adapter))
    assert sum(float(p.abs().sum()) for name, p in model.named_parameters() if "lora_B" in name) > 0
    report = TrainingReport.read(Path(job.output) / REPORT)
    assert report and report.forgetting and report.forgetting["value"] > 0
    assert replace(report, forgetting=None) == TrainingReport(ROWS, {}, True)


def test_a_base_that_cannot_take_trees_trains_padded_and_says_why(
    make_job: Callable[..., Job], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    job = make_job(base=str(save_base(tmp_path / "model", NARROW)))
    _, steps = trained(job)
    assert steps[-1].metrics["loss"] < steps[0].metrics["loss"]
    assert "Rows are padded, without prefix trees: rows have up to" in capsys.readouterr().out
    report = TrainingReport.read(Path(job.output) / REPORT)
    assert report is not None and not report.prefix_trees


def test_rows_that_cannot_be_trained_on_are_left_out_and_counted(make_job: Callable[..., Job], tmp_path: Path):
    folder = save_base(tmp_path / "model", FAMILIES["gemma"], NO_SYSTEM)
    rows = [
        *rows_of(8),
        row(90, Chat((("system", "be kind"), ("user", "hi"))), "good"),
        row(91, Text("x" * 200), "good"),
        row(92, Text("question"), " "),
        row(93, Text("judges only"), "good", bucket="h1"),
    ]
    job = make_job(base=str(folder), rows=rows)
    trained(job)
    report = json.loads((Path(job.output) / REPORT).read_text())
    assert report["rows"] == 8
    assert report["left_out"] == {
        "refused by the base model's chat template": 1,
        "longer than retrain.max_length": 1,
        "its answer is empty": 1,
    }


def test_too_few_rows_that_can_be_trained_on_are_a_failure_with_the_reason(make_job: Callable[..., Job]):
    with pytest.raises(TooFewRows, match=r"^0 rows .* 1 are needed \(left out: 24 longer than retrain.max_length\)"):
        trained(make_job(max_length=20))


def test_a_loss_that_is_no_number_is_a_failure(make_job: Callable[..., Job]):
    with pytest.raises(TrainingFailed, match="The loss of step"):
        trained(make_job(learning_rate=float("1e30")))


def test_a_row_of_weight_0_teaches_nothing(make_job: Callable[..., Job]):
    rows = [replace(one, weight=1.0) for one in rows_of(8)]
    wrong = [row(50 + n, Chat((("user", "rate"),)), "bad", weight=0.0) for n in range(8)]
    job = make_job(rows=rows + wrong, batch_size=16, epochs=1.0)
    alone = make_job("alone", rows=rows, batch_size=16, epochs=1.0)
    (_, found), (_, expected) = trained(job), trained(alone)
    assert found[0].metrics["loss"] == pytest.approx(expected[0].metrics["loss"], abs=1e-5)
