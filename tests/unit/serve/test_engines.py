"""Facts about engines as control sees them: preflight, client, reconciler, the process, shipping's far end."""

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import save_file

from core.errors import AdapterRefused, EngineDown, EngineError, EngineFailed, PromptRefused
from core.prompts import Chat, Text
from core.records import Version
from core.settings import EngineSettings
from serve.adapters.preflight import CONFIG, WEIGHTS, folder_hash, preflight
from serve.engines import process
from serve.engines.control_client import RAW_TEMPLATE, VllmClient
from serve.engines.fake import FakeEngine
from serve.engines.reconciler import Reconciler

Q = "model.layers.0.self_attn.q_proj"
GOOD = {
    "peft_type": "LORA",
    "target_modules": ["q_proj", "norm"],
    "r": 4,
    "lora_alpha": 8,
    "use_dora": False,
    "bias": "none",
    "modules_to_save": None,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_file({f"{Q}.weight": torch.zeros(6, 8), "model.norm.weight": torch.zeros(8)}, folder / "model.safetensors")
    return folder


def pair(module: str = Q, rank: int = 4, ins: int = 8, outs: int = 6) -> dict[str, torch.Tensor]:
    root = f"base_model.model.{module}"
    return {f"{root}.lora_A.weight": torch.ones(rank, ins), f"{root}.lora_B.weight": torch.ones(outs, rank)}


def adapter(folder: Path, tensors: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
    (folder / CONFIG).write_text(json.dumps(GOOD | config))
    save_file(pair() if tensors is None else tensors, folder / WEIGHTS)
    return folder


def with_value(value: float) -> dict[str, torch.Tensor]:
    tensors = pair()
    next(iter(tensors.values()))[1, 2] = value
    return tensors


def test_a_good_adapter_passes_and_its_hash_is_its_content(tmp_path: Path, base: Path) -> None:
    found = preflight(adapter(tmp_path), base=base, max_rank=16)
    assert (found.rank, found.modules, found.sha256) == (4, 1, folder_hash(tmp_path))
    adapter(tmp_path, with_value(2.0))
    assert folder_hash(tmp_path) != found.sha256


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "DoRA": ({"use_dora": True}, "use_dora=True"),
    "bias": ({"bias": "all"}, "bias='all'"),
    "whole modules": ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    "no rank": ({"r": None}, "r=None"),
    "rank 0": ({"r": 0}, "r=0"),
    "rank above max": ({"r": 32}, "rank 32 is above 16"),
    "NaN": ({"tensors": with_value(float("nan"))}, "NaN or infinite"),
    "infinite": ({"tensors": with_value(float("-inf"))}, "NaN or infinite"),
    "another rank": ({"tensors": pair(rank=8)}, "expected (4, 8)"),
    "wrong width": ({"tensors": pair(ins=9)}, "another base model"),
    "wrong height": ({"tensors": pair(outs=8)}, "expected (4, 8) and (6, 4)"),
    "half a pair": ({"tensors": dict([*pair().items()][:1])}, "None"),
    "unknown module": ({"tensors": pair("model.layers.9.self_attn.q_proj")}, "no module 'model.layers.9"),
    "no linear layer": ({"tensors": pair("model.norm")}, "no module 'model.norm"),
    "no tensors": ({"tensors": {}}, "no LoRA tensors"),
    "other tensors": ({"tensors": {"lm_head.weight": torch.ones(2)}}, "which is no LoRA tensor"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_preflight_refuses(tmp_path: Path, base: Path, case: str) -> None:
    config, words = REFUSED[case]
    with pytest.raises(AdapterRefused) as caught:
        preflight(adapter(tmp_path, **config), base=base, max_rank=16)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "lacks"),
        ({CONFIG: b"{}"}, "lacks"),
        ({CONFIG: b"{}", "adapter_model.bin": b"pickle"}, "Only safetensors are accepted"),
        ({CONFIG: b"{", WEIGHTS: b""}, "is not JSON"),
        ({CONFIG: b"\xff", WEIGHTS: b""}, "is not JSON"),
        ({CONFIG: b"[]", WEIGHTS: b""}, "not a JSON object"),
        ({CONFIG: json.dumps(GOOD).encode(), WEIGHTS: b""}, "no safetensors file"),
        ({CONFIG: json.dumps(GOOD).encode(), WEIGHTS: b"junk" * 100}, "no safetensors file"),
    ],
)
def test_preflight_refuses_a_folder_that_is_none(
    tmp_path: Path, base: Path, files: dict[str, bytes], words: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AdapterRefused) as caught:
        preflight(tmp_path, base=base, max_rank=16)
    assert words in str(caught.value)


