"""--critic exact: improvement and selection ask the known Q, so what is lost beside it is the policy's own loss."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from builders import SPEC, make_batch, make_trainer, small_config
from scipy import stats

from ablations.command.cli import parse
from core.rng import SeedRng
from critics import BACKUPS
from critics.ensemble import Critics
from critics.exact import ExactCritic
from run_ablation import main
from tasks import ground, make_task
from tasks.bandits import expected_reward
from trainers import Trainer
from trainers.exact import use_exact
from trainers.selection import ArgmaxQ

QUICK = "--network.hidden 8 --steps 4 --seeds 0 1 --trainer.batch 16 --device cpu".split()


@pytest.fixture
def few_rows(monkeypatch):
    monkeypatch.setattr(ground, "SAMPLES", 200)


class Behaviour:
    """A policy that is the behaviour itself, as far as a selection asks one."""

    def __init__(self, task):
        self.behaviour, self.generator = task.behaviour, torch.Generator().manual_seed(3)

    def sample_each(self, obs, count, rng):
        rows = obs.repeat_interleave(count, 1)
        return torch.stack([self.behaviour.sample(of, self.generator) for of in rows]).unflatten(1, (-1, count))


def best_of(task, count, rows=4000):
    critic = ExactCritic(2, task.true_q)
    obs = torch.zeros(2, rows // 2, task.spec.obs_dim, dtype=torch.float64)
    rng = SeedRng((0, 1), "evaluate", torch.device("cpu"))
    return ArgmaxQ(candidates=count)(Behaviour(task), Critics(critic, critic), obs, rng).flatten(0, 1)


@pytest.mark.parametrize("count", [1, 4, 16])
def test_the_best_of_n_samples_has_its_law(count):
    """P(Q of the best <= q) = F(q)^N; the k-th best of K equal modes wins with (1 - k / K)^N - (1 - (k + 1) / K)^N."""
    task = make_task("bandit:corners")
    act = best_of(task, count)
    modes = task.behaviour.mode_of(act, act)
    ranks = np.argsort(-task.behaviour.values.numpy())
    seen = np.bincount(modes, minlength=4)[ranks]
    due = [(1 - k / 4) ** count - (1 - (k + 1) / 4) ** count for k in range(4)]
    kept = np.array(due) * 4000 > 1
    assert (
        stats.chisquare(seen[kept], np.array(due)[kept] / np.sum(np.array(due)[kept]) * seen[kept].sum()).pvalue > 1e-3
    )
    linear = task.under(task.options(reward="linear"))
    one, best = (linear.true_q(of, of).numpy() for of in (best_of(linear, 1, 20_000), best_of(linear, count)))
    law = stats.ecdf(one).cdf
    assert stats.kstest(law.evaluate(best) ** count, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name", ["bandit", "bandit:conditional", "bandit:parity"])
def test_every_head_of_every_seed_is_the_tasks_q(name):
    task = make_task(name)
    data = task.dataset()[torch.arange(60).view(3, 20)]
    act = data.act.requires_grad_()
    values = ExactCritic(2, task.true_q)(data.obs, act)
    assert values.shape == (3, 2, 20)
    assert torch.equal(values[:, 0], values[:, 1])
    torch.testing.assert_close(values[1, 0], task.true_q(data.obs[1], act[1]), rtol=1e-4, atol=1e-4)
    assert torch.autograd.grad(values.sum(), act)[0].isfinite().all()


def test_a_step_asks_it_and_never_moves_it():
    trainer = make_trainer(small_config("gaussian"), (0, 1), "q-max")
    use_exact(trainer, lambda obs, act: act.sum(-1))
    batch, rng = make_batch(16), SeedRng((0, 1), "train", torch.device("cpu"))
    record = trainer.update(batch, rng)
    assert "critic_loss" not in record
    assert "critic" not in trainer.optimizers
    assert trainer.critics().online(batch.obs, batch.act)[:, 1].equal(batch.act.sum(-1))
    assert (record["bonus"] != trainer.update(batch, rng)["bonus"]).all()


def test_a_backups_value_is_learned_from_it():
    """With expectile 1/2, V descends to the mean of Q over the data's actions."""
    trainer = make_trainer(small_config("gaussian"), (0, 1), "q-max")
    backup = BACKUPS["expectile"](expectile=0.5)
    parts = dataclasses.replace(trainer.parts, backup=backup)
    trainer = Trainer(parts, dataclasses.replace(trainer.config, critic_lr=1e-2), SPEC, (0, 1), dtype=torch.float64)
    use_exact(trainer, lambda obs, act: 3 + act.mean(-1))
    batch, rng = make_batch(64), SeedRng((0, 1), "train", torch.device("cpu"))
    batch = dataclasses.replace(batch, obs=torch.zeros_like(batch.obs))
    for _ in range(300):
        record = trainer.update(batch, rng)
    assert "critic_loss" not in record
    value = trainer.critics().value(batch.obs).mean(-1)
    torch.testing.assert_close(value, 3 + batch.act.mean((1, 2)), atol=0.02, rtol=0)


