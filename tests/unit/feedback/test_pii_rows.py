"""Facts about personal data in snapshots: prompts and corrections have tags, the store keeps the texts."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.db.store import Store
from core.errors import SettingsError
from core.prompts import Chat, Text, from_json, from_request, to_json
from core.settings import ModelSettings, PrivacySettings, build
from core.settings.privacy import SCRUB_RULES, ScrubRule
from feedback.ingest import add
from feedback.pii import RULES, scrub_text
from feedback.pii_rows import replaced_in, scrub_prompts, scrub_table
from feedback.snapshot import create_snapshot
from tests.support.ingest import NOW, asked, query, said
from tests.unit.feedback.test_pii import CASES

GENERATE = ModelSettings(task="generate")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "s.duckdb")
    yield found
    found.close()


BOTH = ("prompt", "label")


def rows(*prompts: str, label: str = "a") -> pa.Table:
    return pa.table({"prompt": list(prompts), "label": [label] * len(prompts)})


def test_every_message_and_the_correction_are_scrubbed_and_counted() -> None:
    chat = Chat((("system", "ask a@b.io"), ("user", "I am\n+49 30 1234567")))
    found, counts = scrub_table(rows(to_json(chat), to_json(Text("none")), label="write to c@d.io"), SCRUB_RULES, BOTH)
    assert json.loads(found["prompt"][0].as_py()) == [
        {"role": "system", "content": "ask [EMAIL]"},
        {"role": "user", "content": "I am\n[PHONE]"},
    ]
    assert found["prompt"][1].as_py() == to_json(Text("none"))
    assert found["label"].to_pylist() == ["write to [EMAIL]"] * 2
    assert counts == {"email": 3, "phone": 1}


def test_labels_of_a_classification_stay(store: Store, tmp_path: Path) -> None:
    settings = ModelSettings(labels=["a@b.io", "other"])
    request = {"messages": [{"role": "user", "content": "whose?"}]}
    add(store, [asked("i", model="m", request=request, user="u"), said("f", "i", "a@b.io", "label")])
    made = create_snapshot(store, "m", settings, run_id="r", folder=tmp_path / "snapshots", clock=lambda: NOW)
    assert [row.label for row in made.rows] == ["a@b.io"] and made.report.scrubbed == {}


def test_prompts_have_their_own_counts_and_one_without_personal_data_has_none() -> None:
    texts = ["plain", "a@b.io and c@d.io", "+49 30 1234567 or a@b.io"]
    found, replaced = scrub_prompts(pa.array([*map(to_json, map(Text, texts)), None]), SCRUB_RULES)
    assert found.to_pylist() == [None, '"[EMAIL] and [EMAIL]"', '"[PHONE] or [EMAIL]"', None]
    assert [each and json.loads(each) for each in replaced.to_pylist()] == [
        None,
        {"email": 2},
        {"email": 1, "phone": 1},
        None,
    ]
    assert replaced_in(pa.chunked_array([replaced])) == {"email": 3, "phone": 1}


def hinted(rule: ScrubRule, text: str) -> bool:
    return pc.match_substring_regex(pa.array([text]), RULES[rule].hint, ignore_case=True)[0].as_py()


@pytest.mark.parametrize(("rule", "text", "scrubbed"), CASES, ids=[text[:30] for _, text, _ in CASES])
def test_the_hint_finds_every_text_that_a_rule_changes(rule: ScrubRule, text: str, scrubbed: str) -> None:
    assert hinted(rule, text)
    assert hinted(rule, to_json(Text(text))) and hinted(rule, to_json(Chat((("user", f"line\n{text}\nline"),))))


PARTS = (
    "zoe",
    "@",
    ".",
    "-",
    " ",
    "/",
    "+",
    "(",
    ")",
    ":",
    "\n",
    "\t",
    '"',
    "0",
    "17",
    "49",
    "2001",
    "12345",
    "tel",
    "A",
)


@given(st.lists(st.sampled_from(PARTS), max_size=30), st.sampled_from(SCRUB_RULES))
def test_a_text_without_the_hint_is_one_that_the_rule_does_not_change(parts: list[str], rule: ScrubRule) -> None:
    text = "".join(parts)
    if not hinted(rule, to_json(Text(text))):
        assert scrub_text(text, [rule]) == (text, {})


@pytest.mark.parametrize("text", ["The hinge broke in a week.", "I paid 12.50 EUR on 2026-03-01.", "3.11.7 is out"])
def test_a_plain_text_is_not_read_in_python(text: str) -> None:
    assert not any(hinted(rule, text) for rule in SCRUB_RULES)


def test_a_snapshot_has_tags_and_the_store_has_the_texts(store: Store, tmp_path: Path) -> None:
    request = {"messages": [{"role": "user", "content": "mail zoe@example.com"}]}
    add(store, [asked("i", model="m", request=request, user="u")])
    add(store, [said("f", "i", "write to zoe@example.com", "correction")])
    made = create_snapshot(store, "m", GENERATE, run_id="r", folder=tmp_path / "snapshots", clock=lambda: NOW)
    assert made.report.scrubbed == {"email": 2}
    assert "zoe@" not in str(pq.read_table(made.path / "rows.parquet").to_pylist())
    assert made.rows[0].prompt == Chat((("user", "mail [EMAIL]"),)) and made.rows[0].label == "write to [EMAIL]"
    assert query(store, "SELECT contains(request::VARCHAR, 'zoe@') FROM interactions") == [(True,)]
    off = ModelSettings(task="generate", privacy=PrivacySettings(scrub="off"))
    raw = create_snapshot(store, "m", off, run_id="r2", folder=tmp_path / "snapshots", clock=lambda: NOW)
    assert raw.rows[0].label == "write to zoe@example.com" and raw.report.scrubbed == {}


def model(scrub: object) -> ModelSettings:
    return build({"models": {"m": {"labels": ["a", "b"], "privacy": {"scrub": scrub}}}}).models["m"]


def test_off_in_yaml_is_off_and_an_unknown_rule_is_an_error() -> None:
    assert model(False).privacy.rules == model("off").privacy.rules == model([]).privacy.rules == ()
    assert model(["ip", "email"]).privacy.rules == ("email", "ip")  # in the order in which they apply
    assert PrivacySettings().rules == SCRUB_RULES
    with pytest.raises(SettingsError, match="scrub"):
        model(["e-mail"])


def test_rules_apply_in_one_order_whatever_the_settings_say() -> None:
    text = "https://zoe:s3cret99@mail.example.com"
    assert scrub_text(text, model(["email", "credentials"]).privacy.rules)[0] == (
        "https://[CREDENTIALS]@mail.example.com"
    )


def test_json_stays_json_when_it_is_scrubbed() -> None:
    label = '{"tool_calls":[{"arguments":{"to":"ada@example.com","card":4111111111111111,"n":2},"name":"send"}]}'
    call = {"id": "1", "type": "function", "function": {"name": "send", "arguments": '{"to": "ada@example.com"}'}}
    body = {
        "messages": [{"role": "user", "content": "go"}, {"role": "assistant", "tool_calls": [call]}],
        "max_tokens": 5,
    }
    prompt = from_request("chat", body)
    assert prompt is not None
    found, counts = scrub_table(rows(to_json(prompt), label=label), SCRUB_RULES, BOTH)
    (row,) = found.to_pylist()
    (said,) = json.loads(row["label"])["tool_calls"]
    assert said["name"] == "send" and said["arguments"]["n"] == 2
    assert "ada@" not in str(row) and "4111111111111111" not in str(row) and sum(counts.values()) == 3
    scrubbed = from_json(row["prompt"])
    assert scrubbed.options == prompt.options and isinstance(scrubbed, Chat)
    (sent,) = scrubbed.as_openai()[1]["tool_calls"]
    assert json.loads(sent["function"]["arguments"])["to"] == said["arguments"]["to"]
