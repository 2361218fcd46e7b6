"""The trainer's process: started, read from, and ended if need be.

It owns the process, so that a crash or an out-of-memory kill there touches nothing else; it must not know
what is done with the adapter.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from core.errors import TooFewRows, TrainingFailed
from core.settings import SECRET_VARIABLES
from retrain.trainer.job import ADAPTER, CHECKPOINT, TOO_FEW_ROWS, Job, Step

LOG = "trainer.log"
KILLED = -9
# Before the first restart; None is a restart without a checkpoint.
NEVER = -1
# OpenMP threads that spin for long while they wait take the cores from the engine next to them, and both crawl;
# threads that never spin cost the trainer a fifth of its speed. This is some tens of microseconds.
YIELDING = {"GOMP_SPINCOUNT": "20000"}


class Trainer:
    """Runs one job at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._stopped = threading.Event()
        self._run_id: str | None = None
        # How the training of the run in progress is to end; the lock is held while its process starts.
        self._signal: signal.Signals | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """The id of the process that trains. Raises RuntimeError if there is none."""
        if self._process is None:
            raise RuntimeError("no training is under way")
        return self._process.pid

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        """Block until the adapter is there and return its folder. Raises TrainingFailed with the reason.

        A trainer that was killed starts again: once without a checkpoint, and at its last checkpoint as long as each
        start makes a later one.
        """
        file = job.write()
        log, checkpoint = file.with_name(LOG), file.with_name(CHECKPOINT)
        resumed: int | None = NEVER
        with self._lock:
            self._run_id, self._signal = job.run_id, None
        try:
            while code := self._run_once(file, log, progress):
                last = _changed(checkpoint)
                stopped = self._stopped.is_set() or self._signal is not None
                if code != KILLED or stopped or last == resumed:
                    raise _failure(code, log, stopped=stopped)
                resumed = last
        finally:
            with self._lock:
                self._run_id = self._process = None
        return file.with_name(ADAPTER)

    def _run_once(self, file: Path, log: Path, progress: Callable[[Step], None]) -> int:
        """Run the trainer's process to its end and return its code."""
        kept = {name for name in os.environ if not name.endswith("_KEY")} - SECRET_VARIABLES
        environment = {name: os.environ[name] for name in kept} | YIELDING
        with log.open("a", encoding="utf-8") as output, self._start(file, environment, output) as process:
            try:
                for line in process.stdout or ():
                    step = Step.parse(line)
                    if step:
                        progress(step)
                    else:
                        output.write(line)
                        output.flush()
            except BaseException:
                process.kill()  # or the end of this block would wait for the whole training
                raise
            return process.wait()

    def _start(self, file: Path, environment: dict[str, str], output: TextIO) -> "subprocess.Popen[str]":
        with self._lock:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "retrain.trainer.train", str(file)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                start_new_session=True,
            )
            if self._signal:
                self._process.send_signal(self._signal)
            return self._process

    def interrupt(self, run_id: str, *, save: bool) -> None:
        """End the training of a run, if it is under way: after the step in progress with a checkpoint, or at once."""
        with self._lock:
            if self._run_id != run_id:
                return
            self._signal = signal.SIGTERM if save else signal.SIGKILL
            if self._process and self._process.poll() is None:
                self._process.send_signal(self._signal)

    def stop(self) -> None:
        """Ends a job that is under way; its run fails with that reason."""
        self._stopped.set()
        if self._process and self._process.poll() is None:
            self._process.kill()


def _changed(checkpoint: Path) -> int | None:
    return checkpoint.stat().st_mtime_ns if checkpoint.is_file() else None


def _failure(code: int, log: Path, *, stopped: bool) -> TrainingFailed:
    hint = f"Its log is {log}."
    if stopped:
        return TrainingFailed("The training was stopped before its end.", hint=hint)
    if code == KILLED:
        reason = "The trainer was killed, most likely for want of memory; lower retrain.batch_size."
        return TrainingFailed(reason, hint=hint)
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if code == TOO_FEW_ROWS:
        return TooFewRows(lines[-1])
    said = lines[-1][-300:] if lines else "it wrote nothing"
    return TrainingFailed(f"The trainer ended with code {code}: {said}.", hint=hint)
