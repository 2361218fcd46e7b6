"""The command that brings in an adapter which was trained elsewhere.

It owns packing a folder on its way; whether the adapter is accepted is control's to say.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from core.errors import InputError
from ops.cli import streams
from ops.cli.change_report import Mode, carry_out
from ops.cli.changes import Comment, ModelArgument, require_model, said
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRun,
    Yes,
    tell,
)

CHUNK = 1024 * 1024
FILES = ("adapter_config.json", "adapter_model.safetensors")
# What control returns of an adapter that was brought in.
FIELDS = ("model", "version", "engine_name", "sha256", "rank", "modules", "new", "warnings")
PathArgument = Annotated[
    Path, typer.Argument(help="A PEFT folder, or a .zip, .tar, .tar.gz or .tgz of one. - is stdin.")
]


def import_adapter(
    model: ModelArgument,
    path: PathArgument,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_data: AsData = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Bring in an adapter that was trained elsewhere, as a new version that serves nobody yet."""
    if streams.is_stream(path):
        streams.require_answer(yes, dry_run)
        content, size = streams.pieces_of_stdin(CHUNK), None
    else:
        content, size = _packed(path) if path.is_dir() else _archive(path)
    client = client_of(config)
    sent = "" if size is None else f" ({size} bytes are sent)"
    done = carry_out(
        f"{streams.name_of(path, 'stdin')} becomes a new version of {model}, not in service{sent}.",
        lambda: client.upload(f"/api/models/{model}/adapters", content, size, **said(comment)),
        dict.fromkeys(FIELDS) | {"model": require_model(client, model)["model"], "warnings": []} if dry_run else {},
        Mode(yes, dry_run, as_data),
    )
    if done is None:
        return
    for warning in done["warnings"]:
        tell(f"warning: {warning}")
    name = f"{model}@{done['version']}"
    state = "is new" if done["new"] else "has these very bytes already; nothing was added"
    tell(f"{name} {state}: rank {done['rank']} on {done['modules']} modules.")
    tell(f"Put it in service with: loraloop models promote {model} {done['version']}")


def _archive(path: Path) -> tuple[Iterator[bytes], int]:
    if not path.is_file():
        raise InputError(f"There is no file or folder {path}.", hint="Name what PEFT's save_pretrained wrote.")
    return _pieces(path), path.stat().st_size


def _packed(folder: Path) -> tuple[Iterator[bytes], int]:
    """The folder's two files as a tar archive, and its size in bytes."""
    heads = []
    for name in FILES:
        if not (folder / name).is_file():
            raise InputError(f"{folder} holds no {name}.", hint="Save the adapter with PEFT's save_pretrained.")
        head = tarfile.TarInfo(name)
        head.size = (folder / name).stat().st_size
        heads.append(head)
    size = sum(tarfile.BLOCKSIZE + head.size + -head.size % tarfile.BLOCKSIZE for head in heads)
    return _tar(folder, heads), size + 2 * tarfile.BLOCKSIZE


def _tar(folder: Path, heads: list[tarfile.TarInfo]) -> Iterator[bytes]:
    for head in heads:
        yield head.tobuf(tarfile.USTAR_FORMAT)
        yield from _pieces(folder / head.name)
        yield bytes(-head.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(CHUNK):
            yield piece
