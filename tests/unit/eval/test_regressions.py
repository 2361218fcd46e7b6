"""Facts about regressions: which held-out items are the worst, for each task, and how many are kept."""

import numpy as np

from core.prompts import Text
from core.settings import ModelSettings
from eval.kpis.evidence import ArmScores
from eval.measure.texts import ArmTexts
from eval.regressions import LONGEST, MOST, find_regressions
from feedback.snapshot import Row

CLASSIFY = ModelSettings.model_validate({"labels": ["bad", "good"]})
GENERATE = ModelSettings.model_validate({"task": "generate"})


def rows(labels: list[str]) -> list[Row]:
    return [Row(f"i{n}", f"f{n}", "u", "h1", Text("?"), label) for n, label in enumerate(labels)]


def scores(good: list[float]) -> ArmScores:
    probabilities = np.array([[1 - p, p] for p in good])
    return ArmScores(probabilities, np.ones(len(good)), np.ones(len(good), dtype=np.int64))


def written(texts: list[str], worth: list[float]) -> ArmTexts:
    none = np.zeros(len(texts), dtype=np.int64)
    return ArmTexts(tuple(texts), {"token_f1": np.array(worth), "chrf": 1 - np.array(worth)}, none, none, np.zeros(0))


def test_a_label_that_the_champion_had_right_counts_by_the_probability_lost() -> None:
    held = rows(["good", "good", "bad", "good", "bad"])
    champion, candidate = scores([0.9, 0.6, 0.1, 0.2, 0.8]), scores([0.1, 0.4, 0.7, 0.1, 0.9])
    found = find_regressions(held, {"champion": champion, "candidate": candidate, "base": candidate}, CLASSIFY)
    assert [(row["place"], row["interaction_id"], round(row["loss"], 3)) for row in found] == [
        (1, "i0", 0.8),
        (2, "i2", 0.6),
        (3, "i1", 0.2),
    ]
    assert (found[1]["wanted"], found[1]["champion"], found[1]["candidate"]) == ("bad", "bad", "good")


def test_an_answer_in_words_counts_by_what_it_lost_in_the_primary_kpi() -> None:
    champion = written(["x" * (LONGEST + 1), "b", "c"], [0.9, 0.5, 0.1])
    candidate = written(["worse", "much worse", "better"], [0.7, 0.0, 0.9])
    found = find_regressions(rows(["a", "b", "c"]), {"champion": champion, "candidate": candidate}, GENERATE)
    assert [row["interaction_id"] for row in found] == ["i1", "i0"]
    assert found[0] | {"loss": round(found[0]["loss"], 3)} == {
        "place": 1,
        "interaction_id": "i1",
        "kpi": "token_f1",
        "wanted": None,
        "champion": "b",
        "candidate": "much worse",
        "loss": 0.5,
    }
    assert len(found[1]["champion"]) == LONGEST


def test_a_maximum_number_is_kept_and_only_items_that_became_worse() -> None:
    many = rows(["good"] * 60)
    found = find_regressions(many, {"champion": scores([0.9] * 60), "candidate": scores([0.1] * 60)}, CLASSIFY)
    assert [row["interaction_id"] for row in found] == [f"i{n}" for n in range(MOST)]
    same = {"champion": scores([0.9] * 60), "candidate": scores([0.8] * 60)}
    assert find_regressions(many, same, CLASSIFY) == []
