"""Logins for private registries and repositories, from files that the worker's owner names.

Never from a definition, never into a log line. The files are read when they are needed, so a
renewed token works at once.
"""

import base64
import binascii
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

_FILE_BYTES_MAX: Final = 1 << 20
_HUB: Final = "docker.io"
_HUB_NAMES: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")


class CredentialsError(Exception):
    """A file of the owner's that can't be used. A sentence without what is in the file."""


@dataclass(frozen=True, slots=True)
class GitLogin:
    user: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegistryLogins:
    """By host of the registry, what the engine wants to be told."""

    logins: dict[str, dict[str, str]] = field(repr=False)

    def for_image(self, image: str) -> str | None:
        """The value of ``X-Registry-Auth`` for the registry of ``image``; None for no login."""
        login = self.logins.get(registry_of(image))
        return _encoded(login) if login else None

    def for_build(self) -> str | None:
        """The value of ``X-Registry-Config``: all of them, for what a build copies from."""
        if not self.logins:
            return None
        hub = "https://index.docker.io/v1/"  # what the engine looks for
        return _encoded({hub if h == _HUB else h: login for h, login in self.logins.items()})


def registry_of(image: str) -> str:
    """``docker.io`` where the name has no host."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return _HUB if first in _HUB_NAMES else first
    return _HUB


def read_registry_logins(file: Path | None) -> RegistryLogins:
    """``file`` in the form of Docker's own ``config.json``. Raises ``CredentialsError``."""
    if file is None:
        return RegistryLogins({})
    try:
        members = json.loads(_read(file))
        auths = members.get("auths") or {}
        helpers = members.get("credsStore") or members.get("credHelpers")
        logins = {_host(name): _login(file, name, entry) for name, entry in auths.items()}
    except (ValueError, AttributeError, TypeError):
        raise CredentialsError(f"{file} is not in the form of Docker's config.json") from None
    found = {host: login for host, login in logins.items() if login}
    if helpers and not found:
        raise CredentialsError(
            f"{file} leaves logins to a credential helper, which is not asked: write them under"
            " auths"
        )
    return RegistryLogins(found)


def _login(file: Path, name: str, entry: dict[str, Any]) -> dict[str, str]:
    user, password = entry.get("username"), entry.get("password")
    if auth := entry.get("auth"):
        try:
            user, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except (binascii.Error, ValueError, TypeError):
            raise CredentialsError(f"{file}: the auth of {name} is not base64") from None
    login = {"username": user, "password": password, "serveraddress": _host(name)}
    if token := entry.get("identitytoken"):
        login = {"identitytoken": token, "serveraddress": _host(name)}
    elif not user:
        return {}
    return {key: str(value) for key, value in login.items()}


def _host(name: str) -> str:
    host = name.partition("://")[2] or name
    host = host.partition("/")[0]
    return _HUB if host in _HUB_NAMES else host


def _encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def find_git_login(file: Path | None, url: str) -> GitLogin | None:
    """The first line of ``file`` (``https://USER:TOKEN@HOST[/PATH]``, the form that git's own
    store has) whose scheme, host and path fit ``url``. Raises ``CredentialsError``."""
    if file is None:
        return None
    wanted = urlsplit(url)
    for number, line in enumerate(_read(file).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            entry = urlsplit(line.strip())
            entry_place = (entry.scheme, entry.hostname, entry.port)
        except ValueError:
            raise CredentialsError(f"{file}, line {number}: not an address with a login") from None
        if entry.password is None or not entry.hostname:
            raise CredentialsError(f"{file}, line {number}: not an address with a login")
        if entry_place == (wanted.scheme, wanted.hostname, wanted.port) and _covers(
            entry.path, wanted.path
        ):
            return GitLogin(unquote(entry.username or ""), unquote(entry.password))
    return None


def _covers(path: str, wanted: str) -> bool:
    plain = path.strip("/").removesuffix(".git")
    target = wanted.strip("/").removesuffix(".git")
    return not plain or target == plain or target.startswith(f"{plain}/")


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(_FILE_BYTES_MAX + 1)
        if len(data) > _FILE_BYTES_MAX:
            raise CredentialsError(f"{file} has more than {_FILE_BYTES_MAX} bytes, the limit")
        return data.decode()
    except OSError as error:
        raise CredentialsError(f"{file} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CredentialsError(f"{file} is not text") from None
