"""`loraloop up` without a terminal: started by a command that waits until it is ready, and then ends.

It writes what it says to `logs/up.log` in the data folder, as lines with their time. The first key is printed by the
command that starts it, and so never written to a file.
"""

import json
import logging
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from core import logs
from core.errors import LoraLoopError
from core.settings import Settings, load
from ops.local import server_record, up
from ops.local.preparation import Tell, lock_data, prepare

log = logging.getLogger("loraloop.up")

POLL_SECONDS = 0.1
TAIL_LINES = 20
# Time, level and logger of a line of the log.
HEAD = re.compile(r"\d{4}-\S+Z [A-Z]+ \S+ ")


def start(settings: Settings, config: Path, tell: Tell) -> None:
    """Start everything as a process of its own, and return when it is ready. Raises LoraLoopError if it is not."""
    lock = lock_data(settings.data)
    try:
        prepare(settings, tell)
    finally:
        lock.release()
    file = settings.data / "logs" / "up.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as output, file.open("rb") as said:
        said.seek(0, 2)
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.local.detached", str(config.resolve())],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            while True:
                ended, ready = process.poll() is not None, _is_ready(settings.data, process.pid)
                for line in said:
                    tell(message_of(line.decode("utf-8", errors="replace").rstrip("\n")))
                if ready:
                    process.returncode = 0  # nobody waits for it: it outlives this process
                    return
                if ended:
                    raise LoraLoopError("LoraLoop has not started.", hint=f"The lines above are also in {file}.")
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)  # not waited for yet, so the id is still its own
            process.wait()
            raise


def message_of(line: str) -> str:
    """What a line of the log says, without its time."""
    if line.startswith("{"):
        try:
            return str(json.loads(line)["message"])
        except (ValueError, LookupError, TypeError):
            return line
    return HEAD.sub("", line, count=1)


def _is_ready(data: Path, pid: int) -> bool:
    record = server_record.read(data)
    return record is not None and record.pid == pid and record.ready


def main(config: Path) -> int:
    """The process without a terminal. Returns its exit code."""
    try:
        settings = load(config)
        logs.install(settings.logs)
        log.setLevel(logging.INFO)  # the one who waits reads these lines
        up.run(settings, config, log.info, tail=TAIL_LINES)
    except KeyboardInterrupt:
        return 130
    except LoraLoopError as error:
        log.error("error: %s", error)
        return 1
    except Exception:
        log.exception("error: a bug in LoraLoop")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
