"""The possible states of a disk after a loss of power, reconstructed from the steps that the shim recorded."""

import random
import re
from collections.abc import Callable
from pathlib import Path


class File:
    """A file as it is, and as it was synced."""

    def __init__(self, content: bytes = b"") -> None:
        self.synced = content
        self.since: list[tuple[str, int, bytes]] = []  # writes since

    def content(self, keep: Callable[[], bool]) -> bytes:
        """Return the content, with the unsynced writes for which `keep` returns true."""
        content = bytearray(self.synced)
        for what, position, written in self.since:
            if not keep():
                continue
            if what == "truncate":
                del content[position:]
                content.extend(bytes(position - len(content)))
            else:
                content.extend(bytes(max(position - len(content), 0)))
                content[position : position + len(written)] = written
        return bytes(content)

    def sync(self) -> None:
        """Make it durable as it is."""
        self.synced, self.since = self.content(lambda: True), []


class Folder:
    """A folder: its entries as they are, and as they were synced."""

    def __init__(self) -> None:
        self.now: dict[str, File | Folder] = {}
        self.synced: dict[str, File | Folder] = {}


class Record:
    """The steps of a run, as recorded by the shim.

    Args:
        index: the folder of the run, in its state before.
        log: the folder of the record of the shim.
    """

    def __init__(self, index: Path, log: Path) -> None:
        self._root, self._log = index.resolve(), log
        self._files = {path.relative_to(self._root): path for path in self._root.rglob("*")}
        self._start = [
            (str(name), path.read_bytes() if path.is_file() else None, path.stat().st_ino)
            for name, path in sorted(self._files.items())
        ]

    def read(self) -> list[str]:
        """Read the record; return the kind of each step."""
        self._steps = [line.rsplit(" ", 2) for line in (self._log / "steps").read_text().splitlines()]
        self._bytes = (self._log / "bytes").read_bytes()
        names = {inode: name for name, _, inode in self._start}
        kinds = []
        for line, _, _ in self._steps:
            _, what, *words = line.split(" ")
            if what == "create":
                names[int(words[0])] = words[1].removeprefix(f"{self._root}/")
            name = names.get(int(words[0]), "?") if words[0].isdigit() else words[0].removeprefix(f"{self._root}/")
            kinds.append(f"{what} {re.sub('[.]tmp[A-Za-z0-9]{6}$', '.tmp', re.sub('[0-9a-f]{8,}|[0-9]+', 'N', name))}")
        return kinds

    def replay(self, index: Path, steps: int, how: str, draw: random.Random) -> None:
        """Write into an empty folder a possible content of the disk after a loss of power at a step."""
        root, inodes = Folder(), dict[int, File]()
        for name, content, inode in self._start:
            parent, last = self._find(root, name)
            inode_content: File | Folder = Folder() if content is None else File(content)
            parent.now[last] = parent.synced[last] = inode_content
            if isinstance(inode_content, File):
                inodes[inode] = inode_content
        for line, start, size in self._steps[:steps]:
            _, what, *arguments = line.split(" ")
            if what == "create":
                parent, last = self._find(root, arguments[1])
                parent.now[last] = inodes[int(arguments[0])] = File()
            elif what in ("write", "truncate") and (file := inodes.get(int(arguments[0]))):
                file.since.append((what, int(arguments[1]), self._bytes[int(start) : int(start) + int(size)]))
            elif what == "sync" and (file := inodes.get(int(arguments[0]))):
                file.sync()
            elif what == "syncdir":
                parent, last = self._find(root, arguments[0])
                folder = parent.now.get(last) if last else root
                listed = self._bytes[int(start) : int(start) + int(size)].decode().splitlines()
                entries = {name: inodes.get(int(inode)) for inode, name in (line.split(" ", 1) for line in listed)}
                if isinstance(folder, Folder):
                    now = {name: file or folder.now.get(name) for name, file in entries.items()}
                    folder.now = {name: entry for name, entry in now.items() if entry}
                    folder.synced = dict(folder.now)
            elif what == "mkdir":
                parent, last = self._find(root, arguments[0])
                parent.now.setdefault(last, Folder())
            elif what == "unlink":
                parent, last = self._find(root, arguments[0])
                parent.now.pop(last, None)
            elif what == "rename":
                parent, last = self._find(root, arguments[0])
                to, name = self._find(root, arguments[1])
                if last in parent.now:
                    to.now[name] = parent.now.pop(last)
        keep = (lambda: draw.random() < 0.5) if how == "torn" else (lambda: False)
        self._write(root, index, names=how != "dropped", keep=keep)

    def _find(self, root: Folder, path: str) -> tuple[Folder, str]:
        parts = [part for part in path.removeprefix(str(self._root)).split("/") if part]
        for part in parts[:-1]:
            root = root.now[part]  # type: ignore[assignment]
        return root, parts[-1] if parts else ""

    def _write(self, folder: Folder, folder_path: Path, *, names: bool, keep: Callable[[], bool]) -> None:
        for name, entry in (folder.now if names else folder.synced).items():
            if isinstance(entry, Folder):
                (folder_path / name).mkdir(exist_ok=True)
                self._write(entry, folder_path / name, names=names, keep=keep)
            else:
                (folder_path / name).write_bytes(entry.content(keep))