def client_of(engine: FakeEngine) -> VllmClient:
    return VllmClient("http://engine", transport=engine.transport())


def test_scores_come_in_the_requested_order() -> None:
    engine = FakeEngine()
    client = client_of(engine)
    one = client.score("base", Text("so:"), [5, 9, 7])
    two = client.score("base", Text("so:"), [7, 5])
    assert (one.logprobs[2], one.logprobs[0]) == two.logprobs
    assert 0 < one.mass < 3 and one.prompt_tokens == 1
    body = engine.requests[-1][1]
    assert body["chat_template"] == RAW_TEMPLATE and body["messages"] == [{"role": "user", "content": "so:"}]
    client.score("base", Chat((("user", "so:"),)), [7])
    assert "chat_template" not in engine.requests[-1][1]
    client.close()


def test_scores_that_are_left_out_are_an_error_that_names_the_tokens() -> None:
    answer = {"choices": [{"logprobs": {"content": [{"top_logprobs": []}]}}], "usage": {"prompt_tokens": 1}}
    client = VllmClient("http://e", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=answer)))
    with pytest.raises(EngineError, match=r"left out the scores of tokens \[3\]"):
        client.score("base", Text("x"), [3])


@pytest.mark.parametrize(
    ("fault", "error"), [("down", EngineDown), ("hang", EngineDown), ("break", EngineDown), ("error", EngineError)]
)
def test_a_fault_of_the_engine_is_one_error_with_its_reason(fault: Any, error: type[EngineError]) -> None:
    client = client_of(FakeEngine(fault=fault))
    assert not client.healthy()
    with pytest.raises(error) as caught:
        client.models()
    assert isinstance(caught.value, EngineDown) is (error is EngineDown)


@pytest.mark.parametrize(("status", "refused"), [(400, True), (413, True), (404, False), (401, False), (500, False)])
def test_a_refused_prompt_and_a_fault_are_different_errors(status: int, refused: bool) -> None:
    client = VllmClient("http://e", transport=httpx.MockTransport(lambda _: httpx.Response(status, text="too long")))
    for ask in (lambda: client.write("m", Text("x"), max_tokens=1), lambda: client.follow("m", Text("x"), [1])):
        with pytest.raises(EngineError, match="too long") as caught:
            ask()
        assert isinstance(caught.value, PromptRefused) is refused
    with pytest.raises(EngineError) as caught:
        client.load("m", "/m")
    assert not isinstance(caught.value, PromptRefused)


def test_an_answer_that_is_no_json_is_an_engine_error() -> None:
    client = VllmClient("http://e", transport=httpx.MockTransport(lambda _: httpx.Response(200, text="<html>")))
    with pytest.raises(EngineError, match="something else than JSON"):
        client.models()


def version(number: int, path: str | None = "/adapters/x") -> Version:
    return Version("m", number, f"m-{number}-abc", path, "f" * 64, 8, None)


def reconciler(*engines: FakeEngine, self_check: Callable[[VllmClient], str] = lambda _: "well") -> Reconciler:
    clients = [VllmClient(f"http://e{n}", transport=engine.transport()) for n, engine in enumerate(engines)]
    return Reconciler(clients, base_name="base", self_check=self_check)


