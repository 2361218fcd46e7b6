"""Facts about imports, on the real control app, its store and the real command line."""

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import yaml
from safetensors.torch import save_file

from core.errors import Conflict, RunInProgress
from core.model_folder import ModelFolder
from core.settings import build
from ops.apps.control import create_app
from retrain import adapter_import
from retrain.adapter_import import Importer
from serve.engines.fake import running
from tests.support.command_line import Ended, loraloop

MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "base_model_name_or_path": "tiny"}
BODY = {"Content-Type": "application/octet-stream"}


def peft_folder(folder: Path, value: float = 0.5, **changes: Any) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
    (folder / "README.md").write_text("not sent")
    save_file(
        {f"{MODULE}.lora_A.weight": torch.full((4, 64), value), f"{MODULE}.lora_B.weight": torch.ones(64, 4)},
        folder / "adapter_model.safetensors",
    )
    return folder


class Stack:
    """Control on a port, without engines, and the command line next to it."""

    def __init__(self, folder: Path, base: Path, stack: ExitStack) -> None:
        self.folder, self.data = folder, folder / "data"
        content = {
            "data": str(self.data),
            "access": "open",
            "models": {"reviews": {"labels": ["a", "b"]}},
            "engine": {"urls": ["http://127.0.0.1:9"], "max_lora_rank": 16},
            "control": {"max_import_bytes": 200_000, "check_seconds": 3600},
        }
        self.settings = build(content)
        url = stack.enter_context(running(create_app(settings=self.settings, base=ModelFolder("tiny", base))))
        self.http = stack.enter_context(httpx.Client(base_url=url, timeout=60, trust_env=False))
        (folder / "loraloop.yaml").write_text(yaml.safe_dump(content | {"gateway": {"control_url": url}}))

    def loraloop(self, *words: str, stdin: bytes = b"") -> Ended:
        return loraloop("versions", "import", *words, cwd=self.folder, stdin=stdin)

    def versions(self) -> list[int]:
        return [row["version"] for row in self.http.get("/api/models/reviews/versions").json()]

    def kept(self) -> set[str]:
        """Every file under data but the store's own."""
        return {
            path.relative_to(self.data).as_posix()
            for path in self.data.rglob("*")
            if not path.name.startswith(("loraloop.duckdb", "ledger.head", "audit.head"))
        }


@pytest.fixture
def stack(tmp_path: Path, tiny_base: Path) -> Iterator[Stack]:
    with ExitStack() as closing:
        yield Stack(tmp_path, tiny_base, closing)


def test_a_folder_becomes_a_version_that_serves_nobody(stack: Stack, tmp_path: Path):
    done = stack.loraloop("reviews", str(peft_folder(tmp_path / "mine")), "--yes", "--json", "-m", "from the lab")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["version"], found["rank"], found["modules"], found["new"]) == (1, 4, 1, True)
    assert "loraloop models promote reviews 1" in done.stderr
    name = f"reviews@1.{found['sha256'][:12]}"
    assert stack.kept() == {
        "adapters",
        f"adapters/{name}",
        f"adapters/{name}/adapter_config.json",
        f"adapters/{name}/adapter_model.safetensors",
    }
    (row,) = stack.http.get("/api/promotions").json()
    assert (row["verdict"], row["from_version"], row["to_version"]) == ("imported", 0, 1)
    decision = stack.http.get(f"/api/promotions/{row['id']}").json()
    assert decision["comment"].endswith("from the lab") and decision["actor"] == "anyone"
    assert decision["lineage"]["adapter_sha256"] == found["sha256"]
    assert stack.http.get("/api/models").json()[0]["champion"] == 0
    assert stack.http.get("/api/ledger").json()["ok"]
    page = stack.http.get(f"/promotions/{row['id']}")
    assert page.status_code == 200 and "Imported, not in service" in page.text


def test_the_same_bytes_are_the_same_version_however_packed(stack: Stack, tmp_path: Path):
    folder = peft_folder(tmp_path / "mine", base_model_name_or_path="other/name")
    first = stack.loraloop("reviews", str(folder), "--yes")
    assert first.returncode == 0 and "warning: It was made for 'other/name'" in first.stderr
    kept = stack.kept()
    for kind in ("zip", "gztar", "tar"):
        archive = shutil.make_archive(str(tmp_path / kind), kind, tmp_path, "mine")
        again = stack.loraloop("reviews", archive, "--yes")
        assert again.returncode == 0 and "reviews@1 has these very bytes already" in again.stderr
    assert stack.versions() == [0, 1]
    assert stack.kept() == kept
    assert len(stack.http.get("/api/promotions").json()) == 1
    stack.loraloop("reviews", str(peft_folder(tmp_path / "next", 0.25)), "--yes")
    assert stack.versions() == [0, 1, 2]


def test_an_archive_on_stdin_is_a_version_too(stack: Stack, tmp_path: Path):
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "gztar", tmp_path, peft_folder(tmp_path / "mine").name))
    unasked = stack.loraloop("reviews", "-", stdin=archive.read_bytes())
    assert unasked.returncode == 2 and "--yes" in unasked.stderr and stack.versions() == [0]
    tried = stack.loraloop("reviews", "-", "--dry-run", "--json")
    done = stack.loraloop("reviews", "-", "--yes", "--json", stdin=archive.read_bytes())
    assert done.returncode == 0 and "stdin becomes a new version of reviews" in done.stderr
    plan, found = json.loads(tried.stdout), json.loads(done.stdout)
    assert plan.keys() == found.keys() and (plan["version"], found["version"]) == (None, 1)
    assert stack.versions() == [0, 1]


