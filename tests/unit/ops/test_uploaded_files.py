"""Facts about uploaded files on disk, and about jobs that a stopped control left."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.clock import utc_now
from core.db import fine_tuning, runs
from core.errors import NotFound
from ops.fine_tuning.files import UploadedFiles
from ops.fine_tuning.jobs import FineTuningJobs
from ops.fine_tuning.request import JobRequest
from tests.support.fine_tuning import FineTuning, lines, supervised


@pytest.fixture
def place(tmp_path: Path) -> Iterator[FineTuning]:
    """A control that is not started: no thread works."""
    made = FineTuning(tmp_path)
    made.control.promotion.sync_models(["reviews", "replies"])
    made.trainer.go.set()
    yield made
    made.control.scheduler._runs.shutdown(wait=True)
    made.control.store.close()


@pytest.fixture
def files(place: FineTuning) -> UploadedFiles:
    return UploadedFiles(store=place.control.store, data=place.control.settings.data, clock=utc_now)


def kept(files: UploadedFiles, rows: list[object]) -> str:
    return str(files.keep(io.BytesIO(lines(rows)), name="t.jsonl", model=None, actor="me")["id"])


def test_an_erased_user_is_in_no_file(files: UploadedFiles) -> None:
    rows = supervised(12)
    file, alone = kept(files, rows), kept(files, [rows[3], rows[3] | {"user": None, "user_id": "u3"}])
    files.erase_user("u3")
    assert files.path(file).read_bytes() == lines([row for row in rows if row["user"] != "u3"])
    assert files.find(file)["bytes"] == files.path(file).stat().st_size
    with pytest.raises(NotFound):
        files.find(alone)
    assert not files.path(alone).exists()


def test_what_a_killed_control_left_is_deleted_at_the_next_start(files: UploadedFiles) -> None:
    file = kept(files, supervised(2))
    orphan = files.path("file-orphan")
    orphan.write_bytes(b"{}")
    orphan.with_suffix(".part").write_bytes(b"{")
    files.clean()
    assert [*orphan.parent.iterdir()] == [files.path(file)]


def test_a_job_continues_after_control_stopped_and_starts_one_run(
    place: FineTuning, files: UploadedFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = place.control.store
    job = FineTuningJobs(place.control).create(
        JobRequest(model="reviews", training_file=kept(files, supervised())), "me"
    )
    with monkeypatch.context() as killed:
        killed.setattr(fine_tuning, "set_run", lambda *_, **__: None)  # killed before it was recorded
        FineTuningJobs(place.control).advance()
    again = FineTuningJobs(place.control)
    assert again.find(job.row["id"]).run is None
    again.advance()
    found = again.find(job.row["id"])
    assert found.run and [run["id"] for run in runs.newest(store, model="reviews", limit=9)] == [found.run["id"]]
    assert found.run["detail"]["settings"]["retrain"]["objective"] == "sft"


def test_a_job_whose_file_was_deleted_fails_and_says_so(place: FineTuning, files: UploadedFiles) -> None:
    jobs = FineTuningJobs(place.control)
    file = kept(files, supervised())
    job = jobs.create(JobRequest(model="reviews", training_file=file), "me")
    files.delete(file)
    jobs.advance()
    found = jobs.find(job.row["id"]).row
    assert found["state"] == "failed" and file in found["error"]["message"]


def test_a_file_without_its_content_is_not_found(files: UploadedFiles) -> None:
    file = kept(files, supervised(2))
    files.path(file).unlink()  # as after a restore
    with pytest.raises(NotFound, match="Upload the file again"):
        files.content(file)
