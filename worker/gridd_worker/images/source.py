"""What ``build.context`` names: a git repository at a ref, or an archive (WIRE 6.8). Pure.

Refuses what no worker fetches (other schemes, git over ssh), and takes user and token out of an
address: definitions are public, so credentials come from the worker's owner alone.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from gridd_protocol.errors import ProtocolError, shown
from gridd_protocol.names import check_file_name
from gridd_worker.images.error import ImageError

_REF: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+@=-]{0,249}")
_REF_NEVER: Final = ("..", "//", "@{", "/.")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_GITHUB: Final = re.compile(r"/([^/]+)/([^/]+?)(?:\.git)?(?:/(?:tree|commit)/(.+?))?/?")
_BLOB: Final = re.compile(r"/f/([0-9a-f]{64})$")


@dataclass(frozen=True, slots=True)
class Archive:
    """``sha256`` when the address itself says what the bytes are (a blob of a grid)."""

    url: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Git:
    """``ref``: a branch, a tag or a commit; None is the remote's own default. ``directory``: the
    part of the tree that is wanted, None for all of it."""

    url: str
    ref: str | None = None
    directory: str | None = None

    @property
    def commit(self) -> str | None:
        """The ref, if it is a whole commit hash: such a source never changes."""
        return self.ref if self.ref is not None and _COMMIT.fullmatch(self.ref) else None


def read_source(context: str) -> Archive | Git:
    """Raises ``ImageError`` for what is no usable address."""
    is_git, text = context.startswith("git+"), context.removeprefix("git+")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise _unusable(context) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or "\\" in text:
        raise _unusable(context)
    if any(ord(character) <= 32 or character == "\x7f" for character in text):
        raise _unusable(context)
    host = parts.netloc.rpartition("@")[2]
    path = parts.path
    if path.endswith((".tar.gz", ".tgz", ".zip", ".tar")) and not is_git:
        return _archive(urlunsplit((parts.scheme, host, path, parts.query, "")))
    if parts.hostname == "github.com" and (match := _GITHUB.fullmatch(path)):
        ref, directory = _fragment(parts.fragment)
        url = f"{parts.scheme}://{host}/{match[1]}/{match[2]}.git"
        return Git(url, _checked_ref(unquote(match[3]) if match[3] else ref), directory)
    if is_git or path.rstrip("/").endswith(".git"):
        ref, directory = _fragment(parts.fragment)
        url = urlunsplit((parts.scheme, host, path.rstrip("/"), "", ""))
        return Git(url, _checked_ref(ref), directory)
    return _archive(urlunsplit((parts.scheme, host, path, parts.query, "")))


def has_credentials(context: str) -> bool:
    """True when the address holds a user or a token."""
    return "@" in context.partition("://")[2].partition("/")[0]


def _archive(url: str) -> Archive:
    found = _BLOB.search(urlsplit(url).path)
    return Archive(url, found[1] if found else None)


def _fragment(fragment: str) -> tuple[str | None, str | None]:
    """``REF:DIRECTORY``, both optional, as Docker has it."""
    ref, _, directory = unquote(fragment).partition(":")
    if not directory.strip("/"):
        return ref or None, None
    return ref or None, inside_name(directory, "the directory in build.context")


def inside_name(name: str, field: str) -> str | None:
    """A path that stays inside of the context, without ``./`` and outer slashes; None is the
    context itself. Raises ``ImageError``."""
    plain = name.strip().removeprefix("./").strip("/")
    if plain in ("", "."):
        return None
    if name.strip().startswith("/"):
        raise ImageError(f"{field} is {shown(name)}: it must be relative", building=True)
    try:
        return check_file_name(plain, field)
    except ProtocolError as error:
        raise ImageError(error.message, building=True) from None


def _checked_ref(ref: str | None) -> str | None:
    """A ref goes into git's arguments: nothing that git could take for anything else."""
    if ref is None:
        return None
    plain = ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
    odd = not _REF.fullmatch(plain) or any(part in plain for part in _REF_NEVER)
    if odd or plain.endswith(("/", ".", ".lock")):
        raise ImageError(
            f"build.context names {shown(ref)}, which is no branch, tag or commit", building=True
        )
    return ref


def _unusable(context: str) -> ImageError:
    shown_context = shown(re.sub(r"[^/\s]*@", "", context))
    return ImageError(
        f"build.context is {shown_context}: it must be the http or https address of an archive or"
        " of a git repository",
        building=True,
    )
