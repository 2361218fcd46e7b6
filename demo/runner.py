"""Start the demo's processes, run each model's scenario, write the reports, and stop the processes."""

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
# Shows every step in a few minutes. The data are too few to measure anything.
QUICK = {"learn": 800, "live": 160, "after": 60, "test": 100}
QUICK_SMALL = {"learn": 300, "live": 40, "after": 40, "test": 0}


def run_demo(models: list[str], *, label_share: float, quick: bool, keep: bool, tell: Tell) -> None:
    """Run the models' loops one after another on the same processes and write the reports."""
    sizes = QUICK if quick else MAIN
    main = [dataset_split.make(name, ratings.load(name, tell), label_share=label_share, **sizes) for name in models]
    companion = _companion(models, tell, QUICK_SMALL if quick else SMALL)
    splits = [*main, companion] if companion else main
    stack = DemoStack(dataset_split.configuration(splits, canaries=frozenset(models), ports=PORTS), tell)
    try:
        reports = _run_scenarios(stack, main, companion, tell)
        for found in reports:
            report.show(found)
        if len(reports) > 1:
            _table(reports)
        tell(f"Wrote {OUT}/report.json and {OUT}/report.html")
        if keep:
            tell(f"Running on: http://127.0.0.1:{PORTS[0]}/v1, http://127.0.0.1:{PORTS[1]}/promotions. Ctrl-C ends it.")
            tell(f"With the key {stack.ops_key}: as the API key of apps, and to log in at the console.")
            stack.processes.watch()
    finally:
        stack.processes.stop()


def _companion(models: list[str], tell: Tell, sizes: dict[str, int]) -> DemoSplit | None:
    """Make the second model of a run with one model: it is small, and the offline gate alone promotes it."""
    if len(models) > 1 or COMPANION in models:
        return None
    texts = ratings.load(COMPANION, tell)
    return dataset_split.make(COMPANION, texts, label_share=SMALL_LABEL_SHARE, **sizes)


def _run_scenarios(
    stack: DemoStack, main: list[DemoSplit], companion: DemoSplit | None, tell: Tell
) -> list[dict[str, Any]]:
    reports = []
    started = time.monotonic()
    stack.processes.start()
    seconds = round(time.monotonic() - started, 1)
    url, base = f"http://{stack.settings.gateway.listen}", locate(stack.settings.base_model).path
    users = SimulatedUsers(url, base, key=stack.app_key)
    for split in main:
        scenario = Scenario(stack, users, tell)
        if split is main[0]:
            scenario.record.seconds["start"] = seconds
        found = scenario.run(split, companion)
        report.write(found, "report" if split is main[0] else f"report-{split.model}")
        reports.append(found)
    return reports


def _table(reports: list[dict[str, Any]]) -> None:
    """Print one line per model: weighted F1 of every arm and every other method."""
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
