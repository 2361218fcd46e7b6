"""The theatre: sets the stage, has the plays played, and closes down whatever happens.

It owns sizes and the order of plays; it must not know what happens within one.
"""

import time
from typing import Any

from rich.table import Table

from core.model_folder import locate
from demo import dataset_split, ratings, report
from demo.dataset_split import DemoSplit
from demo.environment import OUT, DemoStack, Tell
from demo.scenario import Scenario
from demo.simulated_users import SimulatedUsers
from ops.cli.terminal import out

PORTS = (8080, 8081, 8090)
COMPANION = "tweets"
MAIN = {"learn": 2600, "live": 560, "after": 240, "test": 560}
SMALL = {"learn": 800, "live": 200, "after": 120, "test": 0}
SMALL_LABEL_SHARE = 0.9
# For a look at the moving parts in a few minutes; too little data for any claim.
QUICK = {"learn": 800, "live": 160, "after": 60, "test": 100}
QUICK_SMALL = {"learn": 300, "live": 40, "after": 40, "test": 0}


def run_demo(models: list[str], *, label_share: float, quick: bool, keep: bool, tell: Tell) -> None:
    """Plays the models' loops one after another on one stage and writes the reports."""
    sizes = QUICK if quick else MAIN
    main = [dataset_split.make(name, ratings.load(name, tell), label_share=label_share, **sizes) for name in models]
    companion = _companion(models, tell, QUICK_SMALL if quick else SMALL)
    parts = [*main, companion] if companion else main
    stage = DemoStack(dataset_split.configuration(parts, canaries=frozenset(models), ports=PORTS), tell)
    try:
        reports = _play(stage, main, companion, tell)
        for found in reports:
            report.show(found)
        if len(reports) > 1:
            _table(reports)
        tell(f"Wrote {OUT}/report.json and {OUT}/report.html")
        if keep:
            tell(f"Running on: http://127.0.0.1:{PORTS[0]}/v1, http://127.0.0.1:{PORTS[1]}/promotions. Ctrl-C ends it.")
            tell(f"With the key {stage.ops_key}: as the API key of apps, and to log in at the console.")
            stage.stack.watch()
    finally:
        stage.stack.stop()


def _companion(models: list[str], tell: Tell, sizes: dict[str, int]) -> DemoSplit | None:
    """The second model, when one is played alone: small, and promoted by the offline gate."""
    if len(models) > 1 or COMPANION in models:
        return None
    texts = ratings.load(COMPANION, tell)
    return dataset_split.make(COMPANION, texts, label_share=SMALL_LABEL_SHARE, **sizes)


def _play(stage: DemoStack, main: list[DemoSplit], companion: DemoSplit | None, tell: Tell) -> list[dict[str, Any]]:
    reports = []
    started = time.monotonic()
    stage.stack.start()
    seconds = round(time.monotonic() - started, 1)
    url, base = f"http://{stage.settings.gateway.listen}", locate(stage.settings.base_model).path
    crowd = SimulatedUsers(url, base, key=stage.app_key)
    for part in main:
        play = Scenario(stage, crowd, tell)
        if part is main[0]:
            play.record.seconds["start"] = seconds
        found = play.run(part, companion)
        report.write(found, "report" if part is main[0] else f"report-{part.model}")
        reports.append(found)
    return reports


def _table(reports: list[dict[str, Any]]) -> None:
    """One line a model: weighted F1 of every arm and rival."""
    names = ("base", "rag", "champion", "candidate")
    table = Table(title="weighted F1 on test texts", box=None, pad_edge=False)
    for heading in ("model", "verdict", *names, "tfidf_logreg", "vader", "human_raters"):
        table.add_column(heading)
    for found in reports:
        arms = [found["arms"].get(name, {}).get("weighted_f1") for name in names]
        others = [found[name]["weighted_f1"] for name in ("tfidf_logreg", "vader", "human_raters")]
        cells = ("–" if value is None else f"{value:.3f}" for value in (*arms, *others))
        table.add_row(found["model"], found["decision"]["verdict"], *cells)
    out.print(table)