def test_what_is_missing_is_loaded_on_every_engine_and_the_base_needs_nothing() -> None:
    engines = FakeEngine(), FakeEngine(adapters={"m-1-abc": "x"})
    states = reconciler(*engines).reconcile(lambda: [version(0, None), version(1), version(2)], lambda _: True)
    assert all(state.ready and state.adapters == ("m-1-abc", "m-2-abc") for state in states)
    assert [path for path, _ in engines[1].requests].count("/v1/load_lora_adapter") == 1


def test_a_retrieval_needs_nothing_from_an_engine_that_has_the_base_model() -> None:
    engine = FakeEngine(adapters={"m-1-abc": "x"})
    made, retrieval = reconciler(engine), replace(version(3), engine_name="base", kind="retrieval")
    (state,) = made.reconcile(lambda: [version(1), retrieval], lambda _: True)
    with made.ensure_loaded(retrieval):
        assert state.ready and state.adapters == ("m-1-abc",)
    assert not any("lora_adapter" in path for path, _ in engine.requests)


def test_an_adapter_that_no_route_needs_is_unloaded_only_when_it_may_be() -> None:
    engine = FakeEngine(adapters={"m-1-abc": "x", "m-2-abc": "x", "somebody's": "x"})
    (state,) = reconciler(engine).reconcile(lambda: [version(2)], lambda name: name == "m-1-abc")
    assert state.adapters == ("m-2-abc", "somebody's") and state.ready


def test_an_adapter_that_changes_nothing_is_refused_and_does_not_keep_the_others_out() -> None:
    engine = FakeEngine(inert={"m-1-abc"})
    (state,) = reconciler(engine).reconcile(lambda: [version(1), version(2)], lambda _: True)
    assert state.adapters == ("m-2-abc",) and state.missing == ("m-1-abc",) and not state.ready
    assert "m@1 was loaded but answers like the base model" in state.error


def test_an_adapter_that_could_not_be_verified_does_not_stay() -> None:
    engine = FakeEngine()
    real, engine.reply = (
        engine.reply,
        lambda path, body, i: (  # type: ignore[method-assign]
            (500, b"{}") if path == "/tokenize" else real(path, body, i)
        ),
    )
    (state,) = reconciler(engine).reconcile(lambda: [version(1)], lambda _: True)
    assert engine.adapters == {} and state.missing == ("m-1-abc",)


def test_an_engine_that_restarted_gets_its_adapters_again() -> None:
    engine = FakeEngine()
    made = reconciler(engine)
    assert made.reconcile(lambda: [version(1)], lambda _: True)[0].ready
    engine.adapters.clear()
    assert made.reconcile(lambda: [version(1)], lambda _: True)[0].ready


def test_an_engine_that_is_down_holds_nothing_and_the_others_are_served() -> None:
    down, up = FakeEngine(fault="down"), FakeEngine()
    made = reconciler(down, up)
    first, second = made.reconcile(lambda: [version(1)], lambda _: True)
    assert (first.healthy, first.missing, second.ready) == (False, ("m-1-abc",), True)
    with made.ensure_loaded(version(2)):
        assert made.adapters_by_engine == {"http://e0": (), "http://e1": ("base", "m-1-abc", "m-2-abc")}
    up.fault = "down"
    with pytest.raises(EngineDown), made.ensure_loaded(version(3)):
        pass


def test_an_engine_that_fails_its_self_check_serves_nothing_and_is_checked_once() -> None:
    engine, asked = FakeEngine(), []

    def self_check(client: VllmClient) -> str:
        asked.append(client.url)
        raise EngineFailed("The engine mixes adapters up and must not serve.")

    made = reconciler(engine, self_check=self_check)
    for _ in range(2):
        (state,) = made.reconcile(lambda: [version(1)], lambda _: True)
        assert "mixes adapters up" in state.error and not state.ready
    assert asked == ["http://e0"] and made.adapters_by_engine == {"http://e0": ()} and engine.adapters == {}


