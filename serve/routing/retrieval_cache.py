"""Keep retrievals on a gateway: fetch them from control by content hash, verify, store and index them.

A gateway uses a model's new route only after it has the retrievals that the route names.
"""

import asyncio
import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import aiohttp
from fastapi.responses import FileResponse

from core.db import versions
from core.db.store import Store
from core.durable_file import replace_content
from core.errors import IntegrityFailed, NotFound, Unreachable
from core.route_list import RouteList
from serve.retrieval.retriever import FILE, Retrieval, Retriever, sha256_of

log = logging.getLogger(__name__)

PATH = "/internal/retrievals"
NAME = re.compile(r"[0-9a-f]{64}")
FETCH_SECONDS = 60.0


class RetrievalCache:
    """The retrievals that a gateway has. Work on files and indexes is done in threads."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        control_url: str,
        headers: dict[str, str],
        folder: Path,
        first: Path | None = None,
    ) -> None:
        self._session = session
        self._url = f"{control_url}{PATH}"
        self._headers = headers
        self._folder = folder
        # The folder of the gateway's first worker, for another that is new and has none yet.
        self._first = first
        self._retrievers: dict[str, Retriever] = {}

    def retriever(self, name: str) -> Retriever:
        """One that the table names, which is here for that reason."""
        return self._retrievers[name]

    def has(self, name: str) -> bool:
        """Whether a retrieval can be used."""
        return name in self._retrievers

    def load(self, names: Collection[str]) -> None:
        """Load those that are on disk, so that a start needs no control."""
        for name in names:
            found = self._kept(name)
            if found is not None:
                self._retrievers[name] = found

    async def prepare(self, names: Collection[str]) -> list[str]:
        """Load all of them from disk or from control. Return what went wrong with those that are still missing."""
        faults = []
        for name in sorted(set(names) - self._retrievers.keys()):
            try:
                found = await asyncio.to_thread(self._kept, name)
                if found is None:
                    content = await self._fetch(name)
                    found = await asyncio.to_thread(self._take, name, content)
            except (IntegrityFailed, Unreachable, aiohttp.ClientError, TimeoutError) as error:
                faults.append(str(error) or type(error).__name__)
            else:
                self._retrievers[name] = found
        return faults

    def withhold(self, named: Collection[str], withheld: Mapping[str, Collection[int]]) -> None:
        """Show no entry of the retrievals that a table names which it withholds, by their places."""
        for name in named:
            if name in self._retrievers:
                self._retrievers[name].withhold(withheld.get(name, ()))

    def keep_only(self, names: Collection[str]) -> None:
        """Forgets all others, on disk too; a request that is under way has its own hold on what it needs."""
        self._retrievers = {name: found for name, found in self._retrievers.items() if name in names}
        for file in self._folder.iterdir() if self._folder.is_dir() else ():
            if file.stem not in names or file.suffix != ".json":
                file.unlink(missing_ok=True)

    def _kept(self, name: str) -> Retriever | None:
        """The retrieval on disk, or None where it is not whole there."""
        if not NAME.fullmatch(name):
            return None
        file = self._folder / f"{name}.json"
        if self._first is not None and not file.is_file():
            file = self._first / file.name
        try:
            return _read(name, file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, IntegrityFailed) as error:
            log.warning("the retrieval %s on disk is not used: %s", name[:12], error)
            return None

    async def _fetch(self, name: str) -> bytes:
        if not NAME.fullmatch(name):
            raise IntegrityFailed(f"The routing table names the retrieval {name[:64]!r}, which is no hash.")
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        async with self._session.get(f"{self._url}/{name}", headers=self._headers, timeout=timeout) as response:
            if response.status != 200:
                raise Unreachable(f"Control answers {response.status} for the retrieval {name[:12]}.")
            return await response.read()

    def _take(self, name: str, content: bytes) -> Retriever:
        found = _read(name, content)
        try:
            self._keep(self._folder / f"{name}.json", content)
        except OSError as error:
            log.error("the retrieval %s serves, but the disk does not take it: %s", name[:12], error)
        return found

    def _keep(self, file: Path, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_content(file, content)


def _read(name: str, content: bytes) -> Retriever:
    """Return the retrieval of a name, indexed. Raises IntegrityFailed for a wrong hash or an unknown format."""
    if sha256_of(content) != name:
        raise IntegrityFailed(f"What came for the retrieval {name[:12]} has another hash.")
    try:
        return Retriever(Retrieval.from_bytes(content))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityFailed(
            f"The retrieval {name[:12]} cannot be read: {error}.", hint="Upgrade this gateway."
        ) from error


def create_router(store: Store) -> RouteList:
    """Control's side: the route by which gateways fetch one."""
    router = RouteList()

    @router.get(f"{PATH}/{{sha256}}")
    def lend(sha256: str) -> FileResponse:
        folder = versions.retrieval_folder(store, sha256=sha256)
        file = Path(folder) / FILE if folder else None
        if file is None or not file.is_file():
            raise NotFound("retrieval", sha256)
        return FileResponse(file, media_type="application/json")

    return router
