"""Facts about what is vendored and served as it is."""

import hashlib
import re
from pathlib import Path

import pytest

from ops.console.assets import TYPES, assets

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("folder", ["tests/browser/vendor", "ops/console/static"])
def test_what_is_vendored_is_what_was_published(folder: str) -> None:
    text = (ROOT / folder / "VENDORED.md").read_text()
    listed = dict(re.findall(r"^\| `(.+?)` .*`(\w{64})` \|$", text, re.MULTILINE))
    assert listed
    for name, digest in listed.items():
        assert hashlib.sha256((ROOT / folder / name).read_bytes()).hexdigest() == digest


def test_every_static_file_is_served_under_a_name_of_its_content() -> None:
    files = {file.name for file in (ROOT / "ops/console/static").iterdir() if file.suffix != ".md"}
    assert files == set(TYPES)
    for name, asset in assets().items():
        assert hashlib.sha256(asset.content).hexdigest()[:12] in asset.url and asset.url.endswith(name)
