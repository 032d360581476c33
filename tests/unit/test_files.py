"""Atomic writes: under a name there is the earlier file or folder, or the whole new one."""

import pytest

from fairseq_bso.files import AtomicFolder, atomic_path, atomic_write


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file"
    with atomic_write(path, "w", encoding="utf-8") as file:
        file.write("whole")
        assert not path.exists()
    assert path.read_text() == "whole" and names(path.parent) == ["file"]


@pytest.mark.parametrize("earlier", [None, "earlier"])
def test_after_an_exception_there_is_the_earlier_file_alone(tmp_path, earlier):
    path = tmp_path / "file"
    if earlier:
        path.write_text(earlier)
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == (["file"] if earlier else [])
    assert not earlier or path.read_text() == earlier


def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "target").write_text("earlier")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with atomic_path(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "new"


def test_two_files_of_one_block_do_not_meet(tmp_path):
    with atomic_path(tmp_path / "file") as one, atomic_path(tmp_path / "file") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "file").read_text() == "one" and names(tmp_path) == ["file"]


def test_a_file_that_nobody_wrote_is_an_error(tmp_path):
    with pytest.raises(OSError), atomic_path(tmp_path / "file"):
        pass


def test_a_folder_replaces_the_earlier_one_at_the_end(tmp_path):
    for content in ("first", "second"):
        with AtomicFolder(tmp_path / "folder") as part:
            (part / content).write_text(content)
    assert names(tmp_path) == ["folder"] and names(tmp_path / "folder") == ["second"]


def test_after_an_exception_there_is_the_earlier_folder_alone(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(KeyboardInterrupt), AtomicFolder(tmp_path / "folder") as part:
        (part / "half").write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["folder"] and names(tmp_path / "folder") == []
