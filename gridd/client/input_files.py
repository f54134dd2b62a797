"""Files and folders that are named for a job, as references in its definition (WIRE 5.2, 5.3).

Equal files give equal references, as with upstream's ``cq``: base64 inside the definition up to
``INLINE_BYTES_MAX`` bytes, and beyond it an upload under the sha256 of the bytes.
"""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gridd.client.errors import UsageError
from gridd.client.files import read_upload
from gridd.client.transfer import Upload
from gridd_protocol import limits

FILES_PER_FOLDER_MAX = 10_000
"""Chosen: their references alone are then about as long as a definition may be."""


def add_reference(
    references: dict[str, Any], upload: Upload, api: str, uploads: list[Upload]
) -> None:
    """Let ``upload.name`` stand in ``references``; bytes that must be sent first join ``uploads``.

    Raises ``UsageError`` when the file can no longer be read."""
    if upload.size > limits.INLINE_BYTES_MAX:
        uploads.append(upload)
        references[upload.name] = upload.reference(api)
        return
    try:
        source = upload.source
        data = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise UsageError(f"{upload.name} can't be read ({error.strerror})") from error
    text = base64.b64encode(data).decode("ascii")
    references[upload.name] = {"type": "base64", "value": text}


def read_path(name: str, path: Path) -> list[Upload]:
    """A file as ``name``, or each file of a folder below ``name`` (``.``: below nothing).

    Blocks on the disk. Raises ``UsageError``."""
    if not path.is_dir():
        return [read_upload(name, path)]
    prefix = "" if name in (".", "/") else f"{name.rstrip('/')}/"
    found = [
        read_upload(prefix + file.relative_to(path).as_posix(), file) for file in files_in(path)
    ]
    if not found:
        raise UsageError(f"{name}: there is no file in {path}")
    return found


def files_in(folder: Path) -> Iterator[Path]:
    """Every file below ``folder``, sorted. Links to files are read through; links to folders and
    what is no file (a pipe would be waited for) are refused, not passed over. Raises
    ``UsageError``."""
    count = 0
    for here, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders.sort()
        for name in folders:
            if (Path(here) / name).is_symlink():
                raise UsageError(f"{Path(here) / name} is a link to a folder; it is not followed")
        for name in sorted(names):
            path = Path(here) / name
            if not path.is_file():
                raise UsageError(f"{path} is not a file")
            count += 1
            if count > FILES_PER_FOLDER_MAX:
                raise UsageError(
                    f"{folder} has more than {FILES_PER_FOLDER_MAX} files; pack them into one"
                )
            yield path


def _refuse_folder(error: OSError) -> None:
    raise UsageError(f"{error.filename} can't be read ({error.strerror})") from error
