"""What docs/networks.md shows, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parent.parent / "docs" / "networks.md").read_text()


def test_every_block_runs(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"lab": lab}
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)
    assert len(blocks) == 5
    for block in blocks:
        exec(compile(block, "networks.md", "exec"), names)
    assert names["seen"].to_frame().summary.tolist() == ["echo request", "echo reply"]
    assert names["obj"].globals["seen"] == 3
    assert names["flood"].result().sent > 0 and names["wire"].state == "whole"
    names["net"].close()
    names["obj"].close()
