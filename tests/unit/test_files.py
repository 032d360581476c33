"""Atomic writes: under a name there is the earlier file or folder, or the whole new one."""

import os
import signal
from pathlib import Path

import pytest

from bso_runtime import files as runtime_files
from fairseq_bso.errors import UserError
from fairseq_bso.files import AtomicFolder, atomic_path, atomic_write, claim, reserve
from fairseq_bso.locks import InUse, alone


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
        with AtomicFolder(tmp_path / "folder").writing() as part:
            (part / content).write_text(content)
    assert names(tmp_path) == ["folder"] and names(tmp_path / "folder") == ["second"]


def test_after_an_exception_there_is_the_earlier_folder_alone(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(KeyboardInterrupt), AtomicFolder(tmp_path / "folder").writing() as part:
        (part / "half").write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == ["folder"] and names(tmp_path / "folder") == []


def killed(work):
    """Runs `work` in a process that is killed in the middle: `work` calls its argument where that happens."""
    child = os.fork()
    if not child:
        try:
            work(lambda: os.kill(os.getpid(), signal.SIGKILL))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_second_process_is_refused_before_it_works(tmp_path):
    with claim(tmp_path / "out", "--out"):
        with pytest.raises(UserError, match="another process writes .*out now: wait .*, or give another --out"):
            with claim(tmp_path / "out", "--out"):
                pytest.fail("two processes at once")
        with claim(tmp_path / "other", "--out"):
            pass
    with claim(tmp_path / "out", "--out"):
        pass
    assert names(tmp_path) == []


def test_one_output_under_two_names_is_one_output(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "real")
    with claim(Path("."), "--out"), pytest.raises(UserError, match="another process writes .*real now"):
        with claim(tmp_path / "link", "--out"):
            pytest.fail("two processes at once")


def test_processes_that_wait_come_one_after_another(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    children = []
    for _ in range(3):
        children.append(os.fork())
        if not children[-1]:
            try:
                for _ in range(100):
                    with alone(tmp_path / "lock", waiting=lambda: None):
                        counter.write_text(str(int(counter.read_text()) + 1))
            except BaseException:
                os._exit(1)
            os._exit(0)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert counter.read_text() == "300" and names(tmp_path) == ["counter"]


def test_a_lock_ends_with_its_process(tmp_path):
    def work(die):
        with alone(tmp_path / "lock"):
            die()

    killed(work)
    assert names(tmp_path) == ["lock"]
    with alone(tmp_path / "lock") as sure:
        assert sure
        with pytest.raises(InUse), alone(tmp_path / "lock"):
            pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("write", [atomic_write, runtime_files.atomic_write])
def test_the_next_write_removes_what_a_killed_process_left(tmp_path, write):
    path = tmp_path / "file"
    path.write_text("earlier")

    def work(die):
        with write(path) as file:
            file.write(b"half")
            file.flush()
            die()

    killed(work)
    (tmp_path / "file.mine.part").write_text("of the user")
    assert len(names(tmp_path)) == 3 and path.read_text() == "earlier"
    with write(path) as file:
        with write(path) as other:  # of a process that is alive
            other.write(b"other")
        file.write(b"new")
    assert path.read_text() == "new" and names(tmp_path) == ["file", "file.mine.part"]


def test_a_killed_process_loses_no_earlier_folder(tmp_path, monkeypatch):
    folder = AtomicFolder(tmp_path / "folder")
    with folder.alone(), folder.writing() as part:
        (part / "first").write_text("first")

    def work(die):
        replace = Path.replace
        monkeypatch.setattr(Path, "replace", lambda path, to: die() if path.suffix == ".part" else replace(path, to))
        with AtomicFolder(folder.path).writing() as part:
            (part / "second").write_text("second")

    killed(work)
    assert len(names(tmp_path)) == 2 and "folder" not in names(tmp_path)
    with folder.alone():
        assert names(tmp_path / "folder") == ["first"]
    assert names(tmp_path) == ["folder"]


def test_the_first_error_is_reported_though_the_file_cannot_be_removed(tmp_path, monkeypatch):
    def read_only(*arguments, **options):
        raise OSError(30, "Read-only file system")

    for write in (atomic_write, runtime_files.atomic_write):
        with pytest.raises(OSError, match="No space left"), write(tmp_path / "file"):
            monkeypatch.setattr(Path, "unlink", read_only)
            raise OSError(28, "No space left on device")
        monkeypatch.undo()


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_a_reserved_file_has_its_size_and_its_room(tmp_path, size):
    reserve(tmp_path / "file", size)
    found = (tmp_path / "file").stat()
    assert found.st_size == size and found.st_blocks * 512 >= size
    assert (tmp_path / "file").read_bytes() == bytes(size)


def test_an_empty_file_is_a_file(tmp_path):
    with atomic_write(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_bytes() == b""
