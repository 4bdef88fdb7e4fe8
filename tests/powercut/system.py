"""Mounts and loop devices, by system call: to start a command for each would take most of the time."""

import ctypes
import errno
import fcntl
import os
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

BLOCK = 4096
SIZE = 32 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
# struct loop_config: fd, block size, struct loop_info64 with its number and flags, eight reserved words. The loop
# device goes when nothing has it open or mounted any more.
_LOOP_CONFIG = struct.Struct("<II 40x II II 64x 64x 32x 16x 64x")
_LO_FLAGS_AUTOCLEAR = 4


class FileSystem:
    def __init__(self, name, make, options):
        self.name = name
        self.make_options = make
        # Each as it is mounted in recordings.
        self.options = options

    def make(self, path):
        with open(path, "wb") as file:
            file.truncate(SIZE)
        command = [f"mkfs.{self.name}", "-q", *self.make_options, path]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


FILE_SYSTEMS = {
    "ext4": FileSystem(
        "ext4",
        # All is initialised at once, so that no background thread does so later.
        ["-b", "4096", "-I", "256", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
        # The allocation on rename is a favour to programs that do not sync, which haul must not need. With `writeback`
        # the journal does not wait for content either.
        ["noauto_da_alloc,data=ordered", "noauto_da_alloc,data=writeback"],
    ),
    "btrfs": FileSystem(
        "btrfs",
        ["-M", "-m", "single", "-d", "single", "-n", "4096", "-s", "4096"],
        # Without the log of single files a sync is that of all, as in ext4.
        ["nodiscard", "nodiscard,notreelog"],
    ),
}


def _checked(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


@contextmanager
def _loop_device(image):
    """The path of a loop device over a file, which goes by itself."""
    backing = os.open(image, os.O_RDWR)
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        while True:
            path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            device = os.open(path, os.O_RDWR)
            config = _LOOP_CONFIG.pack(backing, BLOCK, 0, 0, 0, _LO_FLAGS_AUTOCLEAR)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, config)
                break
            except OSError as error:
                os.close(device)
                # Somebody else was first.
                if error.errno != errno.EBUSY:
                    raise
        try:
            yield path
        finally:
            os.close(device)
    finally:
        os.close(control)
        os.close(backing)


@contextmanager
def mounted(kind, image, folder, options="", read_only=False):
    """An image, mounted. Its journal is replayed in any case."""
    ms_rdonly = 1
    with _loop_device(image) as device:
        flags = ms_rdonly if read_only else 0
        result = _libc.mount(device.encode(), bytes(folder), kind.name.encode(), flags, options.encode())
        _checked(result, f"mount {image}")
    try:
        yield folder
    finally:
        _checked(_libc.umount2(bytes(folder), 0), f"umount {folder}")
        if kind.name == "btrfs":
            _forget_btrfs()


def _forget_btrfs():
    """It knows a device again by its number, and refuses one that looks older than when it was seen last."""
    forget_device = 0x50009405
    control = os.open("/dev/btrfs-control", os.O_RDWR)
    try:
        fcntl.ioctl(control, forget_device, bytearray(4096))
    finally:
        os.close(control)


@contextmanager
def recorded(image, log, folder):
    """A disk that logs, mounted at a folder."""
    command = [sys.executable, Path(__file__).with_name("disk.py"), image, log, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as disk:
        try:
            if disk.stdout.readline() != b"ready\n":
                raise RuntimeError("the disk did not come up")
            yield folder
        finally:
            _libc.umount2(bytes(folder), 0)
    if disk.returncode != 0:
        raise RuntimeError(f"the disk ended with {disk.returncode}")

