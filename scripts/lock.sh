#!/bin/sh
# Resolves requirements.lock again from pyproject.toml, with the hashes of every file. torch is installed on its
# own (see install.sh); the CUDA-only companions that a plain resolve brings are overridden away.
set -eu
: "${PYTHON:=python3}" "${VENV:=.venv}"
TORCH_LINKS="${PIP_FIND_LINKS:-https://download.pytorch.org/whl/cpu/torch/}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$PYTHON" -m venv "$scratch/uv"
"$scratch/uv/bin/python" -m pip install --quiet "uv==0.13.9"
cat > "$scratch/overrides.txt" <<'END'
torchvision; sys_platform == "never"
torchaudio; sys_platform == "never"
torchcodec; sys_platform == "never"
torch==2.13.0+cpu
END
"$scratch/uv/bin/uv" pip compile pyproject.toml --extra cpu --extra demo --extra dev --extra docs \
    --override "$scratch/overrides.txt" --find-links "$TORCH_LINKS" --python-version 3.11 \
    --generate-hashes --no-emit-package torch --no-header --no-emit-find-links --quiet --output-file requirements.lock