def packed_as(*names: str) -> bytes:
    """A tar archive of small files with these names."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 2
            archive.addfile(info, io.BytesIO(b"{}"))
    return content.getvalue()


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (packed_as("../adapter_config.json", "adapter_model.safetensors"), "leads out of its folder"),
        (packed_as("/etc/adapter_config.json"), "leads out of its folder"),
        (packed_as("adapter_config.json", "adapter_model.bin"), "a pickle can run any code"),
        (packed_as("adapter_config.json", "adapter_model.safetensors")[:1100], "cut off"),
        (b"x" * 1_000_000, "larger than 200000 bytes"),
        (b"", "cut off"),
    ],
)
def test_a_hostile_or_broken_archive_on_stdin_leaves_nothing_behind(stack: Stack, archive: bytes, words: str):
    done = stack.loraloop("reviews", "-", "--yes", stdin=archive)
    assert done.returncode == 1 and words in done.stderr and done.stdout == ""
    assert stack.versions() == [0] and stack.kept() <= {"adapters"}


def refused(stack: Stack, archive: bytes, words: str, status: int = 422, **headers: str) -> None:
    answer = stack.http.post("/api/models/reviews/adapters", content=archive, headers=BODY | headers)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
    assert stack.versions() == [0]
    assert stack.kept() <= {"adapters"}
    assert stack.http.get("/api/promotions").json() == []


def test_what_is_refused_leaves_nothing_behind(stack: Stack, tmp_path: Path):
    high = peft_folder(tmp_path / "high", r=32)
    refused(stack, Path(shutil.make_archive(str(tmp_path / "high"), "zip", high)).read_bytes(), "rank 32 is above 16")
    refused(stack, b"", "cut off")
    refused(stack, b"x" * 200_001, "larger than 200000 bytes")
    refused(stack, b"", "must be an archive", **{"Content-Type": "text/plain"})
    missing = stack.http.post("/api/models/nope/adapters", content=b"", headers=BODY)
    assert missing.status_code == 404
    done = stack.loraloop("reviews", str(high), "--yes")
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("error: The adapter's rank 32 is above 16.")


def test_an_archive_above_the_limit_is_refused_while_it_comes(stack: Stack, tmp_path: Path):
    (tmp_path / "big.tar").write_bytes(bytes(30_000_000))
    done = stack.loraloop("reviews", str(tmp_path / "big.tar"), "--yes")
    assert done.returncode == 1 and "larger than 200000 bytes" in done.stderr, done.stderr
    assert stack.kept() <= {"adapters"}


def test_a_sender_who_goes_away_leaves_nothing_and_keeps_nobody_out(stack: Stack, tmp_path: Path):
    def half() -> Iterator[bytes]:
        yield b"x" * 1000
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError):
        stack.http.post("/api/models/reviews/adapters", content=half(), headers=BODY)
    folder = peft_folder(tmp_path / "mine")
    assert stack.loraloop("reviews", str(folder), "--yes").returncode == 0


def test_a_dry_run_and_a_missing_file_ask_nobody(stack: Stack, tmp_path: Path):
    dry = stack.loraloop("reviews", str(peft_folder(tmp_path / "mine")), "--dry-run")
    assert dry.returncode == 0 and "Nothing was done" in dry.stderr
    assert "--yes" in stack.loraloop("reviews", str(tmp_path / "mine")).stderr
    assert "no file or folder" in stack.loraloop("reviews", str(tmp_path / "nowhere")).stderr
    (tmp_path / "mine" / "adapter_model.safetensors").unlink()
    assert "holds no adapter_model.safetensors" in stack.loraloop("reviews", str(tmp_path / "mine"), "--yes").stderr
    assert stack.versions() == [0]


def importer(tmp_path: Path, base: Path, **parts: Any) -> Importer:
    settings = build({"data": str(tmp_path), "models": {"reviews": {"labels": ["a", "b"]}}})
    return Importer(settings=settings, base=ModelFolder("tiny", base), **({"store": None, "promotion": None} | parts))


def test_one_import_at_a_time_and_leftovers_of_a_killed_one_go(tmp_path: Path, tiny_base: Path):
    brought = importer(tmp_path, tiny_base)
    (tmp_path / "imports").mkdir()
    (tmp_path / "imports" / "left").write_text("by a control that was killed")
    with brought.folder() as folder:
        assert list(folder.iterdir()) == []
        with pytest.raises(RunInProgress), brought.folder():
            pass
    assert not (tmp_path / "imports").exists()


def test_a_folder_without_a_row_is_taken_away_again(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any, **__: Any) -> None:
        raise Conflict("Somebody was first.")

    monkeypatch.setattr(adapter_import.RouteManager, "import_version", fail)
    folder = peft_folder(tmp_path / "mine")
    archive = Path(shutil.make_archive(str(tmp_path / "mine"), "tar", folder)).read_bytes()
    refused(stack, archive, "Somebody was first", 409)
