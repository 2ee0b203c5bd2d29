"""What docs/tracing.md shows, run as it stands."""

from __future__ import annotations

import json
import re

import pages


def test_every_block_runs(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"lab": lab}
    assert pages.run("tracing.md", names) == 5
    assert "web:request__start" in set(names["places"]["name"])
    assert len(names["writes"]) > 0 and names["live"].lost == 0 and not names["live"].running
    assert "process" in names["waits"].to_frame() and names["waits"].total > 0
    assert json.loads((tmp_path / "waits.speedscope.json").read_text())["profiles"]
    cost = names["cost"]
    assert set(cost.way) == {"tracepoint", "raw tracepoint", "uprobe"} and (cost.event_ns.dropna() > 0).any()
    names["web"].stop()
    names["obj"].close()


def test_every_workload_is_named():
    from bpflab.workloads import WORKLOADS

    (sentence,) = re.findall(r"`lab.workload\(name\)`: (.*?)\. They end", pages.text("tracing.md"), re.S)
    assert re.findall(r"`(\w+)`", sentence) == list(WORKLOADS)
