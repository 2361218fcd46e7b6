"""Check a new engine: adapters in the same batch must not change the base model's answers.

It uses adapters that are deleted afterwards. `serve.cpu_lora.selftest` compares the answers.
"""

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from core.errors import EngineDown, EngineFailed
from core.model_folder import matrix_shapes
from serve.cpu_lora.selftest import check_engine
from serve.engines.control_client import VllmClient

RANK = 8
# Large enough that another adapter's weights change every answer.
SCALE = 0.05


def check(client: VllmClient, *, base: Path, base_name: str, slots: int, folder: Path) -> str:
    """Fills every slot, compares base answers alone and in company, and cleans up.

    Returns the result in a sentence. Raises EngineFailed if an answer changed. That engine would give users of one
    model another model's words, and every comparison of versions would be wrong.
    """
    names = [f"self-check-{number}" for number in range(slots)]
    for left in client.models() & set(names):
        client.unload(left)  # of a check that was cut short
    try:
        for number, name in enumerate(names):
            _write(folder / name, base, seed=number)
            client.load(name, str((folder / name).resolve()))
        try:
            found = check_engine(client.url, base_name, names, client.headers)
        except OSError as error:
            raise EngineDown(f"The engine at {client.url} broke off its self-check.") from error
        for name in names:
            client.unload(name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not found.ok:
        raise EngineFailed(
            f"The engine mixes adapters up and must not serve: {found.reason}.",
            hint="Install the vLLM of requirements.lock; on a CPU, leave LORALOOP_CPU_LORA unset.",
        )
    return found.reason


def _write(folder: Path, base: Path, *, seed: int) -> None:
    """A random adapter on every linear layer of the base model's blocks."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}
    targets: set[str] = set()
    for module, (wide, narrow) in matrix_shapes(base).items():
        if ".layers." not in module or not module.endswith("_proj"):
            continue  # not the embeddings, nor the head
        key = f"base_model.model.{module}"
        tensors[f"{key}.lora_A.weight"] = rng.normal(0, SCALE, (RANK, narrow)).astype(np.float32)
        tensors[f"{key}.lora_B.weight"] = rng.normal(0, SCALE, (wide, RANK)).astype(np.float32)
        targets.add(module.rpartition(".")[2])
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "bias": "none",
        "target_modules": sorted(targets),
        "base_model_name_or_path": base.name,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
