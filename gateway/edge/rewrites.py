"""The path towards the upstream on routes that rewrite: without a prefix, or a template filled."""

from collections.abc import Callable

from gateway.config import snapshot as config
from gateway.model.paths import strip_prefix

Rewrite = Callable[[bytes], bytes]


def rewriter(record: config.Route) -> Rewrite | None:
    """A function from canonical path to path, or None. The caller judges whether its result is canonical."""
    rewrite = record.rewrite
    if rewrite is None:
        return None
    if rewrite.strip_prefix:
        prefix = rewrite.strip_prefix.encode()
        return lambda path: strip_prefix(path, prefix)
    return _template(rewrite.path.encode(), record.path.encode())


def _template(template: bytes, pattern: bytes) -> Rewrite:
    """Segments of the template are literal, or the segment of the path that a {name} of the pattern stood
    for."""
    places = {segment: at for at, segment in enumerate(pattern.split(b"/")) if segment.startswith(b"{")}
    rest_from = pattern.count(b"/") if pattern.endswith(b"/**") else 0
    keeps_rest = template.endswith(b"/**") and rest_from > 0
    words = template.removesuffix(b"/**").split(b"/")
    steps: list[bytes | int] = [places.get(word, word) for word in words]

    def fill(path: bytes) -> bytes:
        segments = path.split(b"/")
        filled = [segments[step] if isinstance(step, int) else step for step in steps]
        if keeps_rest:
            filled += segments[rest_from:]
        return b"/".join(filled) or b"/"

    return fill
