"""The trainer's process: started, read from, and ended if need be.

It owns the process, so that a crash or an out-of-memory kill there touches nothing else; it must not know
what is done with the adapter.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from core.errors import TrainingFailed
from core.settings import SECRET_VARIABLES
from retrain.trainer.job import ADAPTER, Job, Step

LOG = "trainer.log"
# OpenMP threads that spin for long while they wait take the cores from the engine next to them, and both crawl;
# threads that never spin cost the trainer a fifth of its speed. This is some tens of microseconds.
YIELDING = {"GOMP_SPINCOUNT": "20000"}


class Trainer:
    """Runs one job at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._stopped = threading.Event()

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        """Blocks until the adapter is there and returns its folder. Raises TrainingFailed with the reason."""
        file = job.write()
        log = file.with_name(LOG)
        kept = {name for name in os.environ if not name.endswith("_KEY")} - SECRET_VARIABLES
        environment = {name: os.environ[name] for name in kept} | YIELDING
        with (
            log.open("w", encoding="utf-8") as output,
            subprocess.Popen(
                [sys.executable, "-m", "retrain.trainer.sft", str(file)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                start_new_session=True,
            ) as process,
        ):
            self._process = process
            for line in process.stdout or ():
                step = Step.parse(line)
                if step:
                    progress(step)
                else:
                    output.write(line)
            code = process.wait()
        if code:
            raise TrainingFailed(_reason(code, log, stopped=self._stopped.is_set()), hint=f"Its log is {log}.")
        return file.with_name(ADAPTER)

    def stop(self) -> None:
        """Ends a job that is under way; its run fails with that reason."""
        self._stopped.set()
        if self._process and self._process.poll() is None:
            self._process.kill()


def _reason(code: int, log: Path, *, stopped: bool) -> str:
    if stopped:
        return "The training was stopped with the process that ran it."
    if code == -9:
        return "The trainer was killed, most likely for want of memory; lower retrain.batch_size."
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"The trainer ended with code {code}: {lines[-1][-300:] if lines else 'it wrote nothing'}."
