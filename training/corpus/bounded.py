"""The one way in which a source is opened and unpacked: never more time or memory than the limits of this module allow.

What a file says of its own sizes is not believed: bytes are counted as they come out. Only regular files are opened.
`BrokenSource` is the only error that leaves the readers; its text goes on after the name of the file.
"""

from __future__ import annotations

import gzip
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from training.common.errors import MendableError

MIB = 2**20
MOST_FILE = 512 * MIB
MOST_TEXT_FILE = 16 * MIB
MOST_UNPACKED = 256 * MIB  # of a file of lines
MOST_READ = 96 * MIB  # of an archive: the pages of a book, all together; a novel has 1 MiB
MOST_MEMBER = 16 * MIB
MOST_LINE = 8 * MIB
MOST_MEMBERS = 20_000
MOST_DIRECTORY = 4 * MIB  # of a zip: some hundred bytes of memory for each of at least 46
MOST_RATIO, RATIO_FROM = 200, 2 * MIB  # prose packs 3:1, the emptiest markup 50:1
_CHUNK = 2**16
_END = b"PK\x05\x06"


class BrokenSource(MendableError):
    """A source cannot be read; the text says why, and reads on after the file's name."""


def open_source(path: Path) -> BinaryIO:
    """Open a regular file. Pipes and devices are not even opened: that alone may hang, or move a tape."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise BrokenSource("is a folder, not a file.")
        if not stat.S_ISREG(found.st_mode):
            raise BrokenSource("is a pipe, a device or a socket, not a file, and was not opened.")
        if found.st_size > MOST_FILE:
            raise BrokenSource(f"is larger than {MOST_FILE // MIB} MiB; split it into smaller files.")
        if not found.st_size:
            raise BrokenSource("is empty.")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(handle).st_mode):  # it was swapped since
            os.close(handle)
            raise BrokenSource("is no longer a file, and was not read.")
        return os.fdopen(handle, "rb")
    except OSError as error:
        raise BrokenSource(f"cannot be opened: {(error.strerror or str(error)).lower()}.") from None
    except ValueError:  # a NUL in the name
        raise BrokenSource("has a name that no file can have.") from None


def read_whole(path: Path, most: int = MOST_TEXT_FILE) -> bytes:
    """All bytes of a file that has to be held at once."""
    with open_source(path) as handle:
        data = handle.read(most + 1)
    if len(data) > most:
        raise BrokenSource(f"is larger than {most // MIB} MiB, the most that is read of such a file; split it.")
    return data


def source_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, unpacked where it is gzipped."""
    with open_source(path) as handle:
        packed = handle.read(2) == b"\x1f\x8b"
        handle.seek(0)
        stream: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=handle) if packed else handle
        total = number = 0
        while line := _line(stream, number + 1):
            number += 1
            total += len(line)
            if total > MOST_UNPACKED:
                raise BrokenSource(f"holds more than {MOST_UNPACKED // MIB} MiB of text; split it into smaller files.")
            _check_ratio(total, handle.tell())
            yield line


def _line(stream: BinaryIO | gzip.GzipFile, number: int) -> bytes:
    try:
        line = stream.readline(MOST_LINE + 1)
    except (OSError, EOFError, zlib.error) as error:
        after = f"after line {number - 1}" if number > 1 else "from its start"
        raise BrokenSource(f"is cut off or damaged {after} ({error}); get a whole copy.") from None
    if len(line) > MOST_LINE:
        raise BrokenSource(f"has a line (number {number}) of more than {MOST_LINE // MIB} MiB, which is no story.")
    return line


def _check_ratio(unpacked: int, packed: int) -> None:
    if unpacked > RATIO_FROM and unpacked > MOST_RATIO * max(packed, 1):
        raise BrokenSource("unpacks to far more than any text does (a zip bomb), and was not read on.")


class Archive:
    """A zip archive whose parts are read into memory one by one; nothing is ever written out of it.

    Refused as a whole: a directory that is too large or lies, parts that overlap (one stretch of bytes unpacked many
    times), names that lead out of the archive. A part is refused when it is asked for: encrypted, a link, too large.
    """

    def __init__(self, handle: BinaryIO) -> None:
        self._read = 0
        try:
            _check_end(handle)
            self._zip = zipfile.ZipFile(handle)
        except (zipfile.BadZipFile, ValueError, struct.error, OSError, OverflowError, EOFError, NotImplementedError):
            raise BrokenSource("is not a whole zip archive: it is cut off or damaged; get a whole copy.") from None
        entries = self._zip.infolist()
        if len(entries) > MOST_MEMBERS:
            raise BrokenSource(f"holds {len(entries):,} parts, more than any book has ({MOST_MEMBERS:,}).")
        for entry in entries:
            if entry.filename.startswith("/") or ".." in entry.filename.split("/"):
                raise BrokenSource(
                    f"holds a part whose name leads out of it ({entry.filename[:80]!r}), as no book does."
                )
        ordered = sorted(entries, key=lambda entry: entry.header_offset)
        ends = [entry.header_offset for entry in ordered[1:]] + [self._zip.start_dir]
        for entry, end in zip(ordered, ends):
            if entry.header_offset < 0 or entry.header_offset + 30 + entry.compress_size > end:
                raise BrokenSource("holds parts that overlap each other (a zip bomb), and was not read.")
        self._entries = {entry.filename: entry for entry in reversed(entries)}

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        return sorted(self._entries)

    def read(self, name: str) -> bytes:
        """The bytes of a part, at most MOST_MEMBER; what its header says of its size only ever makes that less."""
        entry = self._entries.get(name)
        if entry is None:
            raise BrokenSource(f"lacks the part {name[:120]!r}; get a whole copy.")
        if entry.flag_bits & 1:
            raise BrokenSource("is encrypted; only a copy without a password can be read.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise BrokenSource(f"holds a link in place of the part {name[:120]!r}, which is not followed.")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BrokenSource(f"packs {name[:120]!r} in a way that no book uses.")
        pieces, size = [], 0
        try:
            with self._zip.open(entry) as part:
                while piece := part.read(_CHUNK):
                    pieces.append(piece)
                    size += len(piece)
                    self._read += len(piece)
                    if size > MOST_MEMBER or self._read > MOST_READ:
                        raise BrokenSource(
                            f"unpacks to more than {MOST_MEMBER // MIB} MiB at {name[:120]!r}, "
                            "far more than the text of a book, and was not read on."
                        )
                    _check_ratio(size, entry.compress_size)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, struct.error) as error:
            raise BrokenSource(f"is damaged at {name[:120]!r} ({_short(error)}); get a whole copy.") from None
        return b"".join(pieces)


def _short(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return "its checksum is wrong" if "CRC" in text else text[:120] or type(error).__name__


def _check_end(handle: BinaryIO) -> None:
    """Look at the directory's size before `zipfile` reads it: it makes an object of each entry, whatever their number."""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, size - 2**16 - 22 - 20))
    tail = handle.read()
    place = tail.rfind(_END)
    if place < 0:
        raise zipfile.BadZipFile
    if tail[max(0, place - 20) : place].startswith(b"PK\x06\x07"):
        raise BrokenSource("is a zip archive of the kind for more than 4 GiB, which no book needs; pack it again.")
    directory = int(struct.unpack("<4s4H2LH", tail[place : place + 22])[5])
    if directory > MOST_DIRECTORY:
        raise BrokenSource(f"lists more parts than any book has (a list of {directory // MIB} MiB).")
    handle.seek(0)
