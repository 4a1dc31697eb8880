"""What computes: asked for by name, found or refused, and the same numbers whichever it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from monitor.cli import app
from monitor.core.fitting.fit import fit
from monitor.core.model.detector import Detector
from monitor.settings.load import load
from tests.core.machines import ASSETS, FAST, corpus, model, rows, windows

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no Nvidia GPU on this machine")


@pytest.mark.parametrize("found", [False, True])
@pytest.mark.parametrize("wanted", ["auto", "cpu", "cuda"])
def test_the_device_asked_for_is_used_if_it_is_there(
    wanted: str, found: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A GPU is taken by auto where there is one; cuda without one is a configuration error, exit code 78."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    path = tmp_path / "monitor.toml"
    path.write_text(f'[model]\ndevice = "{wanted}"\n')
    if wanted == "cuda" and not found:
        left = CliRunner().invoke(app, ["check", "-c", str(path)])
        assert left.exit_code == 78
        assert 'model.device = "cuda"' in left.stderr
        assert "torch finds no GPU" in left.stderr
    else:
        settings = load(path, {}, {})
        used = "cuda" if found and wanted != "cpu" else "cpu"
        assert settings.training.recipe(settings.model).device == used


def test_the_network_lies_on_the_device() -> None:
    """A detector puts its weights where it is told; "meta" is the one other device that every machine has."""
    assert Detector(model()).network.noise.device.type == "cpu"
    assert Detector(model(), "meta").network.noise.device.type == "meta"


@CUDA
def test_scores_on_a_gpu_are_those_of_the_processor() -> None:
    """The same model gives the same scores to a thousandth, and the same ones alone and among others."""
    batch = windows(rows(400, seed=7))
    detector = Detector(model(), "cuda")
    whole = detector.score(batch, ASSETS)
    assert whole.score == pytest.approx(Detector(model()).score(batch, ASSETS).score, rel=1e-3)
    part = detector.score(batch.take(np.arange(5, 38)), ASSETS)
    assert np.array_equal(part.score, whole.score[5:38])


@CUDA
def test_training_on_a_gpu_comes_out_as_well() -> None:
    """A fit on the GPU ends within a tenth of the loss of one on the processor, and its weights are stored as such."""
    there, here = (fit(corpus(), replace(FAST, device=name), None, lambda *_: None) for name in ("cuda", "cpu"))
    assert there.loss == pytest.approx(here.loss, rel=0.1)
    assert all(weights.dtype == np.float32 for weights in there.model.weights.values())
