#!/usr/bin/env python3
"""A disk that remembers in which order it was written to.

    disk.py IMAGE LOG FOLDER

A file system in user space, mounted at FOLDER, of three files. `disk` holds what IMAGE held, and is meant to be put
under a loop device; `sender` and `receiver` take what these say. What the loop device writes and flushes, and what they
say, goes to LOG in the order in which it came. One thread serves all, so there is one order: what somebody knew of when
he said something stands before it.

It says `ready` on standard output once it is mounted, and ends when it is unmounted.
"""

import errno
import stat
import struct
import sys

WRITE, FLUSH, SENDER, RECEIVER = b"W", b"F", b"S", b"R"
HEADER = struct.Struct("<cQI")


def records(path):
    """The records of a log: kind, offset, bytes."""
    with open(path, "rb") as log:
        while header := log.read(HEADER.size):
            kind, offset, size = HEADER.unpack(header)
            yield kind, offset, log.read(size)


def serve(image, log, folder):
    # Here, because whoever reads a log does not need it.
    try:
        from fusepy import FUSE, FuseOSError, Operations
    except ImportError:  # Its name outside of Debian.
        from fuse import FUSE, FuseOSError, Operations

    class Disk(Operations):
        def __init__(self):
            with open(image, "rb") as file:
                self.content = bytearray(file.read())
            self.log = open(log, "wb")
            self.said = {"/sender": SENDER, "/receiver": RECEIVER}

        def init(self, path):
            print("ready", flush=True)

        def note(self, kind, offset=0, data=b""):
            self.log.write(HEADER.pack(kind, offset, len(data)) + data)

        def destroy(self, path):
            self.log.close()

        def getattr(self, path, fh=None):
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
            if path != "/disk" and path not in self.said:
                raise FuseOSError(errno.ENOENT)
            size = len(self.content) if path == "/disk" else 0
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}

        def readdir(self, path, fh):
            return [".", "..", "disk", "sender", "receiver"]

        def read(self, path, size, offset, fh):
            return bytes(self.content[offset : offset + size]) if path == "/disk" else b""

        def write(self, path, data, offset, fh):
            if path in self.said:
                self.note(self.said[path], 0, data)
            elif offset + len(data) > len(self.content):
                raise FuseOSError(errno.ENOSPC)
            else:
                self.content[offset : offset + len(data)] = data
                self.note(WRITE, offset, data)
            return len(data)

        def fsync(self, path, datasync, fh):
            if path == "/disk":
                self.note(FLUSH)
            return 0

    FUSE(Disk(), folder, foreground=True, nothreads=True, big_writes=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
