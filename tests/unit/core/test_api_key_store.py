"""Facts about the keys in the store: what is kept, what is published, and what opens afterwards."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.api_key_store import ApiKeyStore, IssuedKey, NewKey
from core.api_keys import Grant, Limits, Scope, read_key
from core.db.store import Store
from core.errors import AlreadyDone, InputError, KeyRefused, NotFound
from serve.gateway.authentication import KeyChecker

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
APP = NewKey("shop", (Scope.INFER, Scope.FEEDBACK))
FULL = NewKey("full", (Scope.INFER,), ("reviews", "movies"), timedelta(days=1), Limits(1, 2, 3))


class Ring:
    """A keyring on a file, a key checker that reads it, and a clock for both."""

    def __init__(self, path: Path) -> None:
        self.path, self.now = path, START
        self.published: list[tuple[Grant, ...]] = []
        self.open()

    def open(self) -> None:
        self.store = Store(self.path)
        self.keys = ApiKeyStore(store=self.store, clock=lambda: self.now, changed=self.published.append)
        self.checker = KeyChecker(keys=lambda: self.keys.grants, clock=lambda: self.now)

    def opens(self, made: IssuedKey, scope: Scope = Scope.INFER) -> bool:
        try:
            self.checker.admit(f"Bearer {made.key}", scope).release(0)
        except KeyRefused:
            return False
        return True


@pytest.fixture
def ring(tmp_path: Path):
    made = Ring(tmp_path / "s.duckdb")
    yield made
    made.store.close()


def test_a_key_opens_from_the_moment_it_is_made_and_after_a_restart(ring: Ring) -> None:
    made = ring.keys.make(APP, "k0")
    assert ring.opens(made) and ring.published[-1] == ring.keys.grants
    ring.store.close()
    ring.open()
    assert ring.opens(made) and ring.published[-1] == ring.keys.grants


def test_every_requested_field_is_in_the_grant_and_in_the_list(ring: Ring) -> None:
    made = ring.keys.make(FULL, "k0")
    (grant,) = ring.keys.grants
    assert (grant.id, grant.scopes, grant.models, grant.limits) == (made.id, FULL.scopes, FULL.models, FULL.limits)
    assert grant.expires == (START + timedelta(days=1)).timestamp()
    (row,) = ring.keys.all()
    assert row["name"] == "full" and row["creator"] == "k0" and row["models"] == ["reviews", "movies"]
    assert (row["created"], row["expires"], row["revoked"]) == (START, START + timedelta(days=1), None)


def test_no_secret_is_kept_listed_handed_on_or_shown(ring: Ring, tmp_path: Path) -> None:
    made = ring.keys.make(FULL, "k0")
    rotated = ring.keys.rotate(made.id, timedelta(hours=1))
    secrets = [parts[1] for key in (made.key, rotated.key) if (parts := read_key(key))]
    assert len(secrets) == 2
    shown = repr((made, rotated, ring.keys.all(), [asdict(grant) for grant in ring.published[-1]]))
    ring.store.close()
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert made.id.encode() in kept  # else the next line could not fail
    for secret in secrets:
        assert secret not in shown and secret.encode() not in kept
    ring.open()
    assert not any("digest" in column for column in ring.keys.all()[0])


def test_a_revoked_key_opens_nothing_and_stays_in_the_list(ring: Ring) -> None:
    made = ring.keys.make(APP, "k0")
    ring.now += timedelta(hours=1)
    ring.keys.revoke(made.id)
    assert not ring.opens(made) and ring.published[-1] == ()
    assert [row["revoked"] for row in ring.keys.all()] == [START + timedelta(hours=1)]
    for change in (lambda: ring.keys.revoke(made.id), lambda: ring.keys.rotate(made.id, timedelta())):
        with pytest.raises(AlreadyDone, match="revoked already"):
            change()


def test_a_rotation_ends_the_old_secret_at_once_or_after_its_grace(ring: Ring) -> None:
    first = ring.keys.make(APP, "k0")
    second = ring.keys.rotate(first.id, timedelta())
    assert second.id == first.id and not ring.opens(first) and ring.opens(second)
    third = ring.keys.rotate(first.id, timedelta(minutes=10))
    assert ring.opens(second) and ring.opens(third)
    ring.now += timedelta(minutes=10)
    assert not ring.opens(second) and ring.opens(third)


def test_an_unknown_key_is_named_short(ring: Ring) -> None:
    with pytest.raises(NotFound, match="loraloop keys list") as caught:
        ring.keys.revoke("x" * 10_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("scopes", [(), (Scope.INTERNAL,), (Scope.INFER, Scope.INTERNAL)])
def test_a_key_has_a_scope_and_never_the_inside_one(ring: Ring, scopes: tuple[Scope, ...]) -> None:
    with pytest.raises(InputError, match="infer, feedback, metrics, ops:numbers, ops:read, ops:write, admin"):
        ring.keys.make(NewKey("x", scopes), "k0")
    assert ring.keys.all() == []


def test_the_first_key_is_made_once_and_a_revoked_one_brings_no_other(ring: Ring) -> None:
    first = ring.keys.make_first()
    assert first is not None and ring.opens(first, Scope.ADMIN) and ring.keys.make_first() is None
    ring.keys.revoke(first.id)
    assert ring.keys.make_first() is None
