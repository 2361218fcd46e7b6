"""Facts about what `rollback`, `canary stop` and `reject` say before they act: whose votes go to quarantine."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from core.clock import utc_now
from core.db import quarantines
from core.errors import AlreadyDone, NotFound, NotReady
from core.records import Feedback
from feedback.ingest import add
from serve.engines.fake import running
from tests.support.canary import control_with_canary
from tests.support.command_line import loraloop
from tests.support.ingest import asked
from tests.support.running_control import RunningControl

BURST = "Held are the votes of eve: 12 votes against it in ten minutes, where half of the voters gave 1. They are in"


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    yield from control_with_canary(tmp_path, monkeypatch)


def flooded(control: RunningControl, version: int) -> None:
    """One voter has given a version twelve thumbs-down within a minute, and others one each."""
    now, ids = utc_now(), [f"{version}-{n}" for n in range(12)]
    answers = [asked(one, time=now, model="reviews", version=version, user=f"u{one}") for one in ids]
    many = [Feedback(f"f{one}", now, one, None, "thumbs", False, user="eve") for one in ids]
    others = [Feedback(f"o{one}", now, one, None, "thumbs", False, user=f"u{one}") for one in ids]
    add(control.store, [*answers, *many, *others])


@pytest.mark.parametrize(
    ("version", "words", "said"),
    [
        (2, ("canary", "stop", "reviews"), "The canary reviews@2 stops. reviews@1 serves everyone."),
        (2, ("models", "rollback", "reviews"), "The canary reviews@2 stops. reviews@1 serves everyone."),
        (
            1,
            ("models", "rollback", "reviews", "--to", "0"),
            "reviews goes back from reviews@1 to reviews@0. The canary reviews@2 ends.",
        ),
    ],
)
def test_a_command_says_before_it_acts_whose_votes_it_holds(
    control: RunningControl, version: int, words: tuple[str, ...], said: str
) -> None:
    calm = control.run(*words, "--dry-run")
    assert calm.exit_code == 0 and f"{said} Nothing is held: no voter's votes against it were a burst" in calm.stderr
    flooded(control, version)
    tried = control.run(*words, "--dry-run")
    assert f"{said} {BURST} quarantine until somebody reviews them. --keep-data prevents that." in tried.stderr
    kept = control.run(*words, "--dry-run", "--keep-data")
    assert f"{said} Nothing goes to quarantine (--keep-data)." in kept.stderr
    assert quarantines.newest(control.store, model=None) == []
    assert control.run(*words, "--yes").exit_code == 0
    assert [row["votes"] for row in quarantines.newest(control.store, model=None)] == [12]


def test_what_control_would_refuse_is_refused_before_the_question(control: RunningControl) -> None:
    for words, error in (
        (("reviews", "--to", "1"), AlreadyDone),
        (("reviews", "--to", "9"), NotFound),
        (("nothing",), NotFound),
    ):
        refused = control.run("models", "rollback", *words, "--dry-run")
        assert refused.exit_code == 1 and "goes back" not in refused.stderr, words
        assert isinstance(refused.exception, error) or getattr(refused.exception, "status", 0) == 404, words
    control.run("models", "rollback", "reviews", "--to", "0", "--yes")
    control.app.state.control.promotion.sync_models(["reviews"])
    first = control.run("models", "rollback", "reviews", "--dry-run")
    assert isinstance(first.exception, NotReady) and "has had no other champion" in str(first.exception)


def test_one_model_is_listed_alone_and_an_unknown_one_is_none(control: RunningControl) -> None:
    url = f"http://127.0.0.1:{control.port}/api/models"
    found = httpx.get(url, params={"model": "reviews"}, trust_env=False).json()
    assert [row["model"] for row in found] == ["reviews"]
    assert httpx.get(url, params={"model": "none"}, trust_env=False).json() == []


def test_a_rejection_says_whose_votes_it_holds(tmp_path: Path) -> None:
    api = FastAPI()
    row = {"model": "reviews", "champion": 2, "canary": None, "share": None, "paused": None, "frozen": None}
    api.get("/api/models")(lambda: [row | {"holdback": None, "awaiting": "dec-12"}])
    api.get("/api/promotions/12")(lambda: {"id": "dec-12", "model": "reviews", "to_version": 3})
    api.get("/api/models/reviews/versions/3/suspects")(lambda: {"held": 1, "reason": "Held are the votes of eve."})
    with running(api) as url:
        config = f"models: {{reviews: {{labels: [a, b]}}}}\ncontrol: {{listen: '{url.removeprefix('http://')}'}}\n"
        (tmp_path / "loraloop.yaml").write_text(config)
        tried = loraloop("promotions", "reject", "12", "-m", "too terse", "--dry-run", cwd=tmp_path)
    assert tried.returncode == 0
    said = "The candidate reviews@3 of decision 12 is rejected. Held are the votes of eve. They are in quarantine"
    assert said in tried.stderr
