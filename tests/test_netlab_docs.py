"""What docs/networks.md shows, run as it stands."""

from __future__ import annotations

import pages


def test_every_block_runs(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"lab": lab}
    assert pages.run("networks.md", names) == 5
    assert names["seen"].to_frame().summary.tolist() == ["echo request", "echo reply"]
    assert names["obj"].globals["seen"] == 3
    assert names["flood"].result().sent > 0 and names["wire"].state == "whole"
    names["net"].close()
    names["obj"].close()
