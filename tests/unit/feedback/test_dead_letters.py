"""Facts about dead letters: people see them, and can replay or drop them."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from core.db import spools
from core.db.store import Store
from core.errors import NotFound
from core.model_folder import ModelFolder
from core.record_codec import encode, encode_all
from core.settings import load
from core.spool import frame
from feedback import dead_letters
from feedback.ingest import ingest
from ops.apps.control import create_app
from ops.local import doctor
from serve.engines.fake import running
from tests.support.ingest import asked, pieces, query, said
from tests.support.running_control import RunningControl
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


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(":memory:")
    yield store
    store.close()


NEWER = b'{"kind":"from a newer version"}'


def set_aside(store: Store, *payloads: bytes) -> list[str]:
    """Ids of the dead letters that these payloads became."""
    ingest(store, "g", 7, 0, b"".join(map(frame, payloads)))
    return [row["id"] for row in dead_letters.newest(store, 10)]


def test_a_replayed_letter_that_can_be_stored_now_becomes_rows_and_leaves(store: Store) -> None:
    (letter,) = set_aside(store, NEWER)
    good = encode_all([asked("i1"), said("f1", "i1")])
    at = dead_letters.position_of(letter)
    spools.set_dead_letter(store, at, reason="x", payload=good)  # as if this version had the kind
    assert dead_letters.replay(store, [at]) == [dead_letters.Replayed(letter, 2, 0)]
    assert query(store, "SELECT id, model FROM feedback") == [("f1", "m")]
    assert spools.count_dead_letters(store) == 0


def test_a_replay_adds_nothing_that_is_stored_already(store: Store) -> None:
    ingest(store, "g", 1, 0, pieces(asked("i1"), said("f1", "i1")))
    (letter,) = set_aside(store, NEWER)
    at = dead_letters.position_of(letter)
    spools.set_dead_letter(store, at, reason="x", payload=encode_all([asked("i1"), said("f1", "i1")]))
    dead_letters.replay(store, [at])
    assert query(store, "SELECT count(*), sum(requests) FROM interactions, traffic_daily") == [(1, 1)]


def test_one_bad_record_of_a_letter_costs_no_other(store: Store) -> None:
    (letter,) = set_aside(store, b"[" + encode(asked("i1")) + b"," + NEWER + b"," + encode(said("f1", "i1")) + b"]")
    assert query(store, "SELECT id FROM interactions") == []
    (done,) = dead_letters.replay(store, dead_letters.wanted(store, None))
    assert (done.stored, done.refused) == (2, 1) and done.reason
    assert query(store, "SELECT id FROM interactions UNION ALL SELECT id FROM feedback") == [("i1",), ("f1",)]
    assert dead_letters.show(store, letter)["content"] == f"[{NEWER.decode()}]"


def test_a_letter_that_is_refused_again_stays_as_it_was(store: Store) -> None:
    (letter,) = set_aside(store, NEWER)
    (done,) = dead_letters.replay(store, dead_letters.wanted(store, letter))
    assert (done.stored, done.refused) == (0, 1) and "kind" in done.reason
    assert dead_letters.show(store, letter)["content"] == NEWER.decode()


def test_bytes_that_are_no_json_stay_and_can_be_dropped(store: Store) -> None:
    (letter,) = set_aside(store, b"\xff\xfe")
    assert [one.refused for one in dead_letters.replay(store, dead_letters.wanted(store, None))] == [1]
    dead_letters.drop(store, dead_letters.wanted(store, letter))
    assert spools.count_dead_letters(store) == 0


@pytest.mark.parametrize("identity", ["", "g", "g.7", "g.7.x", "g.7.99", "g.7." + "9" * 30, "g.-7.0", "g.7.0.0"])
def test_an_unknown_dead_letter_is_not_found(store: Store, identity: str) -> None:
    set_aside(store, NEWER)
    with pytest.raises(NotFound, match="dead letter"):
        dead_letters.show(store, identity)


def test_the_commands_list_show_replay_and_drop(tmp_path: Path) -> None:
    control = RunningControl(tmp_path)
    with running(control.app, control.port):
        (letter,) = set_aside(control.store, NEWER)
        assert json.loads(control.run("dead-letters", "--json").stdout)[0]["id"] == letter
        assert NEWER.decode() in json.loads(control.run("dead-letters", "show", letter, "--json").stdout)["content"]
        assert (
            json.loads(control.run("dead-letters", "replay", "--all", "--yes", "--json").stdout)["letters"][0][
                "refused"
            ]
            == 1
        )
        assert control.run("dead-letters", "replay", "--yes").exit_code == 1  # neither an id nor --all
        assert control.run("dead-letters", "drop", letter, "--dry-run").exit_code == 0
        assert spools.count_dead_letters(control.store) == 1
        assert control.run("dead-letters", "drop", letter, "--yes").exit_code == 0
        assert spools.count_dead_letters(control.store) == 0
