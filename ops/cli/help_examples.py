"""An example of every command, shown at the end of its help.

It owns these lines and where they go; a test runs each through the parser, so that none teaches what is not there.
"""

import typer

EXAMPLES: dict[str, tuple[str, ...]] = {
    "init": ("loraloop init", "loraloop init - > loraloop.yaml"),
    "prepare": ("loraloop prepare",),
    "up": ("loraloop up --config loraloop.yaml", "loraloop up -d"),
    "down": ("loraloop down",),
    "status": ("loraloop status", "loraloop status -o json"),
    "logs": ("loraloop logs -f", "loraloop logs control -n 50"),
    "server up": ("loraloop server up -d", "loraloop server up --config loraloop.yaml"),
    "server down": ("loraloop server down", "loraloop server down --timeout 10"),
    "server install": (
        "loraloop server install --user",
        "loraloop server install --system --run-as loraloop --config /srv/loraloop/loraloop.yaml --dry-run",
    ),
    "server logs": (
        "loraloop server logs -f",
        "loraloop server logs engine -n 200",
        "loraloop server logs gateway --since 10m -o json",
    ),
    "server status": (
        "loraloop server status",
        "loraloop server status --json",
    ),
    "login": (
        "loraloop login --url https://loraloop.example.com",
        "loraloop login --url https://loraloop.example.com --context prod --key-stdin",
    ),
    "logout": ("loraloop logout", "loraloop logout --context prod"),
    "contexts list": ("loraloop contexts", "loraloop contexts --json"),
    "contexts use": ("loraloop contexts use prod",),
    "contexts delete": ("loraloop contexts delete prod",),
    "gateway": ("loraloop gateway --config loraloop.yaml",),
    "control": ("loraloop control --config loraloop.yaml",),
    "doctor": ("loraloop doctor", "loraloop doctor --fix", "loraloop doctor --json"),
    "models list": ("loraloop models", "loraloop models -o yaml", "loraloop models --context prod"),
    "versions list": ("loraloop versions list reviews",),
    "versions show": ("loraloop versions show reviews 3",),
    "feedback count": (
        "loraloop feedback reviews",
        "loraloop feedback reviews --by-key",
        "loraloop feedback --waiting",
        "loraloop feedback --by-user",
    ),
    "feedback agreement": ("loraloop feedback agreement reviews", "loraloop feedback agreement reviews -o json"),
    "runs list": ("loraloop runs reviews --limit 5",),
    "top": ("loraloop top", "loraloop top --context prod --once"),
    "runs start": ("loraloop runs start reviews", "loraloop runs start reviews --wait --exit-code"),
    "versions evaluate": (
        "loraloop versions evaluate reviews --version 3",
        "loraloop versions evaluate reviews --suite hallucination --json",
    ),
    "suites list": ("loraloop suites", "loraloop suites --json"),
    "plan": (
        "loraloop plan --users 1000",
        "loraloop plan reviews --users 200 --voted 0.05 --labelled 0.02 --gain 0.1 --json",
    ),
    "usage": (
        "loraloop usage",
        "loraloop usage --by month --model reviews",
        "loraloop usage --split key --since 7d -o json",
    ),
    "models promote": (
        "loraloop models promote reviews 3 --dry-run",
        "loraloop models promote reviews 3 --yes -m 'as agreed on Monday'",
    ),
    "models freeze": ("loraloop models freeze reviews -m 'no changes before the launch'",),
    "models unfreeze": ("loraloop models unfreeze reviews --yes",),
    "canary pause": ("loraloop canary pause reviews -m 'an outage elsewhere'",),
    "canary resume": ("loraloop canary resume reviews --yes",),
    "canary set-share": ("loraloop canary set-share reviews 0.2 --dry-run",),
    "models rollback": ("loraloop models rollback reviews --dry-run", "loraloop models rollback reviews --to 2 --yes"),
    "runs show": ("loraloop runs show run-1a2b3c", "loraloop runs show run-1a2b3c --json"),
    "runs cancel": (
        "loraloop runs cancel run-1a2b3c --dry-run",
        "loraloop runs cancel run-1a2b3c --yes -m 'bad rows'",
    ),
    "runs pause": ("loraloop runs pause run-1a2b3c -m 'the machine is needed'",),
    "runs resume": ("loraloop runs resume run-1a2b3c",),
    "canary stop": ("loraloop canary stop reviews --dry-run", "loraloop canary stop reviews --yes -m 'wrong language'"),
    "promotions approve": ("loraloop promotions approve 12 --yes -m 'read the worst ten'",),
    "promotions reject": ("loraloop promotions reject 12 --yes -m 'too terse'",),
    "versions import": (
        "loraloop versions import reviews ./my-adapter --dry-run",
        "loraloop versions import reviews - --yes < my-adapter.tar",
    ),
    "quarantine list": ("loraloop quarantine --model reviews",),
    "quarantine show": ("loraloop quarantine show 12 --limit 20",),
    "quarantine hold": (
        "loraloop quarantine hold --model reviews --key k1a2b3 --yes -m 'one script'",
        "loraloop quarantine hold --user u-17 --from 2026-03-01 --until 2026-03-02T12:00 --dry-run",
    ),
    "quarantine release": ("loraloop quarantine release 12 --yes -m 'the votes are real'",),
    "quarantine reject": ("loraloop quarantine reject 12 --yes -m 'one script, forty users'",),
    "snapshots show": ("loraloop snapshots show run-1a2b3c", "loraloop snapshots show 3fa1c0d2 --html report.html"),
    "snapshots export": (
        "loraloop snapshots export 3fa1c0d2 train.jsonl --format openai",
        "loraloop snapshots export run-1a2b3c - --format preferences",
    ),
    "reload": ("loraloop reload", "loraloop reload --context prod --gateway https://llm.example.com"),
    "audit list": (
        "loraloop audit --act keys --since 2026-03-01",
        "loraloop audit --actor ada --outcome refused --json",
    ),
    "audit verify": ("loraloop audit verify",),
    "promotions list": ("loraloop promotions --model reviews",),
    "promotions show": ("loraloop promotions show 12 --json",),
    "promotions verify": ("loraloop promotions verify", "loraloop promotions verify --head 6f1e0c2b9a7d4e35 --json"),
    "dead-letters list": ("loraloop dead-letters --limit 20", "loraloop dead-letters --json"),
    "dead-letters show": ("loraloop dead-letters show gateway-1.1764153600000000.0",),
    "dead-letters replay": (
        "loraloop dead-letters replay --all --yes",
        "loraloop dead-letters replay gateway-1.1764153600000000.0 --dry-run",
    ),
    "dead-letters drop": ("loraloop dead-letters drop gateway-1.1764153600000000.0 --yes",),
    "data erase": (
        "loraloop data erase --user u-17 --dry-run",
        "loraloop data erase --user u-17 --key k1a2b3 --yes -m 'asked for it on Monday' --json",
    ),
    "retention show": ("loraloop retention show", "loraloop retention show --json"),
    "retention run": ("loraloop retention run --dry-run", "loraloop retention run --yes -m 'the disk is full'"),
    "retention log": ("loraloop retention log --limit 5",),
    "keys create": ("loraloop keys create shop --scope infer --scope feedback --expires 90d",),
    "keys list": ("loraloop keys list --json",),
    "keys revoke": ("loraloop keys revoke k1a2b3 --yes",),
    "keys rotate": ("loraloop keys rotate k1a2b3 --grace 1h --yes",),
    "alarms list": ("loraloop alarms", "loraloop alarms --model reviews --json"),
    "alarms silence": (
        "loraloop alarms silence engine_down --hours 2 -m 'new driver'",
        "loraloop alarms silence dead_letters --hours 0",
    ),
    "notifications status": ("loraloop notifications status",),
    "notifications test": ("loraloop notifications test",),
    "backup create": ("loraloop backup create /backups/monday.tar", "loraloop backup - | ssh nas 'cat > monday.tar'"),
    "backup restore": (
        "loraloop backup restore /backups/monday.tar --dry-run",
        "loraloop backup restore /backups/monday.tar --yes",
        "loraloop backup restore - --yes < monday.tar",
    ),
    "data export": (
        "loraloop data export decisions ledger.jsonl",
        "loraloop data export feedback votes.parquet --key k1a2b3",
        "loraloop data export feedback - | gzip > votes.jsonl.gz",
    ),
    "data import": (
        "loraloop data import examples.jsonl --model reviews --dry-run",
        "loraloop data import traces.json --model reviews --format langfuse --yes",
        "loraloop data import - --model reviews --yes < examples.jsonl",
    ),
}


def teach(app: typer.Typer, words: tuple[str, ...] = ()) -> None:
    """Gives each command of an app its examples."""
    for command in app.registered_commands:
        callback = command.callback
        name = command.name or (callback.__name__ if callback else "")
        lines = EXAMPLES.get(" ".join((*words, name)), ())
        # A blank line between them: Typer joins lines of one paragraph.
        command.epilog = "\n\n".join(f"$ {line}" for line in lines) or None
    for group in app.registered_groups:
        if group.typer_instance:
            teach(group.typer_instance, (*words, group.name or ""))
