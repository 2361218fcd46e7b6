"""Few general prompts, so that the tests of this folder are fast."""

import pytest

from retrain.trainer import train as trainer
from retrain.trainer.general_prompts import HELD_OUT, REPLAYED


@pytest.fixture(autouse=True)
def few_general_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer has 8 prompts to replay, and 6 that measure forgetting."""
    monkeypatch.setattr(trainer, "REPLAYED", REPLAYED[:8])
    monkeypatch.setattr(trainer, "HELD_OUT", HELD_OUT[:6])
