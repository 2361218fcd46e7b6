"""The `loraloop` command, run in the test's own process: a process of its own imports for more than a second."""

import io
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.cli.app import main


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def loraloop(*words: str, cwd: Path, stdin: str | bytes = "") -> Ended:
    """Run a command in a folder, off a terminal and with its real end: the exit code, and errors as one sentence."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["loraloop", *words])
        content = stdin.encode() if isinstance(stdin, str) else stdin
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        with pytest.raises(SystemExit) as ended:
            main()
    code = ended.value.code
    assert code is None or isinstance(code, int), code
    return Ended(code or 0, out.getvalue(), err.getvalue())
