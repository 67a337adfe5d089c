"""Each page of docs/policies has an example that is a whole routes.yaml and shows its policy."""

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.config.compile import load
from policies import POLICIES, STEPS
from tests.policies.made import ports

PAGES = Path(__file__).resolve().parents[2] / "docs/policies"
EXAMPLE = PAGES.parents[1] / "examples/plugin"  # the classes of the page of plugins


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: str(policy.name))
def test_the_pages_example_can_be_used(
    policy: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLE))
    text = (PAGES / f"{policy.name}.md").read_text()
    [example] = re.findall(r"```yaml\n(version: 1\n.*?)```", text, re.DOTALL)
    (tmp_path / "routes.yaml").write_text(example)
    shown = [route.policies for route in load(str(tmp_path / "routes.yaml"), "all", {}).routes]
    assert any(policy.name in settings for settings in shown)
    for settings in shown:
        for step in STEPS:
            if step.policy.name in settings:
                step.build(settings[step.policy.name], ports())


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: str(policy.name))
def test_the_page_names_every_setting(policy: type[Any]) -> None:
    text = (PAGES / f"{policy.name}.md").read_text()
    fields = policy.Settings.__struct_fields__
    if len(fields) > 1:
        assert [name for name in fields if f"| `{name}` |" not in text] == []
