#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many bytes of two raw images differ.

differ.py A B [GRAIN]   prints the number of bytes in blocks of GRAIN (default 4096) that differ.
Holes of both files are skipped; a shorter file counts as if zeros followed.
"""
import mmap
import os
import sys

CHUNK = 1 << 20


def data_chunks(fd, size):
    """Numbers of the chunks that may hold something else than zeros."""
    found = set()
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        found.update(range(start // CHUNK, (at + CHUNK - 1) // CHUNK))
    return found


def opened(path):
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size
    view = mmap.mmap(fd, size, prot=mmap.PROT_READ) if size else b""
    return data_chunks(fd, size), view


def main():
    grain = int(sys.argv[3]) if len(sys.argv) > 3 else 4096
    chunks_a, a = opened(sys.argv[1])
    chunks_b, b = opened(sys.argv[2])
    total = 0
    for chunk in sorted(chunks_a | chunks_b):
        at = chunk * CHUNK
        x, y = a[at:at + CHUNK], b[at:at + CHUNK]
        if x == y:
            continue
        size = max(len(x), len(y))
        x, y = x.ljust(size, b"\0"), y.ljust(size, b"\0")
        for i in range(0, size, grain):
            if x[i:i + grain] != y[i:i + grain]:
                total += min(grain, size - i)
    print(total)


if __name__ == "__main__":
    main()
