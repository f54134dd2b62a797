"""From a tree to the engine's tar: what ``buildContext`` and ``filename`` mean, and stay inside."""

import tarfile
from pathlib import Path

import pytest

from gridd_protocol.definitions import Build
from gridd_worker.images.context import arrange, write_tar
from gridd_worker.images.error import ImageError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in ("Dockerfile", "docker/Dockerfile", "docker/other", "src/a", "src/b/c"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "Dockerfile").write_text("secret")
    return root


def packed(
    tree: Path, build: Build, directory: str | None = None, *, buildkit: bool = False
) -> tuple[str, dict[str, str]]:
    context = arrange(build, tree, directory)
    target = tree.parent / "tar"
    write_tar(context, target, lambda: False, buildkit=buildkit)
    with tarfile.open(target) as tar:
        assert {(entry.uid, entry.uname) for entry in tar} <= {(0, "")}
        found = {
            entry.name: (tar.extractfile(entry) or pytest.fail(entry.name)).read().decode()
            for entry in tar
            if entry.isreg()
        }
    assert len(found) == len(set(found))
    return context.name, found


def test_the_whole_tree_with_its_own_dockerfile(tree):
    name, files = packed(tree, Build())
    assert name == "Dockerfile"
    assert files[name] == "text of Dockerfile"
    assert set(files) == {
        "Dockerfile", "docker/Dockerfile", "docker/other", "src/a", "src/b/c"
    }  # fmt: skip


def test_an_inline_dockerfile_takes_the_place_of_the_file(tree):
    name, files = packed(tree, Build(dockerfile="FROM inline"))
    assert files[name] == "FROM inline"
    name, files = packed(tree, Build(dockerfile="FROM inline", filename="docker/other"))
    assert (name, files[name]) == ("docker/other", "FROM inline")


def test_a_subdirectory(tree):
    name, files = packed(tree, Build(build_context="./docker/"))
    assert (name, files) == (
        "Dockerfile",
        {"Dockerfile": "text of docker/Dockerfile", "other": "text of docker/other"},
    )
    assert packed(tree, Build(), "docker") == (name, files)


def test_a_dockerfile_outside_of_the_subdirectory_is_not_copied(tree):
    """Its name is beside the files, and ``.dockerignore`` takes it out again."""
    name, files = packed(tree, Build(build_context="src", filename="docker/other"))
    assert name.startswith(".dockerfile-")
    assert set(files) == {"a", "b/c", name, ".dockerignore"}
    assert files[name] == "text of docker/other"
    assert files[".dockerignore"].split() == [name, ".dockerignore"]


def test_a_filename_may_also_be_meant_within_the_subdirectory(tree):
    name, files = packed(tree, Build(build_context="docker", filename="other"))
    assert (name, files[name]) == ("other", "text of docker/other")


def test_dockerignore(tree):
    (tree / ".dockerignore").write_text("src/b\nDockerfile\n*\n!src/a\n!src/b/c\n")
    name, files = packed(tree, Build())
    assert set(files) == {"Dockerfile", ".dockerignore", "src/a", "src/b/c"}
    assert name == "Dockerfile"


@pytest.mark.parametrize(
    "build",
    [
        Build(build_context="../outside"), Build(build_context="/etc"), Build(build_context="a\0b"),
        Build(build_context="src/../../outside"), Build(filename="../outside/Dockerfile"),
        Build(filename="/etc/passwd"), Build(dockerfile="x", filename="../evil"),
        Build(dockerfile="x", filename="src"), Build(dockerfile="x", filename="src/a/x"),
        Build(build_context="none"), Build(filename="none"), Build(build_context="src"),
        Build(build_context="--file=/etc"),
    ],
)  # fmt: skip
def test_what_leads_out_or_is_not_there(tree, build):
    before = sorted(path.name for path in tree.parent.iterdir())
    with pytest.raises(ImageError):
        packed(tree, build)
    assert sorted(path.name for path in tree.parent.iterdir()) == before


@pytest.mark.parametrize("to", ["../outside", "src/../../outside"])
def test_links_are_not_followed_out(tree, to):
    (tree / "way").symlink_to(to)
    (tree / "src" / "df").symlink_to("../../outside/Dockerfile")
    for build in (
        Build(build_context="way"), Build(filename="way/Dockerfile"), Build(filename="src/df"),
        Build(dockerfile="x", filename="way/evil"),
    ):  # fmt: skip
        with pytest.raises(ImageError):
            arrange(build, tree)
    assert not (tree.parent / "outside" / "evil").exists()


def test_links_inside_are_kept_and_a_linked_dockerfile_is_read(tree):
    (tree / "Dockerfile").unlink()
    (tree / "Dockerfile").symlink_to("docker/other")
    name, files = packed(tree, Build())
    assert (name, files[name]) == ("docker/other", "text of docker/other")
    with tarfile.open(tree.parent / "tar") as tar:
        assert tar.getmember("Dockerfile").linkname == "docker/other"


def test_an_inline_dockerfile_replaces_a_link_and_not_what_it_leads_to(tree):
    (tree / "Dockerfile").unlink()
    (tree / "Dockerfile").symlink_to("../outside/Dockerfile")
    name, files = packed(tree, Build(dockerfile="FROM mine"))
    assert files[name] == "FROM mine"
    assert (tree.parent / "outside" / "Dockerfile").read_text() == "secret"


def test_a_circle_of_links(tree):
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to("a")
    with pytest.raises(ImageError):
        arrange(Build(build_context="a"), tree)


def test_an_ignore_file_beside_its_dockerfile_comes_first(tree):
    (tree / ".dockerignore").write_text("src")
    (tree / "docker" / "other.dockerignore").write_text("docker\nDockerfile")
    name, files = packed(tree, Build(filename="docker/other"))
    assert (name, set(files)) == ("docker/other", {name, "src/a", "src/b/c", ".dockerignore"})
    assert files[".dockerignore"] == "docker\nDockerfile"
    _, files = packed(tree, Build())
    assert "src/a" not in files


def test_buildkit_reads_no_ignore_file_in_a_tar(tree):
    """So it is a file like others there, and the Dockerfile is the only one of ours."""
    (tree / ".dockerignore").write_text("src\n.dockerignore")
    _, files = packed(tree, Build(), buildkit=True)
    assert set(files) == {"Dockerfile", "docker/Dockerfile", "docker/other"}
    (tree / ".dockerignore").write_text("docker")
    name, files = packed(tree, Build(build_context="src", filename="Dockerfile"), buildkit=True)
    assert set(files) == {name, "a", "b/c"}
    _, files = packed(tree, Build(), buildkit=True)
    assert set(files) == {"Dockerfile", ".dockerignore", "src/a", "src/b/c"}
