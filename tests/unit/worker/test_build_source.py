"""What ``build.context`` may name, and what never gets into an argument of git."""

import pytest

from gridd_worker.images.error import ImageError
from gridd_worker.images.source import Archive, Git, has_credentials, read_source

HASH = "ab" * 32


@pytest.mark.parametrize(
    ("context", "source"),
    [
        ("https://h.test/a.tar.gz?x=1", Archive("https://h.test/a.tar.gz?x=1")),
        ("http://h.test:81/a.zip", Archive("http://h.test:81/a.zip")),
        (f"http://h.test/f/{HASH}", Archive(f"http://h.test/f/{HASH}", HASH)),
        ("https://h.test/anything", Archive("https://h.test/anything")),
        ("https://github.com/o/r", Git("https://github.com/o/r.git")),
        ("https://github.com/o/r/", Git("https://github.com/o/r.git")),
        ("https://github.com/o/r.git", Git("https://github.com/o/r.git")),
        ("https://github.com/o/r/tree/a/b", Git("https://github.com/o/r.git", "a/b")),
        ("https://github.com/o/r/commit/" + "1" * 40, Git("https://github.com/o/r.git", "1" * 40)),
        ("https://github.com/o/r#v1:sub/dir", Git("https://github.com/o/r.git", "v1", "sub/dir")),
        (
            "https://github.com/o/r/archive/refs/heads/m.zip",
            Archive("https://github.com/o/r/archive/refs/heads/m.zip"),
        ),
        ("https://h.test:8443/g/r.git#main", Git("https://h.test:8443/g/r.git", "main")),
        ("https://h.test/r.git#:docker", Git("https://h.test/r.git", None, "docker")),
        ("git+https://h.test/g/r#v2", Git("https://h.test/g/r", "v2")),
    ],
)
def test_forms(context, source):
    assert read_source(context) == source
    assert not has_credentials(context)


def test_user_and_token_are_taken_out():
    context = "https://someone:secret@github.com/o/r/tree/main"
    assert has_credentials(context)
    assert read_source(context) == Git("https://github.com/o/r.git", "main")


@pytest.mark.parametrize(
    "context",
    [
        "file:///etc/passwd", "ext::sh -c id", "git://h.test/r.git", "ssh://h.test/r.git",
        "git@github.com:o/r.git", "--upload-pack=id", "git+file:///r", "git+ext::id", "", "r.git",
        "https://h.test/a b.git", "https://h.test/a\n.git", "https:///r.git", "https://h:x/r.git",
        "https://u:secret@[bad/r.git",
    ],
)  # fmt: skip
def test_other_addresses_are_refused_without_their_secrets(context):
    with pytest.raises(ImageError) as caught:
        read_source(context)
    assert "must be the http or https address" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "ref",
    ["--upload-pack=id", "-x", "a..b", "a b", "${REF}", "a^{}", "a:b~", "@{1}", "a.lock", "a.",
     "refs/heads/--x", "*", "%2D-x", "%00", "a%0Ab", "x" * 300],
)  # fmt: skip
def test_refs_that_git_could_take_for_more(ref):
    with pytest.raises(ImageError):
        read_source(f"https://github.com/o/r/tree/{ref}")


@pytest.mark.parametrize("directory", ["../x", "a/../../x", "/etc", "a//b", "a\\b"])
def test_directories_that_lead_out(directory):
    with pytest.raises(ImageError):
        read_source(f"https://h.test/r.git#main:{directory}")
