"""Commands for contexts: log in to a control elsewhere, and choose which one commands speak to.

A key is never printed.
"""

import sys
from typing import Annotated, Any

import httpx
import typer

from core.api_keys import read_key
from core.errors import InputError, NoTerminal
from core.settings import read_keys
from loraloop.errors import Refused
from ops import contexts
from ops.cli.change_report import print_changed
from ops.cli.control_choice import ContextOption, contexts_file
from ops.cli.output_format import AsData
from ops.cli.terminal import show, tell
from ops.client import ControlClient
from ops.contexts import Context, Contexts

LOOPBACK = ("127.0.0.1", "::1", "localhost")
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The context.")]
UrlOption = Annotated[str | None, typer.Option("--url", help="The URL of control. Default: that of the context.")]
KeyFromStdin = Annotated[bool, typer.Option("--key-stdin", help="Read the key from stdin.")]


def login(
    url: UrlOption = None, context: ContextOption = None, key_stdin: KeyFromStdin = False, as_data: AsData = False
) -> None:
    """Store the URL and the key of a control as a context, once control has accepted the key.

    The key comes from stdin with --key-stdin, else from LORALOOP_KEY, else from a prompt that does not show it.
    """
    known = contexts.read(contexts_file())
    if url is None and context is None:
        context = known.current
    if url is None:
        if context is None:
            raise InputError("--url: is needed for the first login.", hint="Do: loraloop login --url https://HOST")
        url = known.get(context).url
    where = ControlClient(url=url, key="").connection.url("control")
    parts = httpx.URL(where)
    if parts.userinfo:
        raise InputError("--url: a URL with a password is not stored.", hint="Leave the part before @ out.")
    name = context or parts.host
    key = _key(key_stdin, where)
    if parts.scheme == "http" and parts.host not in LOOPBACK:
        tell(f"warning: {where} is not https, so the key can be read on its way.")
    _check(where, key)
    known.put(name, Context(where, key))
    contexts.write(contexts_file(), known)
    _print_context(known, name, as_data)
    tell(f"Logged in to {where}. Commands use the context {name} where no loraloop.yaml is.")


def logout(context: ContextOption = None, as_data: AsData = False) -> None:
    """Delete the key of a context, by default of the current one. Its URL stays. The key itself still works."""
    known = contexts.read(contexts_file())
    name = context or known.current
    if name is None:
        raise InputError("There is no current context.", hint="Name one: --context NAME. See: loraloop contexts")
    found = known.get(name)
    known.by_name[name] = Context(found.url)
    contexts.write(contexts_file(), known)
    _print_context(known, name, as_data)
    identity = read_key(found.key)
    end = f" To end the key: loraloop keys revoke {identity[0]}" if identity else ""
    tell(f"The key of the context {name} is deleted here.{end}")


def listed(as_data: AsData = False) -> None:
    """List contexts: URL, id of the key, and which one is the current one."""
    known = contexts.read(contexts_file())
    rows = [_row(known, name) for name in known.by_name]
    if not as_data:
        rows = [row | {"current": "*" if row["current"] else ""} for row in rows]
    columns = {"current": "", "name": "context", "url": "URL", "key": "key"}
    show(rows, as_data, columns, "No contexts. Make one with: loraloop login --url URL")


def use(name: NameArgument, as_data: AsData = False) -> None:
    """Make a context the current one."""
    known = contexts.read(contexts_file())
    known.get(name)
    known.current = name
    contexts.write(contexts_file(), known)
    _print_context(known, name, as_data)
    tell(f"The current context is {name}.")


def delete(name: NameArgument, as_data: AsData = False) -> None:
    """Delete a context with its key."""
    known = contexts.read(contexts_file())
    known.get(name)
    gone = _row(known, name)
    del known.by_name[name]
    known.current = None if known.current == name else known.current
    contexts.write(contexts_file(), known)
    if as_data:
        print_changed(gone | {"key": None, "current": False, "deleted": True})
    tell(f"The context {name} is deleted.")


def _row(known: Contexts, name: str) -> dict[str, Any]:
    one = known.by_name[name]
    return {"name": name, "url": one.url, "key": _key_name(one.key), "current": name == known.current}


def _print_context(known: Contexts, name: str, as_data: bool) -> None:
    if as_data:
        print_changed(_row(known, name) | {"deleted": False})


def _key(from_stdin: bool, url: str) -> str:
    if from_stdin:
        return sys.stdin.readline().strip()
    if own := read_keys().get("own"):
        tell("The key is that of LORALOOP_KEY.")
        return own
    if not sys.stdin.isatty():
        raise NoTerminal("There is no terminal to ask for the key on.", hint="Pipe it in with --key-stdin.")
    return str(typer.prompt(f"Key for {url}", hide_input=True, default="", show_default=False, err=True)).strip()


def _check(url: str, key: str) -> None:
    """Raises LoraLoopError unless a control answers there and accepts the key."""
    try:
        with ControlClient(url=url, key=key, key_hint="Nothing was stored.") as client:
            client.get("/api/models")
    except Refused as error:
        if error.status == 403:
            tell(f"warning: the key is valid, but {error.message}")
            return
        if error.status in (200, 404, 405):
            hint = "Give the URL of control, not that of a gateway. Nothing was stored."
            raise InputError(f"--url: {url} answers, but is not LoraLoop's control.", hint=hint) from error
        raise


def _key_name(key: str) -> str | None:
    """What may be shown of a key: its id, if it has one."""
    if not key:
        return None
    found = read_key(key)
    return f"llk_{found[0]}_…" if found else "stored"
