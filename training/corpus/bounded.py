"""Opening and unpacking sources within the limits of this module on time and memory.

Sizes that a file declares are not trusted: bytes are counted as they are unpacked. Only regular files are opened. Readers raise no
other error than `SourceError`, whose message continues after the name of the file.
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
MAX_FILE = 512 * MIB
MAX_TEXT_FILE = 16 * MIB
MAX_UNPACKED = 256 * MIB  # of a JSONL file
MAX_READ = 96 * MIB  # of an archive, all parts together; a novel has 1 MiB
MAX_MEMBER = 16 * MIB
MAX_LINE = 8 * MIB
MAX_MEMBERS = 20_000
MAX_DIRECTORY = 4 * MIB  # of a zip archive: an entry of 46 bytes takes several hundred bytes of memory
MAX_RATIO, RATIO_CHECKED_FROM = 200, 2 * MIB  # prose is compressed 3:1, the emptiest markup 50:1
_CHUNK = 2**16
_END = b"PK\x05\x06"


class SourceError(MendableError):
    """A source cannot be read. The message says why, and continues after the name of the file."""


def open_source(path: Path) -> BinaryIO:
    """Open a regular file. Pipes and devices are not opened, since even that may block. Raises SourceError."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise SourceError("is a folder, not a file.")
        if not stat.S_ISREG(found.st_mode):
            raise SourceError("is a pipe, a device or a socket, not a file, and was not opened.")
        if found.st_size > MAX_FILE:
            raise SourceError(f"is larger than {MAX_FILE // MIB} MiB; split it into smaller files.")
        if not found.st_size:
            raise SourceError("is empty.")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(handle).st_mode):  # it was replaced in the meantime
            os.close(handle)
            raise SourceError("is no longer a regular file, and was not read.")
        return os.fdopen(handle, "rb")
    except OSError as error:
        raise SourceError(f"cannot be opened: {(error.strerror or str(error)).lower()}.") from None
    except ValueError:  # a NUL in the name
        raise SourceError("has an invalid name.") from None


def read_whole(path: Path, most: int = MAX_TEXT_FILE) -> bytes:
    """All bytes of a file, at most `most`. Raises SourceError."""
    with open_source(path) as handle:
        data = handle.read(most + 1)
    if len(data) > most:
        raise SourceError(f"is larger than {most // MIB} MiB, the limit for such a file; split it.")
    return data


def source_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, gzipped or not. Raises SourceError."""
    with open_source(path) as handle:
        packed = handle.read(2) == b"\x1f\x8b"
        handle.seek(0)
        stream: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=handle) if packed else handle
        total = number = 0
        while line := _read_line(stream, number + 1):
            number += 1
            total += len(line)
            if total > MAX_UNPACKED:
                raise SourceError(f"contains more than {MAX_UNPACKED // MIB} MiB of text; split it into smaller files.")
            _check_ratio(total, handle.tell())
            yield line


def _read_line(stream: BinaryIO | gzip.GzipFile, number: int) -> bytes:
    try:
        line = stream.readline(MAX_LINE + 1)
    except (OSError, EOFError, zlib.error) as error:
        after = f"after line {number - 1}" if number > 1 else "from its start"
        raise SourceError(f"is truncated or damaged {after} ({error}); use a complete copy.") from None
    if len(line) > MAX_LINE:
        raise SourceError(f"has a line (number {number}) of more than {MAX_LINE // MIB} MiB, which is not a story.")
    return line


def _check_ratio(unpacked: int, packed: int) -> None:
    if unpacked > RATIO_CHECKED_FROM and unpacked > MAX_RATIO * max(packed, 1):
        raise SourceError("unpacks to far more data than any text (a zip bomb); reading was stopped.")


class Archive:
    """A zip archive whose parts are read into memory one by one; nothing is extracted to disk.

    The constructor raises SourceError for a directory that is too large or wrong, for overlapping parts (the same bytes unpacked many
    times), and for names that lead out of the archive; `read` raises it for a part that is encrypted, a link, or too large.
    """

    def __init__(self, handle: BinaryIO) -> None:
        self._read = 0
        try:
            _check_end(handle)
            self._zip = zipfile.ZipFile(handle)
        except (zipfile.BadZipFile, ValueError, struct.error, OSError, OverflowError, EOFError, NotImplementedError):
            raise SourceError(
                "is not a complete zip archive: it is truncated or damaged; use a complete copy."
            ) from None
        entries = self._zip.infolist()
        if len(entries) > MAX_MEMBERS:
            raise SourceError(f"contains {len(entries):,} parts, more than any book has ({MAX_MEMBERS:,}).")
        for entry in entries:
            if entry.filename.startswith("/") or ".." in entry.filename.split("/"):
                raise SourceError(f"contains a part whose name leads out of the archive ({entry.filename[:80]!r}).")
        ordered = sorted(entries, key=lambda entry: entry.header_offset)
        ends = [entry.header_offset for entry in ordered[1:]] + [self._zip.start_dir]
        for entry, end in zip(ordered, ends):
            if entry.header_offset < 0 or entry.header_offset + 30 + entry.compress_size > end:
                raise SourceError("contains parts that overlap (a zip bomb), and was not read.")
        self._entries = {entry.filename: entry for entry in reversed(entries)}

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        return sorted(self._entries)

    def read(self, name: str) -> bytes:
        """The bytes of a part, at most MAX_MEMBER of them, whatever size its header declares. Raises SourceError."""
        entry = self._entries.get(name)
        if entry is None:
            raise SourceError(f"lacks the part {name[:120]!r}; use a complete copy.")
        if entry.flag_bits & 1:
            raise SourceError("is encrypted; only a copy without a password can be read.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise SourceError(f"contains a link in place of the part {name[:120]!r}, which is not followed.")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SourceError(f"compresses {name[:120]!r} with an unsupported method.")
        pieces, size = [], 0
        try:
            with self._zip.open(entry) as part:
                while piece := part.read(_CHUNK):
                    pieces.append(piece)
                    size += len(piece)
                    self._read += len(piece)
                    if size > MAX_MEMBER or self._read > MAX_READ:
                        raise SourceError(
                            f"unpacks to more than {MAX_MEMBER // MIB} MiB at {name[:120]!r}, "
                            "far more than the text of a book; reading was stopped."
                        )
                    _check_ratio(size, entry.compress_size)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, struct.error) as error:
            raise SourceError(f"is damaged at {name[:120]!r} ({_short(error)}); use a complete copy.") from None
        return b"".join(pieces)


def _short(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return "its checksum is wrong" if "CRC" in text else text[:120] or type(error).__name__


def _check_end(handle: BinaryIO) -> None:
    """Check the size of the directory first, since `zipfile` makes an object of every entry. Raises SourceError."""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, size - 2**16 - 22 - 20))
    tail = handle.read()
    place = tail.rfind(_END)
    if place < 0:
        raise zipfile.BadZipFile
    if tail[max(0, place - 20) : place].startswith(b"PK\x06\x07"):
        raise SourceError(
            "is a zip64 archive, for more than 4 GiB, which no book needs; create it again as a normal zip archive."
        )
    directory = int(struct.unpack("<4s4H2LH", tail[place : place + 22])[5])
    if directory > MAX_DIRECTORY:
        raise SourceError(f"lists more parts than any book has (a directory of {directory // MIB} MiB).")
    handle.seek(0)
