#!/bin/sh
# Builds the images without Docker: Debian's buildah on a base image that mmdebstrap makes of Debian's Python 3.11.
# pip's settings of this machine hold: the wheels are downloaded here, and the build installs from their folder alone.
# IMAGES is the folder for all that is made. Tools that are missing are installed with apt. Prints the sizes.
set -eu
cd "$(dirname "$0")/.."
: "${VENV:=.venv}" "${IMAGES:=/var/tmp/loraloop-images}"
SUITE=bookworm
fail() { echo "error: $1" >&2; exit 1; }

missing=""
for tool in buildah podman mmdebstrap runc iptables; do command -v "$tool" > /dev/null || missing="$missing $tool"; done
[ -x /usr/lib/podman/netavark ] || missing="$missing netavark aardvark-dns"
[ -x /usr/libexec/podman/catatonit ] || command -v catatonit > /dev/null || missing="$missing catatonit"
if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || fail "Install these packages first:$missing"
    echo "Installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 — one word per package
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing > /dev/null
fi

mkdir -p "$IMAGES/wheels"
# Storage of its own, so that no other image or container of this machine is touched. Limits as they are here: raising
# them needs a capability that a container of a CI may lack. runc, because Debian's crun refuses a mixture of cgroups.
cat > "$IMAGES/containers.conf" <<END
[containers]
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
END
driver() { printf '[storage]\ndriver = "%s"\nrunroot = "%s/run"\ngraphroot = "%s/%s"\n' "$1" "$IMAGES" "$IMAGES" "$1" > "$IMAGES/storage.conf"; }
export CONTAINERS_CONF="$IMAGES/containers.conf" CONTAINERS_STORAGE_CONF="$IMAGES/storage.conf"
driver overlay
buildah images > /dev/null 2>&1 || driver vfs  # a file system that overlay cannot be put on

if ! buildah inspect --type image localhost/loraloop-base > /dev/null 2>&1; then
    echo "Making the base image"
    # The mirror that apt is configured with, if it has this release of Debian.
    mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Identifier: Packages' |
        awk -v suite="$SUITE" '$1 == suite && $2 == "main" { print $3; exit }')
    mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$SUITE" "$IMAGES/base.tar" ${mirror:+"$mirror"}
    made=$(buildah from scratch)
    buildah add --quiet "$made" "$IMAGES/base.tar" / > /dev/null
    buildah commit --quiet "$made" localhost/loraloop-base > /dev/null
    buildah rm "$made" > /dev/null
    rm "$IMAGES/base.tar"
fi

echo "Downloading the wheels"
cat docker/packages/*.txt | sort -u > "$IMAGES/packages.txt"
sh docker/subset.sh "$IMAGES/packages.txt" requirements.lock > "$IMAGES/requirements.lock"
get() {
    "$VENV/bin/python" -m pip download -qqq --disable-pip-version-check --no-deps --dest "$IMAGES/wheels" \
        --python-version 3.11 --only-binary :all: "$@"
}
get --require-hashes -r "$IMAGES/requirements.lock"
get --require-hashes -r docker/sbom.lock
get "$(sed -n 's/^ARG TORCH=//p' docker/trainer.Containerfile)"

for image in loraloop trainer engine; do
    echo "Building $image"
    buildah build --quiet --layers --format docker --isolation chroot --file "docker/$image.Containerfile" \
        --build-arg BASE=localhost/loraloop-base --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/wheels \
        --build-arg REVISION="$(git rev-parse HEAD 2> /dev/null || echo unknown)" \
        --volume "$IMAGES/wheels:/wheels:ro" --tag "localhost/loraloop-$image:test" . > "$IMAGES/$image.log" 2>&1 ||
        fail "The image $image was not built: $(tail -n 5 "$IMAGES/$image.log")"
done
buildah images --format '{{.Name}} {{.Size}}' --filter reference='localhost/loraloop-*' 2> /dev/null
