"""Facts about dead letters: that a person comes to see them."""

from pathlib import Path

import httpx
import pytest
import yaml

from core.model_folder import ModelFolder
from core.settings import load
from core.spool import frame
from ops.apps.control import create_app
from ops.local import doctor
from serve.engines.fake import running
from tools.live_stack import free_ports


def test_a_dead_letter_is_seen_in_metrics_and_by_the_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_INTERNAL_KEY", "k")
    monkeypatch.setenv("LORALOOP_OPS_KEY", "o")
    config, (port,) = tmp_path / "loraloop.yaml", free_ports(1)
    config.write_text(
        yaml.safe_dump(
            {
                "base_model": str(tmp_path),
                "access": "open",
                "data": str(tmp_path / "data"),
                "models": {"m": {"labels": ["a", "b"]}},
                "control": {"listen": f"127.0.0.1:{port}"},
                "engine": {"urls": ["http://127.0.0.1:9"]},
            }
        )
    )

    def finding() -> doctor.Finding:
        return next(finding for finding in doctor.examine(config) if finding.name == "dead letters")

    with running(create_app(settings=load(config), base=ModelFolder("base", tmp_path)), port) as url:
        assert finding().ok
        letter = frame(b'{"kind":"from a newer version"}')
        bearer = {"Authorization": "Bearer k"}
        sent = httpx.post(f"{url}/internal/spool/g/1?offset=0", content=letter, headers=bearer)
        assert sent.json() == {"offset": len(letter), "damaged": 0}
        assert "loraloop_dead_letters 1.0" in httpx.get(f"{url}/metrics", headers=bearer).text
        assert not finding().ok and finding().found.startswith("1 of") and finding().fix
