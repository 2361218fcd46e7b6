"""Facts about what the ledger records of an evaluation."""

from eval.gates.result import Check, Outcome, combine_checks
from eval.kpis.evidence import Difference, Evidence, Measure
from eval.ledger_evidence import check_fields, kpi_rows, plain_checks

ARM = {"accuracy": Measure(0.8, 0.75, 0.85), "macro_f1": Measure(0.7, 0.65, 0.75)}
EVIDENCE = Evidence(
    100,
    30,
    {"champion": ARM, "candidate": ARM},
    {kpi: {"champion": Difference(0.1, 0.05, 0.15, 0.05)} for kpi in ARM},
    {},
)
CHECKS = [
    Check("holdout", Outcome.PASS, "It is large enough.", kind="holdout"),
    Check("macro_f1 against champion", Outcome.PASS, "It is higher.", 0.1, 0.05, 0.0, "gain", "macro_f1", "champion"),
    Check("guardrail accuracy", Outcome.FAIL, "It is lower.", 0.1, 0.2, 0.02, "margin", "accuracy", "champion"),
]


def test_a_kpi_row_has_the_checks_of_its_kpi_and_no_other():
    rows = {row["kpi"]: row["checks"] for row in kpi_rows(EVIDENCE, combine_checks(CHECKS, "passed"))}
    assert rows == {
        "macro_f1": [{"name": "macro_f1 against champion", "threshold": 0.0, "verdict": "pass"}],
        "accuracy": [{"name": "guardrail accuracy", "threshold": 0.02, "verdict": "fail"}],
    }


def test_a_plain_check_keeps_its_kind_kpi_and_arm():
    plain = plain_checks(combine_checks(CHECKS, "passed"))
    assert [check_fields(check) for check in plain] == [
        ("holdout", None, None),
        ("gain", "macro_f1", "champion"),
        ("margin", "accuracy", "champion"),
    ]


def test_checks_of_old_entries_are_read_from_their_names():
    assert check_fields({"name": "macro_f1 against rag"}) == ("gain", "macro_f1", "rag")
    assert check_fields({"name": "guardrail accuracy"}) == ("guardrail", "accuracy", None)
    assert check_fields({"name": "holdout"}) == ("", None, None)