def test_a_fresh_engine_is_checked_and_one_that_holds_adapters_was() -> None:
    engine, asked = FakeEngine(adapters={"m-1-abc": "x"}), []
    made = reconciler(engine, self_check=lambda client: asked.append(client.url) or "well")  # type: ignore[func-returns-value]
    assert made.adapters_by_engine is None
    made.reconcile(lambda: [version(1)], lambda _: True)
    assert asked == []
    engine.adapters.clear()  # it restarted between two looks
    made.reconcile(lambda: [version(1)], lambda _: True)
    assert len(asked) == 1 and made.adapters_by_engine == {"http://e0": ("base", "m-1-abc")}
    made.reconcile(lambda: [version(2)], lambda _: True)
    assert len(asked) == 1


def test_what_an_engine_held_is_remembered_while_it_is_not_well() -> None:
    engine = FakeEngine()
    made = reconciler(engine)
    made.reconcile(lambda: [version(1)], lambda _: True)
    engine.fault = "down"
    made.reconcile(lambda: [version(1)], lambda _: True)
    assert made.adapters_by_engine == {"http://e0": ("base", "m-1-abc")}


def test_a_version_of_long_ago_is_loaded_before_it_serves_again() -> None:
    engine = FakeEngine()
    with reconciler(engine).ensure_loaded(version(1)):
        assert "m-1-abc" in engine.adapters


def test_nothing_is_unloaded_while_a_version_is_held() -> None:
    engine = FakeEngine()
    made = reconciler(engine)
    with ThreadPoolExecutor(1) as pool:
        wanted: list[Version] = []
        with made.ensure_loaded(version(1)):
            looked = pool.submit(made.reconcile, lambda: wanted, lambda _: True)
            time.sleep(0.1)
            wanted.append(version(1))  # the route that needs it is now in force
        assert looked.result()[0].adapters == ("m-1-abc",)


def test_the_command_keeps_more_adapters_in_memory_than_in_a_batch() -> None:
    command = process.command(EngineSettings(max_loras=32, max_cpu_loras=8, listen="[::1]:9"), Path("/m"), "base")
    at = dict(pairwise(command))
    assert (at["--max-cpu-loras"], at["--host"], at["--port"]) == ("32", "::1", "9")
    assert at["-m"] == "vllm.entrypoints.openai.api_server" and "--gpu-memory-utilization" not in command


def test_the_command_reserves_the_share_of_the_gpu_that_is_set_and_knows_every_format() -> None:
    set_so = EngineSettings(gpu_memory_utilization=0.5, dtype="float16")
    at = dict(pairwise(process.command(set_so, Path("/m"), "base")))
    assert (at["--gpu-memory-utilization"], at["--dtype"]) == ("0.5", "float16")


def test_the_engine_is_given_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_APP_KEY", "secret")
    monkeypatch.setenv("KEPT", "yes")
    found = process.environment(EngineSettings())
    assert "LORALOOP_APP_KEY" not in found and found["KEPT"] == "yes" and found["HF_HUB_OFFLINE"] == "1"


def test_an_engine_that_ends_at_its_start_says_its_last_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "print('fine'); print('ValueError: too little memory'); print('bye'); raise SystemExit(3)"
    monkeypatch.setattr(process, "command", lambda *_: [sys.executable, "-c", script])
    monkeypatch.setattr(process, "POLL_SECONDS", 0.05)
    made = process.EngineProcess(EngineSettings(listen="127.0.0.1:1"), tmp_path, "b", tmp_path / "logs" / "engine.log")
    with pytest.raises(EngineFailed, match="code 3: ValueError: too little memory"):
        made.wait_ready()


def test_an_engine_that_is_never_ready_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "command", lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(process, "POLL_SECONDS", 0.05)
    settings = EngineSettings(listen="127.0.0.1:1", start_timeout_s=0.2)
    made = process.EngineProcess(settings, tmp_path, "b", tmp_path / "engine.log")
    with pytest.raises(EngineFailed, match=r"not ready after .* it wrote nothing"):
        made.wait_ready()
    assert made.process.poll() is not None