def test_weighted_regression_of_an_expressive_class_reaches_the_optimum(tmp_path):
    """exp(Q / 0.545) on the ring is pi* at strength 3: a mixture is within 0.01 of it, a Gaussian is not."""
    method = "--improvement weighted --improvement.beta 0.545 --improvement.clip 1e4 --critic exact --seeds 0".split()
    trained = "--steps 800 --trainer.lr 3e-3 --trainer.batch 256 --network.hidden 64 --device cpu".split()
    common = ["--task", "bandit:ring", *method, *trained]
    assert main([*common, "--policy", "mixture", "gaussian", "--out", str(tmp_path / "o")]) == 0
    table = pd.concat(pd.read_csv(path) for path in (tmp_path / "o").rglob("metrics.csv"))
    of = table.pivot_table(index=["policy", "seed"], columns="metric", values="value")
    assert (of.loc["mixture", "optimum_strength"] == 3).all()
    assert (of.loc["mixture", "optimum_distance"] < 0.01).all()
    assert (of.loc["gaussian", "optimum_distance"] > 0.05).all()


@pytest.mark.parametrize(
    "options",
    [
        "--policy gaussian",
        "--policy flow --improvement weighted --improvement.baseline value --backup expectile",
        "--policy diffusion --improvement none --selection argmax-q:candidates=3",
        "--policy diffusion --improvement none --selection guided",
        "--preset idql",
    ],
)
@pytest.mark.parametrize("task", ["bandit:ring", "bandit"])
def test_methods_run_by_it(options, task, tmp_path, few_samples, few_rows):
    assert main(["--task", task, *options.split(), "--critic", "exact", *QUICK, "--out", str(tmp_path / "o")]) == 0
    record = json.loads((tmp_path / "o" / "config.json").read_text())
    assert record["options"]["critic"]["source"] == "exact"


def test_it_is_compared_with_the_learned_one():
    runs = parse(["--task", "bandit:ring", "--policy", "gaussian", "--critic", "learned", "exact"]).runs
    assert [run.parts.critic.source for run in runs] == ["learned", "exact"]
    assert [run.trains_critic for run in runs] == [True, False]
    assert len({run.label for run in runs}) == 2


def test_where_it_cannot_be_it_is_refused_in_a_line(refused, tmp_path, capsys):
    assert "Q of hopper-medium-v2 is not known" in refused("--task", "hopper-medium-v2", "--critic", "exact")
    assert "must be" in refused("--critic", "true")
    path = tmp_path / "learned"
    assert main(["--policy", "gaussian", *QUICK, "--out", str(path)]) == 0
    capsys.readouterr()
    exact = ["--policy", "gaussian", *QUICK, "--critic=exact"]
    assert "has the exact Q already" in refused(*exact, "--critic-from", str(path))
    assert main([*exact, "--out", str(tmp_path / "exact")]) == 0
    capsys.readouterr()
    assert "use --critic exact" in refused("--policy", "gaussian", *QUICK, "--critic-from", str(tmp_path / "exact"))
    assert "none asks a critic" in refused("--policy", "gaussian", "--bc-only", "--critic", "exact")


def test_the_released_bandits_q_is_its_expected_reward():
    act = torch.rand(50, 2).double()
    assert torch.equal(make_task("bandit").true_q(act, act), expected_reward(act))
