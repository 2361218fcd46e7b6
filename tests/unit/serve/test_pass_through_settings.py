"""Facts about the settings of engines for embeddings and ranks."""

from typing import Any

import pytest

from core.errors import SettingsError
from core.settings import build


@pytest.mark.parametrize(
    ("gateway_settings", "words"),
    [
        ({"embeddings": {"urls": [], "model": "m"}}, "gateway.embeddings.urls"),
        ({"embeddings": {"urls": ["host:1"], "model": "m"}}, "write it as http://host:port"),
        ({"rerank": {"urls": ["http://h:1"], "model": "a@b"}}, "gateway.rerank.model"),
        ({"rerank": {"urls": ["http://h:1"], "model": "reviews"}}, "gateway.rerank.model 'reviews' is also one of"),
        ({"rerank": {"urls": ["http://h:1"]}}, "gateway.rerank.model"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_by_name(gateway_settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        build({"models": {"reviews": {"labels": ["a", "b"]}}, "gateway": gateway_settings})
    assert words in str(refused.value)


def test_one_model_may_serve_both_purposes() -> None:
    both = {"embeddings": {"urls": ["http://a:1/v1"], "model": "m"}, "rerank": {"urls": ["http://a:1"], "model": "m"}}
    found = build({"models": {"reviews": {"labels": ["a", "b"]}}, "gateway": both})
    assert found.gateway.passed_on == {"m": ["http://a:1"]}
