"""--critic-from: the critic of an earlier run, frozen, for other policies."""

from __future__ import annotations

import shutil

import pytest
import torch

from run_ablation import main
from tasks import bandits

SMALL = "--network.hidden 16 --network.depth 1 --trainer.batch 10 --compile off".split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with a critic and V, and one without."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bandits, "EVALUATION_SAMPLES", 50)
        patch.setattr(bandits, "KEPT_SAMPLES", 50)
        options = "--policy gaussian --improvement weighted --improvement.baseline value --backup expectile"
        assert main([*f"{options} --steps 3 --seeds 4 0 7 --out {place / 'critic'}".split(), *SMALL]) == 0
        assert main([*f"--policy gaussian --bc-only --steps 1 --out {place / 'none'}".split(), *SMALL]) == 0
    return place


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(bandits, "EVALUATION_SAMPLES", 50)
    monkeypatch.setattr(bandits, "KEPT_SAMPLES", 50)


def state(run):
    return torch.load(run / "checkpoint.pt", weights_only=True)["state"]


@pytest.mark.parametrize(
    "options",
    ["--policy cvae", "--policy gaussian --improvement weighted --improvement.baseline value --backup expectile"],
)
def test_a_critic_is_given_seed_by_seed_and_stays_as_it_was(trained, tmp_path, options):
    command = f"{options} --steps 4 --seeds 7 4 --critic-from {trained / 'critic'} --out {tmp_path / 'out'}"
    assert main([*command.split(), *SMALL]) == 0
    given, used = state(trained / "critic"), state(tmp_path / "out")
    for part in ("critic", "target_critic", *(["backup"] if "expectile" in options else [])):
        for name, tensor in used[part].items():
            assert torch.equal(tensor, given[part][name][[2, 0]]), (part, name)


REFUSED = {
    "--policy cvae --bc-only --seeds 0": "cvae-bc asks no critic; leave it out",
    "--policy cvae --seeds 0 1 3": "has no seed 1, 3; use --seeds 4 0 7 or some of them",
    "--policy cvae --seeds 0 --critic.heads 3": "trained with --critic.heads 2, not 3; add --critic.heads 2",
    "--policy cvae --seeds 0 --network.depth 2": "trained with --network.depth 1, not 2; add --network.depth 1",
    "--policy cvae --seeds 0 --task.reward standardise": "bandit is learned from as it is; leave them out",
    "--preset iql --seeds 0 --backup.expectile 0.6": "not 0.6; add --backup.expectile 0.7",
}


@pytest.mark.parametrize("options", REFUSED)
def test_a_critic_that_does_not_fit_is_refused_in_one_line(trained, tmp_path, refused, options):
    small = [part for part in SMALL if "depth" not in options or part not in ("--network.depth", "1")]
    places = ("--critic-from", str(trained / "critic"), "--out", str(tmp_path / "o"))
    assert REFUSED[options] in refused(*options.split(), *small, *places)
    assert not (tmp_path / "o").exists()


def test_what_is_no_run_with_a_critic_is_refused(trained, tmp_path, capsys):
    shutil.copytree(trained / "critic", tmp_path / "broken")
    (tmp_path / "broken" / "checkpoint.pt").write_bytes(b"no checkpoint")
    for place, why in (
        (tmp_path / "nowhere", "not the directory of a run"),
        (tmp_path / "broken", "its checkpoint.pt cannot be read"),
        (trained / "none", "gaussian-bc trained no critic"),
    ):
        assert main([*"--policy cvae --seeds 0".split(), *SMALL, "--critic-from", str(place)]) == 2
        assert why in capsys.readouterr().err
