"""Write which packages of the lock each container image has, from what the installed packages require.

python -m tools.image_packages            # writes docker/packages/*.txt
python -m tools.image_packages --check    # exit code 1 when a file is not what it should be

The files hold names alone. Versions and hashes come from requirements.lock when an image is built.
"""

import argparse
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docker" / "packages"
# What only a training needs: the image of the gateway has none of it.
TRAINING = {"torch", "transformers", "peft", "accelerate"}
# No shipped module imports these. The benchmark of training compares with them.
UNUSED = {"trl", "datasets"}
# torch is installed apart, see scripts/install.sh. What it requires is in the lock.
APART = {"torch"}
# Companions of torch, which are not in the lock, and one GB that only GPUs use.
GPU_ONLY = {"torchvision", "torchaudio", "torchcodec", "triton"}


def name_of(requirement: str) -> str:
    """The normalised name of a requirement."""
    return canonicalize_name(Requirement(requirement).name)


def roots() -> dict[str, list[str]]:
    """The requirements that each image starts from."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [each for each in project["dependencies"] if name_of(each) not in UNUSED]
    extras = project["optional-dependencies"]
    # The packaged base model is a GGUF file, which `loraloop prepare` unpacks.
    unpacks = [each for each in extras["demo"] if name_of(each) == "gguf"]
    return {
        "loraloop": [each for each in own if name_of(each) not in TRAINING],
        "trainer": own + unpacks,
        "engine": extras["cpu"],
        # For building the wheel; no image has these.
        "wheel": [each for each in extras["dev"] if name_of(each) == "hatchling"],
    }


def closure(requirements: Iterable[str], without: set[str]) -> set[str]:
    """The names of the requirements and of all that they require here, by the metadata of what is installed.

    Raises importlib.metadata.PackageNotFoundError for a package that is not installed.
    """
    waiting = [Requirement(each) for each in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name in without or (name, extras) in seen:
            continue
        seen.add((name, extras))
        for text in importlib.metadata.requires(name) or []:
            below = Requirement(text)
            if not below.marker or any(below.marker.evaluate({"extra": each}) for each in extras or {""}):
                waiting.append(below)
    return {name for name, _ in seen}


def locked() -> set[str]:
    """The names in requirements.lock."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", text, flags=re.MULTILINE)}


def contents() -> dict[Path, str]:
    """What the files should hold. Raises ValueError for a package that the lock lacks."""
    found = {}
    for image, requirements in roots().items():
        names = closure(requirements, without=GPU_ONLY) - APART
        if missing := names - locked():
            raise ValueError(f"requirements.lock lacks packages of the image {image}: {', '.join(sorted(missing))}")
        found[FOLDER / f"{image}.txt"] = "".join(f"{name}\n" for name in sorted(names))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docker/packages/*.txt.")
    parser.add_argument("--check", action="store_true", help="report files that differ, and change nothing")
    check = parser.parse_args().check
    stale = 0
    for path, text in contents().items():
        if check and (not path.is_file() or path.read_text(encoding="utf-8") != text):
            print(f"{path.relative_to(ROOT)} is out of date. Run: python -m tools.image_packages", file=sys.stderr)
            stale = 1
        elif not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
