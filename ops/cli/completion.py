"""Words that the shell offers for arguments: names and ids that control has.

Where control does not answer soon, or refuses the key, there are none. Nothing is ever printed or asked for here: the
person is in the middle of a line.
"""

import copy
import threading
from collections.abc import Callable, Iterable
from typing import Annotated, Any, get_args
from urllib.parse import quote

import httpx
import typer

from core.api_keys import GRANTABLE
from core.settings import load
from ops import contexts as contexts_of_user
from ops.cli.control_choice import NAMED, Named, choose, contexts_file
from ops.cli.signatures import Command, parameters_of, with_parameters
from ops.cli.terminal import DEFAULT_CONFIG

# From the key press to the words, without the start of Python.
SECONDS = 1.5
MOST = 50
Word = tuple[str, str]  # the second part explains the first one in shells that show it
Complete = Callable[[typer.Context], list[Word]]


def silent(find: Callable[[typer.Context], Iterable[Word]]) -> Complete:
    """A function for the shell's completion that gives nothing after SECONDS, or if anything fails."""

    def words(ctx: typer.Context) -> list[Word]:
        found: list[Word] = []

        def look() -> None:
            try:
                found.extend(find(ctx))
            except Exception:
                pass

        # A name server or a proxy can take longer than any time limit of HTTP. The thread ends with the process.
        worker = threading.Thread(target=look, daemon=True)
        worker.start()
        worker.join(SECONDS)
        return [] if worker.is_alive() else found

    return words


def _get(ctx: typer.Context, path: str, **query: Any) -> Any:
    """What control answers, by the options that are typed already. Raises LoraLoopError or httpx.HTTPError."""
    NAMED.set(Named(ctx.params.get("url"), ctx.params.get("context")))
    choice = choose(ctx.params.get("config") or DEFAULT_CONFIG)
    headers = {"Authorization": f"Bearer {choice.key}"} if choice.key else {}
    with httpx.Client(timeout=SECONDS, trust_env=choice.settings is None) as http:
        response = http.get(choice.url.rstrip("/") + path, params=query, headers=headers)
    response.raise_for_status()
    return response.json()


def _of_model(ctx: typer.Context) -> dict[str, Any]:
    """The query for the model that is typed already."""
    model = ctx.params.get("model")
    return {"model": model} if isinstance(model, str) else {}


@silent
def models(ctx: typer.Context) -> Iterable[Word]:
    """Names of models."""
    return [(row["model"], f"champion {row['champion']}") for row in _get(ctx, "/api/models")]


@silent
def models_of_configuration(ctx: typer.Context) -> Iterable[Word]:
    """Names of models, for commands that speak to no control."""
    return [(name, "") for name in load(ctx.params.get("config") or DEFAULT_CONFIG).models]


@silent
def versions(ctx: typer.Context) -> Iterable[Word]:
    """Versions of the model that is typed already, newest first."""
    # After an option that lacks its value, the parser has not come to the arguments, whose first one is the model.
    model = ctx.params.get("model") or ctx.args[0]
    rows = _get(ctx, f"/api/models/{quote(model, safe='')}/versions")
    return [(str(row["version"]), row["kind"]) for row in sorted(rows, key=lambda row: -row["version"])[:MOST]]


def _get_rows(ctx: typer.Context, path: str, **query: Any) -> list[dict[str, Any]]:
    """Rows about all models. A key that is limited to models must name each: then those of its own models."""
    try:
        return _get(ctx, path, **query)
    except httpx.HTTPStatusError as error:
        if error.response.status_code != 403 or "model" in query:
            raise
        own = [row["model"] for row in _get(ctx, "/api/models")]
        return [row for model in own for row in _get(ctx, path, model=model, **query)]


def _runs(ctx: typer.Context) -> list[dict[str, Any]]:
    return _get_rows(ctx, "/api/runs", limit=MOST)


def _run(row: dict[str, Any]) -> Word:
    return row["id"], f"{row['model']}, {row['state']}"


@silent
def runs(ctx: typer.Context) -> Iterable[Word]:
    """Ids of runs."""
    return map(_run, _runs(ctx))


@silent
def unfinished_runs(ctx: typer.Context) -> Iterable[Word]:
    """Ids of runs that have not ended."""
    return [_run(row) for row in _runs(ctx) if not row["finished"]]


