#!/bin/sh
# Builds LoraLoop's wheel from src/ and installs it alone into /opt/own, for an environment at /opt/loraloop.
set -eu
python3 -m venv /opt/build
python3 -m venv --without-pip /opt/loraloop
pip() { /opt/build/bin/python -m pip --disable-pip-version-check --no-cache-dir "$@"; }
sh ./subset.sh packages/wheel.txt requirements.lock > wheel.lock
pip install --quiet --no-deps --require-hashes -r wheel.lock
pip wheel --quiet --no-deps --no-build-isolation --wheel-dir . ./src
# This Python is the one that the script `loraloop` names in its first line.
pip --python /opt/loraloop/bin/python install --quiet --no-deps --no-index --no-compile --prefix /opt/own ./loraloop-*.whl
/opt/loraloop/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/own
