"""Facts about fine-tuning jobs by OpenAI's API, requested by the official client from a running control."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from core.api_keys import Scope
from core.db import decisions, feedback, interactions
from core.errors import InputError
from core.settings import ModelSettings
from ops.fine_tuning.request import Hyperparameters, JobRequest, settings_of_job
from tests.support.fine_tuning import (
    ACTS,
    ALL,
    READS,
    FineTuning,
    lines,
    preferences,
    reaches,
    supervised,
    tuning,
    upload,
)
from tests.support.wait import wait_until


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FineTuning]:
    with tuning(Path(tmp_path_factory.mktemp("tuning"))) as found:
        yield found


def test_a_script_written_for_openai_trains_pauses_and_gets_a_version(tmp_path: Path) -> None:
    with tuning(tmp_path) as place:
        client = place.client()
        file = client.files.create(file=("train.jsonl", lines(supervised())), purpose="fine-tune")
        assert (file.filename, file.status, file.purpose) == ("train.jsonl", "processed", "fine-tune")
        assert client.files.wait_for_processing(file.id).bytes == len(lines(supervised()))
        job = client.fine_tuning.jobs.create(
            model="reviews",
            training_file=file.id,
            method={
                "type": "supervised",
                "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5}},
            },
            seed=7,
            suffix="autumn",
            metadata={"team": "shop", "promote": "gate"},
        )
        assert job.object == "fine_tuning.job" and job.status == "validating_files" and job.fine_tuned_model is None
        reaches(client, job.id, "running")
        wait_until(lambda: place.trainer.jobs != [])
        assert client.fine_tuning.jobs.pause(job.id).status == "paused"
        assert client.fine_tuning.jobs.resume(job.id).id == job.id
        wait_until(lambda: len(place.trainer.jobs) == 2)
        place.trainer.go.set()
        done = reaches(client, job.id, "succeeded", "failed")
        assert (done.status, done.fine_tuned_model, done.seed) == ("succeeded", "reviews@1", 7)
        assert done.metadata == {"team": "shop", "promote": "gate"} and done.error is None and done.finished_at
        wait_until(lambda: place.control.promotion.route("reviews").champion == 1)
        asked = place.trainer.jobs[-1]
        assert (asked.objective, asked.epochs, asked.batch_size, asked.seed, asked.min_steps) == ("sft", 2.0, 4, 7, 1)
        assert asked.learning_rate == pytest.approx(0.5 * 5e-4)
        run = client.fine_tuning.jobs.retrieve(job.id).loraloop["run_id"]  # type: ignore[attr-defined]
        started = httpx.get(f"{place.url}/api/runs/{run}", headers={"Authorization": f"Bearer {client.api_key}"}).json()
        assert started["comment"] == "autumn" and started["actor"].startswith("tuner (key ")
        messages = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=5)]
        assert len(messages) > 5 and messages[-1] == f"Created fine-tuning job: {job.id}"  # over several pages
        assert "New fine-tuned model created: reviews@1" in messages
        assert "Step 2/2: training loss=0.40, validation loss=0.60" in messages
        assert any("paused by tuner" in message for message in messages)
        (kept,) = client.fine_tuning.jobs.checkpoints.list(job.id)
        assert (kept.step_number, kept.fine_tuned_model_checkpoint, kept.metrics.valid_loss) == (2, "reviews@1", 0.6)
        assert client.files.content(file.id).read() == lines(supervised())
        assert client.files.delete(file.id).deleted and [*client.files.list()] == []
        assert not [*(tmp_path / "files").iterdir()]
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(file.id)


def test_a_job_whose_candidate_fails_the_gate_has_a_version_that_serves_nobody(tmp_path: Path) -> None:
    with tuning(tmp_path, gain=-0.2) as place:
        client = place.client()
        place.trainer.go.set()
        job = client.fine_tuning.jobs.create(model="reviews", training_file=upload(client, supervised()))
        done = reaches(client, job.id, "succeeded", "failed")
        assert (done.status, done.fine_tuned_model) == ("succeeded", "reviews@1")
        assert place.control.promotion.route("reviews").champion == 0
        assert decisions.chain(place.control.store)[-1]["verdict"] == "kept"


def test_preferences_train_by_dpo_and_a_cancelled_job_changes_nothing(tmp_path: Path) -> None:
    with tuning(tmp_path) as place:
        client = place.client()
        job = client.fine_tuning.jobs.create(
            model="replies",
            training_file=upload(client, preferences()),
            method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3, "n_epochs": "auto"}}},
        )
        reaches(client, job.id, "running")
        wait_until(lambda: place.trainer.jobs != [])
        assert (place.trainer.jobs[0].objective, place.trainer.jobs[0].beta) == ("dpo", 0.3)
        assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
        assert reaches(client, job.id, "cancelled").fine_tuned_model is None
        assert place.control.promotion.route("replies").champion == 0
        with pytest.raises(openai.ConflictError):
            client.fine_tuning.jobs.cancel(job.id)


def test_a_job_waits_until_the_run_before_it_has_ended(tmp_path: Path) -> None:
    with tuning(tmp_path) as place:
        client = place.client()
        file = upload(client, supervised())
        first = client.fine_tuning.jobs.create(model="reviews", training_file=file)
        reaches(client, first.id, "running")
        second = client.fine_tuning.jobs.create(model="reviews", training_file=file, seed=3)
        reaches(client, second.id, "queued")
        third = client.fine_tuning.jobs.create(model="reviews", training_file=file, metadata={"n": "3"})
        assert client.fine_tuning.jobs.cancel(third.id).status == "cancelled"  # before it has a run
        place.trainer.go.set()
        assert reaches(client, second.id, "succeeded", "failed").fine_tuned_model == "reviews@2"
        votes = feedback.total(place.control.store)
        assert votes == 60  # the same examples are not added twice
        assert [job.id for job in client.fine_tuning.jobs.list(limit=1)] == [third.id, second.id, first.id]
        assert [job.id for job in client.fine_tuning.jobs.list(metadata={"n": "3"})] == [third.id]


def test_a_file_that_does_not_fit_the_model_fails_its_job_with_line_and_field(place: FineTuning) -> None:
    client = place.client()
    rows = supervised()
    rows[41]["messages"][-1]["content"] = "sideways"
    job = client.fine_tuning.jobs.create(model="reviews", training_file=upload(client, rows))
    failed = reaches(client, job.id, "failed")
    assert failed.error and failed.error.code == "invalid_training_file" and failed.error.param == "training_file"
    assert "line 42: messages: 'sideways' is not a label of reviews." in failed.error.message
    assert interactions.total(place.control.store) == 0
    (event, *_) = client.fine_tuning.jobs.list_events(job.id)
    assert event.level == "error" and "line 42" in event.message


@pytest.mark.parametrize(
    ("model", "rows", "method", "words"),
    [
        ("reviews", supervised(9), {}, "9 examples; a job needs 10"),
        ("replies", supervised(), {"method": {"type": "dpo"}}, "needs input, preferred_output"),
        ("replies", preferences(), {}, "needs messages"),
    ],
)
def test_a_file_that_does_not_fit_the_method_fails_its_job(
    place: FineTuning, model: str, rows: list[Any], method: Any, words: str
) -> None:
    client = place.client()
    job = client.fine_tuning.jobs.create(model=model, training_file=upload(client, rows), **method)
    error = reaches(client, job.id, "failed").error
    assert error and words in error.message


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"method": {"type": "reinforcement"}}, "method.type"),
        ({"method": {"type": "dpo"}}, "method.type"),  # of a model that classifies
        ({"method": {"type": "supervised", "dpo": {}}}, "dpo does not belong"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"learning_rate_multiplier": 0}}, "hyperparameters.learning_rate_multiplier"),
        ({"hyperparameters": {"epochs": 3}}, "hyperparameters.epochs"),
        ({"validation_file": "file-1"}, "validation_file"),
        ({"integrations": [{"type": "wandb"}]}, "integrations"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"metadata": {"promote": "now"}}, "promote takes gate"),
        ({"metadata": {f"k{n}": "v" for n in range(17)}}, "metadata"),
        ({"priority": 1}, "priority"),
        ({"model": "poems"}, "poems"),
        ({"training_file": "file-none"}, "file-none"),
    ],
)
def test_what_a_job_cannot_do_is_refused_by_its_field(place: FineTuning, changes: Any, field: str) -> None:
    client = place.client()
    body = {"model": "reviews", "training_file": upload(client, supervised(10))} | changes
    answer = httpx.post(
        f"{place.url}/v1/fine_tuning/jobs", json=body, headers={"Authorization": f"Bearer {client.api_key}"}
    )
    assert answer.status_code in (404, 422) and field in answer.json()["error"]["message"], answer.text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has no example"),
        (b"{}\n", "line 1: has neither messages nor preferred_output"),
        (lines(supervised(2)) + b"{nonsense}\n[1]\n", "line 3: is not JSON"),
        (lines([{"messages": [{"role": "user", "content": "x"}]}]), "line 1: messages"),
        (lines([{"messages": [{"content": "x"}, {"role": "assistant", "content": "a"}]}]), "messages.0"),
        (lines([preferences(1)[0] | {"non_preferred_output": None}]), "line 1: non_preferred_output"),
        (b"\xff\xfe\x00" * 9, "is not JSON"),
        (b'{"messages": ' + b"[" * 100_000, "is not JSON"),
        (b" " * 5_000_000, "is longer than"),
    ],
)
def test_a_file_with_a_wrong_line_is_refused_with_line_and_field(place: FineTuning, content: bytes, words: str) -> None:
    client = place.client()
    before = {path.name for path in place.control.settings.data.glob("files/*")}
    with pytest.raises(openai.UnprocessableEntityError, match=words):
        client.files.create(file=("train.jsonl", content), purpose="fine-tune")
    assert {path.name for path in place.control.settings.data.glob("files/*")} == before


def test_an_upload_that_is_no_file_for_fine_tuning_is_refused(place: FineTuning) -> None:
    client = place.client()
    with pytest.raises(openai.UnprocessableEntityError, match="purpose"):
        client.files.create(file=("train.jsonl", lines(supervised(1))), purpose="batch")
    with pytest.raises(openai.UnprocessableEntityError, match="expires_after"):
        client.files.create(
            file=("train.jsonl", lines(supervised(1))),
            purpose="fine-tune",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
    asked = {"headers": {"Authorization": f"Bearer {client.api_key}"}, "timeout": 60}
    for how in ({"json": {"file": "x"}}, {"data": {"purpose": "fine-tune"}, "files": {"other": b"x"}}):
        assert httpx.post(f"{place.url}/v1/files", **asked, **how).status_code == 422  # type: ignore[arg-type]


def test_a_job_that_names_a_value_does_not_search_for_it() -> None:
    settings = ModelSettings.model_validate({"labels": ["a", "b"], "retrain": {"search": "auto"}})
    for asked, mode in ((Hyperparameters(), "auto"), (Hyperparameters(n_epochs=2), "off")):
        found = settings_of_job(JobRequest(model="m", training_file="f", hyperparameters=asked), settings)
        assert found.retrain.search.mode == mode


def test_a_learning_rate_above_its_range_is_refused() -> None:
    settings = ModelSettings.model_validate({"labels": ["a", "b"], "retrain": {"learning_rate": 0.05}})
    asked = JobRequest(model="m", training_file="f", hyperparameters=Hyperparameters(learning_rate_multiplier=50))
    with pytest.raises(InputError, match=r"gives retrain\.learning_rate"):
        settings_of_job(asked, settings)


def test_a_file_above_the_limit_is_refused(place: FineTuning, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = place.control.settings
    small = settings.control.model_copy(update={"max_import_bytes": 2000})
    monkeypatch.setattr(place.control, "settings", settings.model_copy(update={"control": small}))
    with pytest.raises(openai.APIStatusError, match="larger than 2000 bytes") as refused:
        upload(place.client(), supervised(100))
    assert refused.value.status_code == 413


def test_a_key_limited_to_a_model_uses_its_own_files_and_jobs_alone(place: FineTuning) -> None:
    everybody = place.client()
    mine = place.client(ALL, ("reviews",), default_query={"model": "reviews"})
    file = upload(mine, supervised(12))
    assert [found.id for found in mine.files.list()] == [file]
    job = mine.fine_tuning.jobs.create(model="reviews", training_file=file)
    mine.fine_tuning.jobs.cancel(job.id)
    shared = upload(everybody, supervised(12))
    other = everybody.fine_tuning.jobs.create(model="replies", training_file=shared)
    everybody.fine_tuning.jobs.cancel(other.id)
    for refused in (
        lambda: mine.files.retrieve(shared),
        lambda: mine.fine_tuning.jobs.retrieve(other.id),
        lambda: mine.fine_tuning.jobs.create(model="reviews", training_file=shared),
        lambda: mine.files.list(extra_query={"model": "replies"}),
        place.client(ALL, ("reviews",)).files.list,
    ):
        with pytest.raises(openai.PermissionDeniedError):
            refused()
    with pytest.raises(openai.UnprocessableEntityError, match="replies"):
        mine.fine_tuning.jobs.create(model="replies", training_file=file)
    with pytest.raises(openai.UnprocessableEntityError, match="was uploaded for reviews"):
        everybody.fine_tuning.jobs.create(model="replies", training_file=file)


def test_a_key_that_reads_cannot_upload_and_one_that_acts_cannot_read_content(place: FineTuning) -> None:
    file = upload(place.client(), supervised(10))
    reader, actor = place.client(READS), place.client(ACTS)
    assert reader.files.retrieve(file).id == file
    with pytest.raises(openai.PermissionDeniedError, match=str(Scope.OPS_WRITE)):
        upload(reader, supervised(10))
    with pytest.raises(openai.PermissionDeniedError, match=str(Scope.ADMIN)):
        actor.files.content(file)
