"""benchmarks/gpu.py runs from end to end on small sizes, and sees what is wrong."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("triton")

from benchmarks import gpu
from topoact_gpu.device import interpreted

pytestmark = pytest.mark.skipif(not interpreted(), reason="the script itself is for a device")


def test_all_parts_run_on_small_sizes(tmp_path, capsys):
    assert gpu.main(["--small", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "equal bytes" in said
    assert "all parts done" in said
    lines = (tmp_path / "gpu.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert {record["part"] for record in records} == {"filter", "whole", "equal", "cuml"}
    assert all(record["gpu"] == "Triton's interpreter" for record in records)
    rates = [record for record in records if record["part"] == "filter"]
    assert {record["kind"] for record in rates} == {"int8", "half", "torch.mm"}
    assert all(0 < record["undecided"] < 0.5 for record in rates if "undecided" in record)


def test_a_difference_and_an_error_are_counted(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "_same", lambda *_: False)
    monkeypatch.setattr(gpu, "_wrong_verdicts", lambda *_: 3)
    assert gpu.main(["--small", "--no-results", "--parts", "filter,equal"]) == 2
    said = capsys.readouterr().out
    assert "int8 WRONG: 3 verdicts" in said
    assert "DIFFERENT" in said
    monkeypatch.setattr(gpu, "usual_eps", lambda _x: 1 / 0)
    assert gpu.main(["--small", "--no-results", "--parts", "whole"]) == 1


def test_wrong_verdicts_are_seen():
    x = gpu.activations(64, 5)
    eps = gpu.usual_eps(x)
    apart = gpu.torch.cdist(x.double(), x.double())
    above = gpu.torch.ones(32, 32).triu(1).bool()
    right = (apart[:32, :32] <= eps) & above
    kept = gpu.torch.tensor([[0, 0]])
    assert gpu._wrong_verdicts(x, eps, right[None].to(gpu.torch.int8), kept, 32) == 0
    wrong = (~right & above)[None].to(gpu.torch.int8)
    assert gpu._wrong_verdicts(x, eps, wrong, kept, 32) == int(above.sum())
