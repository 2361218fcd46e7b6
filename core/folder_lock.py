"""A lock on a folder that one process may use at a time. It ends with the process, however that ends."""

import fcntl
from pathlib import Path

from core.errors import NotReady, SettingsError


class FolderLock:
    """Held from its creation until `release`. Raises NotReady if another process, or another app, holds it.

    `name` is that of the file that is locked. A folder may have locks for several purposes.
    """

    def __init__(self, folder: Path, *, refused: str, hint: str, name: str = "lock") -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / name).open("w")
        except OSError as error:
            raise SettingsError(
                f"The data folder {folder} cannot be written: {error.strerror}.", hint="Set data to a folder of yours."
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise NotReady(refused, hint=hint) from error

    def release(self) -> None:
        """Let another process have the folder."""
        self._file.close()
