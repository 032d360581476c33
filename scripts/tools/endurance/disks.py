"""Small file systems, and permissions that hold for the superuser too."""

import ctypes
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000  # of unshare(2)
PRIVATE, RECURSIVE = 1 << 18, 1 << 14  # of mount(2)
CAPABILITIES = 0x20080522  # the version of the interface of capset(2)


@dataclass
class Disk:
    """A folder with little room."""

    folder: Path
    kind: str
    """how it was made"""
    file_limit: int = None
    """bytes of the largest file, where the room itself cannot be limited"""

    def bring_out(self):
        """Copies what is left beside the folder, as NAME.left: the file system ends with this process."""
        left = self.folder.with_name(self.folder.name + ".left")
        shutil.copytree(self.folder, left, dirs_exist_ok=True, symlinks=True)


def limit(folder, room):
    """Makes a folder a file system of `room` bytes, for this process and its children.

    It is a tmpfs in a mount namespace. Where the kernel allows none, files have a largest size instead.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if _own_mounts() and _library().mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={room}".encode()) == 0:
        return Disk(folder, "tmpfs")
    return Disk(folder, "RLIMIT_FSIZE", room // 4)


def _own_mounts():
    """Whether this process got mounts of its own. Others than the superuser need a user namespace for it."""
    user, group = os.getuid(), os.getgid()
    if _library().unshare(NEW_MOUNTS) != 0:
        if _library().unshare(NEW_MOUNTS | NEW_USER) != 0:
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return _library().mount(b"none", b"/", None, PRIVATE | RECURSIVE, None) == 0


def drop_privileges():
    """Gives up what lets the superuser write where permissions forbid it."""
    header = (ctypes.c_uint32 * 2)(CAPABILITIES, 0)
    _library().capset(header, (ctypes.c_uint32 * 6)())


def _library():
    return ctypes.CDLL(None, use_errno=True)
