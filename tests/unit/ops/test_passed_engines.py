"""Facts about what the doctor says of engines for embeddings and ranks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI, Response

from core.settings import PassThroughSettings
from ops.local import doctor
from ops.local.passed_engines import lacking
from serve.engines.fake import FakeEngine, running
from tests.support.environment import clear_settings
from tests.support.gateway import CLOSED


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with running(FakeEngine("bge-m3").app()) as url:
        yield url


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, "{}", "answers 401"),
        (200, "<html>", "is no engine"),
        (200, '{"data": [5]}', "is no engine"),
        (200, '{"data": [{"id": "other"}]}', "has other"),
        (200, '{"data": [{"id": "other"}, {"id": "bge-m3"}]}', ""),
    ],
)
def test_each_engine_without_the_model_is_named(engine: str, status: int, body: str, said: str) -> None:
    app = FastAPI()
    app.get("/v1/models")(lambda: Response(body, status, media_type="application/json"))
    with running(app) as url:
        found = lacking(PassThroughSettings(urls=[f"{engine}/v1", url, CLOSED], model="bge-m3"), "")
        assert found == [*([f"{url} {said}"] if said else []), f"{CLOSED} does not answer"]


def test_the_engines_get_their_key() -> None:
    seen: list[str | None] = []
    app = FastAPI()

    @app.middleware("http")
    async def note(request: Any, call: Any) -> Any:
        seen.append(request.headers.get("authorization"))
        return await call(request)

    with running(app) as url:
        lacking(PassThroughSettings(urls=[url], model="m"), "s3cret")
    assert seen == ["Bearer s3cret"]


@pytest.mark.parametrize(("model", "ok"), [("bge-m3", True), ("bge-m4", False)])
def test_the_doctor_names_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, model: str, ok: bool
) -> None:
    clear_settings(monkeypatch)
    config = tmp_path / "loraloop.yaml"
    content = {
        "data": str(tmp_path / "data"),
        "models": {"m": {"labels": ["a", "b"]}},
        "control": {"listen": "127.0.0.1:9"},
        "gateway": {"embeddings": {"urls": [engine], "model": model}},
    }
    config.write_text(yaml.safe_dump(content))
    found = {finding.name: finding for finding in doctor.examine(config)}
    assert "engines for rerank" not in found
    finding = found["engines for embeddings"]
    assert finding.ok is ok and "gateway.embeddings.urls" in finding.fix and "bge-m3" in finding.found
