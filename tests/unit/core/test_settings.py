"""Facts about the configuration: what wins over what, and that every refusal names its key and the fix."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import core
from core.errors import SettingsError
from core.settings import Settings, build, is_loopback, load, settings_sha256, split_listen
from tests.support.environment import clear_settings

MODEL = {"labels": ["good", "bad"]}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_settings(monkeypatch)


def test_a_models_settings_have_one_hash_that_follows_every_value() -> None:
    first = settings_sha256(made().models["reviews"])
    assert first == settings_sha256(made(base_model="other").models["reviews"]) and len(first) == 64
    changed = build(model(promotion={"primary": {"min_gain": 0.01}})).models["reviews"]
    assert settings_sha256(changed) != first


def test_labels_are_in_one_unicode_form() -> None:
    assert build(model(labels=["cafe\u0301", "the"])).models["reviews"].labels == ["caf\u00e9", "the"]


def made(**content: Any) -> Settings:
    return build({"models": {"reviews": MODEL}} | content)


def model(**content: Any) -> dict[str, Any]:
    return {"models": {"reviews": MODEL | content}}


def oidc(**changes: Any) -> dict[str, Any]:
    """Settings with a log-in by a provider, changed in its section or in `control` and `access`."""
    right = {"control": {"public_url": "https://ops.example"}}
    mine = {"issuer": "https://id.example", "client_id": "x", "roles": {"ops": "operator"}}
    around = {name: value for name, value in changes.items() if name in ("control", "access")}
    inside = {name: value for name, value in changes.items() if name not in around}
    return model() | right | around | {"login": {"oidc": mine | inside}}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def put(text: str | bytes) -> Path:
        path = tmp_path / "loraloop.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return put


def test_the_smallest_configuration_is_a_model_with_labels() -> None:
    found = made()
    assert found.engine_urls == ["http://127.0.0.1:8090"]
    assert found.control_url == "http://127.0.0.1:8081"
    assert found.store_path == Path("data/loraloop.duckdb")
    assert found.models["reviews"].promotion.canary is not None


def test_the_starter_that_init_writes_is_accepted() -> None:
    from ops.local.config_template import STARTER

    assert build(yaml.safe_load(STARTER)).models["reviews"].retrain.min_new_feedback == 500


def test_the_environment_wins_over_the_file_key_by_key(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("gateway: {listen: 127.0.0.1:9000, name: mine}\nmodels: {reviews: {labels: [a, b]}}\n")
    monkeypatch.setenv("LORALOOP_GATEWAY__LISTEN", "127.0.0.1:9999")
    monkeypatch.setenv("LORALOOP_DATA", "/elsewhere")
    found = load(path)
    assert (found.gateway.listen, found.gateway.name, found.data) == ("127.0.0.1:9999", "mine", Path("/elsewhere"))


def test_keys_come_from_the_environment_and_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_APP_KEY", "s3cret")
    monkeypatch.setenv("LORALOOP_OPS_KEY", "")
    keys = made().keys
    assert keys.app is not None and keys.app.get_secret_value() == "s3cret"
    assert keys.ops is None
    assert "s3cret" not in repr(keys)


def test_a_key_may_come_from_a_file_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "ops"
    file.write_text("s3cret\n")
    monkeypatch.setenv("LORALOOP_OPS_KEY_FILE", str(file))
    assert made().bearer == {"Authorization": "Bearer s3cret"}
    monkeypatch.setenv("LORALOOP_OPS_KEY", "other")
    with pytest.raises(SettingsError, match="both set") as both:
        made()
    monkeypatch.delenv("LORALOOP_OPS_KEY")
    file.write_text(" ")
    with pytest.raises(SettingsError, match="is empty") as empty:
        made()
    file.unlink()
    with pytest.raises(SettingsError, match="No such file") as gone:
        made()
    assert all("LORALOOP_OPS_KEY" in str(e.value) and "s3cret" not in str(e.value) for e in (both, empty, gone))


def test_people_may_log_in_by_a_provider_on_loopback_in_the_clear_and_its_secret_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LORALOOP_OIDC_CLIENT_SECRET", "s3cret")
    for host in ("127.0.0.1:9400", "localhost:9400", "[::1]:9400"):
        settings = build(oidc(issuer=f"http://{host}"))
        assert settings.login.oidc and settings.login.oidc.issuer == f"http://{host}"
    assert settings.keys.oidc and settings.keys.oidc.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings) and "s3cret" not in str(settings.model_dump(mode="json"))


def test_links_begin_with_the_public_url_where_there_is_one() -> None:
    assert made().console_url == "http://127.0.0.1:8081"
    assert made(gateway={"control_url": "http://control.cluster"}).console_url == "http://control.cluster"
    assert made(control={"public_url": "https://ops.example/"}).console_url == "https://ops.example"


def test_only_the_settings_read_the_environment() -> None:
    for path in Path(core.__file__).parent.rglob("*.py"):
        if path.parent.name != "settings":
            assert not re.search(r"environ\.get|environ\[[^\]]+\](?! =)|getenv", path.read_text()), path.name


def test_the_command_line_shows_its_own_key_or_else_the_one_for_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made().bearer == {}
    monkeypatch.setenv("LORALOOP_OPS_KEY", "ops")
    assert made().bearer == {"Authorization": "Bearer ops"}
    monkeypatch.setenv("LORALOOP_KEY", "mine")
    assert made().bearer == {"Authorization": "Bearer mine"}


WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown key": ({"gatway": {}}, ["gatway is not a setting", "Did you mean gateway?"]),
    "unknown key in a section": ({"engine": {"max_lora": 3}}, ["engine.max_lora ", "Did you mean max_loras?"]),
    "unknown key in a model": (model(retrain={"shedule": None}), ["models.reviews.retrain.shedule", "schedule?"]),
    "a seed below 0": (model(retrain={"seed": -1}), ["models.reviews.retrain.seed", "0"]),
    "a seed that scikit-learn refuses": (model(retrain={"seed": 2**32}), ["models.reviews.retrain.seed", "4294967296"]),
    "unknown key in a list": (
        model(promotion={"guardrails": [{"kpi": "accuracy", "marign": 1}]}),
        ["guardrails.0.marign", "Did you mean margin?"],
    ),
    "unknown key under null": (model(promotion={"canary": {"shaer": 1}}), ["canary.shaer", "Did you mean share?"]),
    "unknown and unlike any": ({"zzzzzz": 1}, ["zzzzzz is not a setting"]),
    "a guardrail of no KPI": (
        model(promotion={"guardrails": [{"kpi": "halucination", "margin": 0.1}]}),
        ["halucination is not a KPI", "did you mean hallucination."],
    ),
    "a guardrail of no KPI with shipped suites": (
        model(promotion={"guardrails": [{"kpi": "invoices", "max": 0.1}]}, evaluation={"suites": ["format"]}),
        ["promotion.guardrails: invoices is not a KPI"],
    ),
    "a key that is no text": ({1: 2}, ["1 is not a setting", "names"]),
    "wrong kind": ({"engine": {"max_loras": "many"}}, ["engine.max_loras", "integer"]),
    "out of range": ({"engine": {"max_loras": 0}}, ["engine.max_loras", "greater than or equal to 1"]),
    "a section that is none": ({"gateway": 5}, ["gateway", "dictionary"]),
    "rank above max": (
        model(retrain={"rank": 32}),
        ["models.reviews.retrain.rank is 32", "engine.max_lora_rank 16", "raise the latter or lower the former"],
    ),
    "open gateway": (
        {"access": "open", "gateway": {"listen": "0.0.0.0:8080"}},
        ["access is open", "gateway.listen 0.0.0.0:8080", "remove access: open"],
    ),
    "too little spool for the workers": (
        {"gateway": {"workers": 3, "max_spool_bytes": 128 * 1024**2}},
        ["gateway", "max_spool_bytes is 134217728", "3 workers need 201326592", "raise the former"],
    ),
    "open control": ({"access": "open", "control": {"listen": "[::]:8081"}}, ["control.listen", "use 127.0.0.1"]),
    "log-in without a public URL": (oidc(control={}), ["login.oidc needs control.public_url"]),
    "log-in with open access": (oidc(access="open"), ["access is open", "remove login.oidc"]),
    "log-in with a model that is none": (oidc(models={"ops": ["shop"]}), ["login.oidc.models.ops names 'shop'"]),
    "log-in with models of a group without a role": (oidc(models={"x": ["reviews"]}), ["'x'", "add it to roles"]),
    "log-in with no models for a group": (oidc(models={"ops": []}), ["models.ops is empty"]),
    "log-in without roles": (oidc(roles={}), ["login.oidc.roles", "at least 1"]),
    "log-in with a role that is none": (oidc(roles={"ops": "boss"}), ["login.oidc.roles.ops", "'viewer'"]),
    "log-in without openid": (oidc(scopes=["email"]), ["scopes have no openid"]),
    "log-in in the clear": (oidc(issuer="http://id.example"), ["login.oidc.issuer", "not encrypted"]),
    "log-in with a query": (oidc(issuer="https://id.example/?a=b"), ["login.oidc.issuer", "no query"]),
    "log-in with a password": (oidc(issuer="https://a:b@id.example"), ["login.oidc.issuer", "no user"]),
    "log-in at no URL": (oidc(issuer="id.example"), ["login.oidc.issuer", "is no URL"]),
    "log-in with a secret": (oidc(client_secret="x"), ["login.oidc.client_secret is not a setting"]),
    "no network": ({"control": {"trusted_proxies": ["*"]}}, ["trusted_proxies", "not an address or network"]),
    "access of no kind": ({"access": "closed"}, ["access", "'keys' or 'open'"]),
    "open engine": ({"engine": {"listen": "10.0.0.1:8090"}}, ["engine.listen", "use 127.0.0.1"]),
    "no address": ({"gateway": {"listen": "8080"}}, ["gateway.listen", "127.0.0.1:8080"]),
    "no port": ({"control": {"listen": "localhost:http"}}, ["control.listen", "127.0.0.1:8080"]),
    "no models": ({"models": {}}, ["models", "at least 1"]),
    "model name": ({"models": {"a/b": MODEL}}, ["model name 'a/b'", "letters"]),
    "equal labels": (model(labels=["Good", "good "]), ["models.reviews.labels", "distinct"]),
    "labels that differ in the form of an accent": (model(labels=["caf\u00e9", "cafe\u0301"]), ["distinct"]),
    "number as label": (model(labels=["good", 1]), ["label 2 is a number for YAML", 'write it in quotes: "1"']),
    "boolean as label": (model(labels=[True, "no"]), ["label 1 is a boolean for YAML", "write it in quotes"]),
    "blank label": (model(labels=["good", " "]), ["models.reviews.labels", "not blank"]),
    "no holdout": (model(split={"train": 0.9, "dev": 0.08}), ["models.reviews.split", "lower one of them"]),
    "empty guardrail": (model(promotion={"guardrails": [{"kpi": "ece"}]}), ["guardrails.0", "a max or a min"]),
    "secrets in the file": ({"keys": {"app": "x"}}, ["keys", "LORALOOP_APP_KEY", "environment"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_refusal_names_its_key_and_the_fix(case: str) -> None:
    content, words = WRONG[case]
    with pytest.raises(SettingsError) as caught:
        made(**content) if all(isinstance(key, str) for key in content) else build(content)
    text = str(caught.value)
    assert [word for word in words if word not in text] == [], text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models: [", ["line 1", "not YAML", "Correct that line"]),
        ("a: b: c", ["line 1, column 5", "not YAML"]),
        ("- a\n- b\n", ["contains no settings", "loraloop init"]),
        ("", ["contains no settings"]),
        (b"\xff\xfe\x00", ["not YAML"]),
        (b"models: \xff", ["not YAML"]),
        ("on: 1\nmodels: {reviews: {labels: [a, b]}}", ["True is not a setting"]),
    ],
)
def test_a_wrong_file_is_one_sentence(write: Callable[..., Path], text: str | bytes, words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(text))
    assert [word for word in ["loraloop.yaml", *words] if word not in str(caught.value)] == [], str(caught.value)


def test_a_missing_file_names_the_command_that_makes_one(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(SettingsError, match="loraloop init"):
            load(path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("LORALOOP_ENGINE__MAX_LORAS", "many", ["engine.max_loras", "integer"]),
        ("LORALOOP_ENGINE__MAX_LORA", "3", ["engine.max_lora ", "Did you mean max_loras?"]),
        ("LORALOOP_ENGINE", "{nonsense", ["environment", "engine"]),
    ],
)
def test_a_wrong_variable_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: list[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        made()
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


def test_any_address_is_accepted_where_keys_are_required_and_loopback_where_not() -> None:
    everywhere = {"listen": "0.0.0.0:1"}
    assert made(gateway=everywhere, control=everywhere).access == "keys"
    assert made(access="open").access == "open"


@pytest.mark.parametrize(
    ("listen", "host", "loopback"),
    [
        ("127.0.0.1:1", "127.0.0.1", True),
        ("127.9.9.9:1", "127.9.9.9", True),
        ("localhost:1", "localhost", True),
        ("[::1]:1", "::1", True),
        ("0.0.0.0:1", "0.0.0.0", False),
        ("[::]:1", "::", False),
        ("example.org:1", "example.org", False),
        ("localhost.evil.org:1", "localhost.evil.org", False),
    ],
)
def test_a_loopback_address_is_recognized(listen: str, host: str, loopback: bool) -> None:
    assert split_listen(listen) == (host, 1)
    assert is_loopback(listen) is loopback


@pytest.mark.parametrize("listen", ["", "8080", ":8080", "host:", "host:x", "host:70000", "host:-1"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(SettingsError, match=r"Write it as 127\.0\.0\.1:8080"):
        split_listen(listen)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({}, "models.m.labels: a model that classifies needs at least two"),
        ({"task": "generate", "labels": ["a", "b"]}, "models.m.labels: a model that generates has none"),
        ({"task": "generate", "feedback": {"audit_share": 0.1}}, "feedback.audit_share: only a model that classifies"),
        ({"labels": ["a", "b"], "feedback": {"audit_share": 0.6}}, "models.m.feedback.audit_share"),
        ({"task": "generate", "promotion": {"primary": {"kpi": "macro_f1"}}}, "macro_f1 is not a KPI of task generate"),
        ({"labels": ["a", "b"], "promotion": {"primary": {"kpi": "chrf"}}}, "chrf is not a KPI of task classify"),
        ({"labels": ["a", "b"], "promotion": {"primary": {"kpi": "preference_accuracy"}}}, "not a KPI of task"),
        ({"labels": ["a", "b"], "evaluation": {"judge": {"url": "http://j/v1", "model": "j"}}}, "evaluation.judge"),
        ({"task": "generate", "evaluation": {"judge": {"url": "ftp://j", "model": "j"}}}, "judge.url"),
    ],
)
def test_a_models_settings_fit_its_task(model: dict[str, Any], words: str):
    with pytest.raises(SettingsError) as caught:
        build({"models": {"m": model}})
    assert words in str(caught.value)


@pytest.mark.parametrize("promotion", [{}, {"primary": {}}, {"primary": {"min_gain": 0.1}}])
def test_a_model_that_generates_is_judged_by_token_f1_unless_another_is_named(promotion: dict[str, Any]):
    primary = build({"models": {"m": {"task": "generate", "promotion": promotion}}}).models["m"].promotion.primary
    assert primary.kpi == "token_f1" and primary.min_gain == promotion.get("primary", {}).get("min_gain", 0)


# IMPORT
