"""Logins from the owner's files: whom they are for, and that nothing of them is said."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from gridd_worker.images.credentials import (
    CredentialsError,
    GitLogin,
    find_git_login,
    read_registry_logins,
    registry_of,
)


def word(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "file"
    file.write_text(text)
    return file


def decoded(header: str | None) -> Any:
    assert header is not None
    return json.loads(base64.urlsafe_b64decode(header))


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("busybox:1", "docker.io"), ("a/b", "docker.io"), ("docker.io/a/b", "docker.io"),
        ("index.docker.io/a/b", "docker.io"), ("localhost/a", "localhost"),
        ("h.test/a:1", "h.test"), ("h:5000/a@sha256:0", "h:5000"),
    ],
)  # fmt: skip
def test_registry_of_an_image(image, registry):
    assert registry_of(image) == registry


def test_a_login_goes_to_its_registry_only(tmp_path):
    auths = {
        "https://index.docker.io/v1/": {"auth": word("hub:p:w")},
        "h.test": {"username": "u", "password": "p"},
        "https://token.test/v2/": {"identitytoken": "t"},
        "empty.test": {},
    }
    logins = read_registry_logins(written(tmp_path, json.dumps({"auths": auths})))
    assert decoded(logins.for_image("busybox")) == {
        "username": "hub", "password": "p:w", "serveraddress": "docker.io"
    }  # fmt: skip
    assert decoded(logins.for_image("h.test/x:1"))["username"] == "u"
    assert decoded(logins.for_image("token.test/x"))["identitytoken"] == "t"
    for image in ("other.test/x", "empty.test/x", "h.test.evil/x", "h.test:81/x"):
        assert logins.for_image(image) is None
    assert set(decoded(logins.for_build())) == {
        "https://index.docker.io/v1/", "h.test", "token.test"
    }  # fmt: skip
    assert "p:w" not in repr(logins)


def test_no_file_is_no_login():
    logins = read_registry_logins(None)
    assert logins.for_image("a") is logins.for_build() is None
    assert find_git_login(None, "https://h.test/r.git") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{secret", "not in the form"), ("[]", "not in the form"), ('{"auths": 3}', "not in the"),
        ('{"auths": {"h": {"auth": "secret!"}}}', "the auth of h is not base64"),
        ('{"credsStore": "desktop"}', "credential helper"),
    ],
)  # fmt: skip
def test_files_that_can_not_be_used(tmp_path, text, said):
    with pytest.raises(CredentialsError, match=said) as caught:
        read_registry_logins(written(tmp_path, text))
    assert "secret" not in str(caught.value)


def test_git_logins_by_scheme_host_and_path(tmp_path):
    file = written(
        tmp_path,
        "# ours\n\nhttps://u:a%40b@h.test/group\nhttps://v:c@h.test\nhttp://w:d@h.test:81/r.git\n",
    )
    assert find_git_login(file, "https://h.test/group/r.git") == GitLogin("u", "a@b")
    assert find_git_login(file, "https://h.test/grouped/r.git") == GitLogin("v", "c")
    assert find_git_login(file, "http://h.test:81/r.git") == GitLogin("w", "d")
    for url in ("http://h.test/group/r.git", "https://h.test:81/r.git", "https://h.test.evil/r"):
        assert find_git_login(file, url) is None


def test_a_line_that_is_no_login_is_named_by_its_number(tmp_path):
    file = written(tmp_path, "https://u:secret@h.test\nsecret\n")
    with pytest.raises(CredentialsError, match="line 2") as caught:
        find_git_login(file, "https://other.test/r.git")
    assert "secret" not in str(caught.value).replace(str(file), "")
    with pytest.raises(CredentialsError, match="can't be read"):
        find_git_login(tmp_path / "none", "https://h.test/r.git")