@silent
def snapshots(ctx: typer.Context) -> Iterable[Word]:
    """Beginnings of hashes of snapshots, and the ids of their runs."""
    rows = [row for row in _runs(ctx) if row["snapshot"]]
    hashes = {row["snapshot"][:12]: f"{row['model']}, {row['id']}" for row in reversed(rows)}
    return [*map(_run, rows), *reversed(hashes.items())]


@silent
def decisions(ctx: typer.Context) -> Iterable[Word]:
    """Ids of decisions."""
    rows = _get_rows(ctx, "/api/promotions", limit=MOST)
    return [(row["id"], f"{row['seq']}: {row['model']}, {row['verdict']}") for row in rows]


@silent
def open_decisions(ctx: typer.Context) -> Iterable[Word]:
    """Ids of decisions that wait for a person."""
    return [(row["awaiting"], row["model"]) for row in _get(ctx, "/api/models") if row["awaiting"]]


@silent
def keys(ctx: typer.Context) -> Iterable[Word]:
    """Ids of keys."""
    return [(row["id"], row["name"]) for row in _get(ctx, "/api/keys")]


@silent
def open_keys(ctx: typer.Context) -> Iterable[Word]:
    """Ids of keys that are not revoked."""
    return [(row["id"], row["name"]) for row in _get(ctx, "/api/keys") if not row["revoked"]]


@silent
def scopes(_: typer.Context) -> Iterable[Word]:
    """Scopes of keys."""
    return [(scope, "") for scope in GRANTABLE]


@silent
def quarantines(ctx: typer.Context) -> Iterable[Word]:
    """Ids of quarantines."""
    rows = _get_rows(ctx, "/api/quarantine", **_of_model(ctx))
    return [(row["id"], f"{row['model']}, {row['votes']} votes, {row['state']}") for row in rows]


@silent
def dead_letters(ctx: typer.Context) -> Iterable[Word]:
    """Ids of dead letters."""
    return [(row["id"], row["reason"]) for row in _get(ctx, "/api/dead-letters", limit=MOST)["letters"]]


@silent
def alarms(ctx: typer.Context) -> Iterable[Word]:
    """Names of alarms, those that are on at the moment."""
    return {row["name"]: row["sentence"] for row in _get_rows(ctx, "/api/alarms")}.items()


@silent
def contexts(ctx: typer.Context) -> Iterable[Word]:
    """Names of contexts."""
    return [(name, one.url) for name, one in contexts_of_user.read(contexts_file()).by_name.items()]


# By the name of a parameter, after the words of its command or its noun where these matter.
WORDS: dict[str, Complete] = {
    "model": models,
    "plan model": models_of_configuration,
    "suites list model": models_of_configuration,
    "version": versions,
    "to": versions,
    "run": unfinished_runs,
    "runs show run": runs,
    "snapshots identity": snapshots,
    "promotions identity": open_decisions,
    "promotions show identity": decisions,
    "key": keys,
    "keys create scope": scopes,
    "keys identity": open_keys,
    "quarantine identity": quarantines,
    "dead-letters identity": dead_letters,
    "alarms silence name": alarms,
    "context": contexts,
    "contexts name": contexts,
}


def with_completion(command: Command, words: str) -> Command:
    """A command whose parameters offer words to the shell. `words` are those of the command, such as `runs show`."""
    parameters = parameters_of(command)
    offered = {name: found for name in parameters if (found := _words(words, name))}
    if not offered:
        return command

    def same(*args: Any, **kwargs: Any) -> None:
        command(*args, **kwargs)

    offering = (
        one.replace(annotation=_offering(one.annotation, offered[name])) if name in offered else one
        for name, one in parameters.items()
    )
    return with_parameters(command, same, offering)


def _words(words: str, name: str) -> Complete | None:
    noun = words.partition(" ")[0]
    return next((WORDS[key] for key in (f"{words} {name}", f"{noun} {name}", name) if key in WORDS), None)


def _offering(annotation: Any, complete: Complete) -> Any:
    """The type of a parameter with another description of it, because commands share descriptions."""
    kind, described = get_args(annotation)
    described = copy.copy(described)
    described.autocompletion = complete
    return Annotated[kind, described]
