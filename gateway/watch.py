"""Notices that the files of the configuration changed, by looking at them once a second."""

import os
from collections.abc import Iterable

from gateway.config.snapshot import Snapshot

Look = dict[str, tuple[object, ...]]


def look(paths: Iterable[str]) -> Look:
    """What can be told of the files without reading them. A ConfigMap's symlink swap shows in realpath."""
    return {path: _one(path) for path in paths}


def watched(snapshot: Snapshot) -> frozenset[str]:
    """Every file on which the snapshot, or a worker that loads it, depends."""
    paths = set(snapshot.files)
    if snapshot.tls is not None:
        paths |= {snapshot.tls.cert, snapshot.tls.key, snapshot.tls.client_ca}
    for upstream in snapshot.upstreams:
        paths |= {upstream.tls.ca, upstream.tls.cert, upstream.tls.key}
    return frozenset(paths - {""})


class Watch:
    """Says once that something changed, when it has been still again for one look: files come in pairs."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._known = self._last = look(self._paths)

    def changed(self) -> bool:
        now = look(self._paths)
        still, self._last = now == self._last, now
        return still and now != self._known

    @property
    def restless(self) -> bool:
        """Something is changing just now: look again soon."""
        return self._last != self._known

    def seen(self) -> None:
        """What is there now is about to be loaded."""
        self._known = self._last = look(self._paths)

    def follow(self, paths: Iterable[str]) -> None:
        """Other files from now on. Of those watched before, what was seen last stays the measure."""
        self._paths = frozenset(paths)
        self._known = {path: self._known.get(path) or _one(path) for path in self._paths}
        self._last = dict(self._known)


def _one(path: str) -> tuple[object, ...]:
    try:
        found = os.stat(path)
    except OSError as error:
        return (error.errno,)
    return os.path.realpath(path), found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size
