"""What docs say of routes.yaml is made from the schema, and fresh."""

from pathlib import Path

import pytest

from gateway.config.compile import load
from gateway.config.reference import pages

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["docs/configuration.md", "docs/routes.schema.json"])
def test_a_generated_page_is_fresh(name: str) -> None:
    assert (ROOT / name).read_text() == pages()[name], "run: python -m gateway.config.reference"


def test_every_key_has_a_meaning() -> None:
    for line in pages()["docs/configuration.md"].splitlines():
        if line.startswith("| `"):
            assert len(line.split(" | ")[3]) > 3, line


def test_the_sample_points_editors_at_the_schema_and_is_right() -> None:
    first = (ROOT / "routes.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=docs/routes.schema.json"
    assert len(load(str(ROOT / "routes.yaml"), environ={}).routes) > 4
