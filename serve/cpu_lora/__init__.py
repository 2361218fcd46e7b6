"""The vLLM plugin that makes many LoRA adapters on the CPU engine correct and fast.

It runs inside vLLM's processes and must know nothing of gateways, routes or the store.
"""

import os

SWITCH = "LORALOOP_CPU_LORA"
"""Set to `off`, it leaves stock vLLM in place, wrong answers included: for measuring only."""

WRAPPER = "serve.cpu_lora.punica.GroupedPunicaWrapper"


def register() -> None:
    """Put `GroupedPunicaWrapper` where vLLM's CPU platform looks for its LoRA operations.

    vLLM calls this once in each process, before it builds a model; calling it again changes
    nothing. On any other platform it does nothing. The switch is read here and not in
    `core.settings` because vLLM's processes have no LoraLoop settings, only an environment.

    Raises:
        core.errors.EngineFailed: this vLLM is not the one that the operations were tested with.
    """
    if os.environ.get(SWITCH) == "off":
        return
    # vLLM ignores an error during the import of a plugin, and then serves wrong answers. An error
    # in this call stops the engine. So imports that can fail are here and not above.
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from serve.cpu_lora.compatibility import check_vllm

    check_vllm()
    platform = type(current_platform)
    setattr(platform, "get_punica_wrapper", classmethod(lambda cls: WRAPPER))  # noqa: B010
