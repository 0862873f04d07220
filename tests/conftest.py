"""Shared by all tests: a deterministic hypothesis profile for CI, one thread setting, small builders."""

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

from core import fusion
from run_ablation import main
from tasks import bandits

# the networks of the tests are tiny: more threads would wait for each other longer than they work
torch.set_num_threads(1)

# deterministic unless asked: a property that fails is then found by everyone, or by HYPOTHESIS_PROFILE=explore
quiet = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=quiet, derandomize=True)
settings.register_profile("explore", parent=quiet, max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def uncompiled():
    """Every test starts without the compiled kernels, whatever one before it turned on."""
    fusion.fuse(False)


@pytest.fixture
def few_samples(monkeypatch):
    """The bandit evaluated by 200 samples of a seed, of which a figure shows 50."""
    monkeypatch.setattr(bandits, "EVALUATION_SAMPLES", 200)
    monkeypatch.setattr(bandits, "KEPT_SAMPLES", 50)


@pytest.fixture
def refused(capsys):
    """The one line with which a command that cannot be used is refused, given its arguments."""

    def line(*arguments: str) -> str:
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    return line


@pytest.fixture(
    params=[
        "cpu",
        pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
    ]
)
def device(request) -> torch.device:
    """Each device this machine has."""
    return torch.device(request.param)
