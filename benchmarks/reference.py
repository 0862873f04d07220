"""Diffusion-QL as a textbook would write it: one seed, one network at a time, nothing fused, shared or batched.

What the testbed's speed is measured against, and a second implementation for tests (arXiv 2208.06193, as
released). Randomness comes from `rng`, whose `normal`, `uniform` and `integers` return tensors without a seed axis.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class Settings:
    """Sizes and hyperparameters, by default those of the D4RL experiments."""

    obs_dim: int = 11
    act_dim: int = 3
    T: int = 5
    hidden: int = 256
    time_dim: int = 16
    lr: float = 3e-4
    critic_lr: float = 3e-4
    eta: float = 1.0
    discount: float = 0.99
    tau: float = 0.005
    grad_norm: float | None = None
    ema_decay: float = 0.995
    ema_every: int = 5
    ema_start: int = 1000
    max_q: int = 1  # next actions to take the maximum over
    bc_only: bool = False
    one_step: bool = False  # a bandit: targets are rewards


class TorchRng:
    """The plainest source of randomness: one generator."""

    def __init__(self, seed: int, device: str = "cpu"):
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, device=self.device)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device)

    def integers(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator, device=self.device)


def hidden_layers(d_in: int, hidden: int, d_out: int) -> nn.Sequential:
    return nn.Sequential(
        *[nn.Linear(d_in, hidden), nn.Mish(), nn.Linear(hidden, hidden), nn.Mish()],
        *[nn.Linear(hidden, hidden), nn.Mish(), nn.Linear(hidden, d_out)],
    )


class NoiseNet(nn.Module):
    """`[x, time features, s]` -> the noise in x."""

    def __init__(self, c: Settings):
        super().__init__()
        self.time_dim = c.time_dim
        self.time = nn.Sequential(
            nn.Linear(c.time_dim, 2 * c.time_dim), nn.Mish(), nn.Linear(2 * c.time_dim, c.time_dim)
        )
        self.net = hidden_layers(c.act_dim + c.time_dim + c.obs_dim, c.hidden, c.act_dim)

    def forward(self, x: Tensor, t: Tensor, obs: Tensor) -> Tensor:
        half = self.time_dim // 2
        rate = math.log(10000) / max(half - 1, 1)
        frequencies = torch.exp(torch.arange(half, device=t.device, dtype=x.dtype) * -rate)
        angles = t[:, None] * frequencies[None]
        features = self.time(torch.cat([angles.sin(), angles.cos()], dim=-1))
        return self.net(torch.cat([x, features, obs], dim=-1))


class Actor(nn.Module):
    """A DDPM over actions with the variance-preserving schedule."""

    def __init__(self, c: Settings):
        super().__init__()
        self.T, self.act_dim = c.T, c.act_dim
        self.model = NoiseNet(c)
        t = torch.arange(1, c.T + 1, dtype=torch.float64)
        betas = 1 - torch.exp(-0.1 / c.T - 0.5 * 9.9 * (2 * t - 1) / c.T**2)
        abar = torch.cumprod(1 - betas, 0)
        previous = torch.cat([torch.ones(1, dtype=torch.float64), abar[:-1]])
        coefficients = {
            "signal": abar.sqrt(),
            "noise": (1 - abar).sqrt(),
            "recip": (1 / abar).sqrt(),
            "recipm1": (1 / abar - 1).sqrt(),
            "coef1": betas * previous.sqrt() / (1 - abar),
            "coef2": (1 - previous) * (1 - betas).sqrt() / (1 - abar),
            "deviation": (betas * (1 - previous) / (1 - abar)).sqrt(),
        }
        for name, value in coefficients.items():
            self.register_buffer(name, value.to(torch.get_default_dtype()), persistent=False)

    def loss(self, act: Tensor, obs: Tensor, rng) -> Tensor:
        t = rng.integers(self.T, len(act))
        noise = rng.normal(*act.shape)
        noisy = self.signal[t][:, None] * act + self.noise[t][:, None] * noise
        return F.mse_loss(self.model(noisy, t, obs), noise)

    def forward(self, obs: Tensor, rng) -> Tensor:
        x = rng.normal(len(obs), self.act_dim)
        for step in reversed(range(self.T)):
            t = torch.full((len(obs),), step, dtype=torch.long, device=obs.device)
            predicted = self.model(x, t, obs)
            x0 = (self.recip[t][:, None] * x - self.recipm1[t][:, None] * predicted).clamp(-1, 1)
            mean = self.coef1[t][:, None] * x0 + self.coef2[t][:, None] * x
            later = (t != 0).to(x.dtype)[:, None]
            x = mean + later * self.deviation[t][:, None] * rng.normal(len(obs), self.act_dim)
        return x.clamp(-1, 1)


class TwinCritic(nn.Module):
    def __init__(self, c: Settings):
        super().__init__()
        self.q1 = hidden_layers(c.obs_dim + c.act_dim, c.hidden, 1)
        self.q2 = hidden_layers(c.obs_dim + c.act_dim, c.hidden, 1)

    def forward(self, obs: Tensor, act: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([obs, act], dim=-1)
        return self.q1(x).squeeze(-1), self.q2(x).squeeze(-1)


class DiffusionQL:
    """The agent: critic step, actor step, moving averages."""

    def __init__(self, c: Settings, device: str = "cpu"):
        self.c, self.step = c, 0
        self.actor, self.critic = Actor(c).to(device), TwinCritic(c).to(device)
        self.ema, self.target = copy.deepcopy(self.actor), copy.deepcopy(self.critic)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=c.lr)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=c.critic_lr)

    def train_step(self, obs: Tensor, act: Tensor, reward: Tensor, next_obs: Tensor, not_done: Tensor, rng) -> None:
        """One step on a batch: obs `[B, O]`, act `[B, A]`, reward `[B]`, next_obs `[B, O]`, not_done `[B]`."""
        c = self.c
        if not c.bc_only:
            self._descend(
                self._critic_loss(obs, act, reward, next_obs, not_done, rng), self.critic, self.critic_optimizer
            )
        loss = self.actor.loss(act, obs, rng)
        if not c.bc_only:
            q1, q2 = self.critic(obs, self.actor(obs, rng))
            if rng.uniform() > 0.5:
                loss = loss - c.eta * q1.mean() / q2.abs().mean().detach()
            else:
                loss = loss - c.eta * q2.mean() / q1.abs().mean().detach()
        self._descend(loss, self.actor, self.actor_optimizer)
        if not c.bc_only:
            if not c.one_step and self.step >= c.ema_start and self.step % c.ema_every == 0:
                average(self.ema, self.actor, 1 - c.ema_decay)
            average(self.target, self.critic, c.tau)
        self.step += 1

    def _critic_loss(self, obs, act, reward, next_obs, not_done, rng) -> Tensor:
        c = self.c
        with torch.no_grad():
            goal = reward if c.one_step else reward + c.discount * not_done * self._next_value(next_obs, rng)
        q1, q2 = self.critic(obs, act)
        return F.mse_loss(q1, goal) + F.mse_loss(q2, goal)

    def _next_value(self, next_obs: Tensor, rng) -> Tensor:
        repeated = next_obs.repeat_interleave(self.c.max_q, dim=0)
        q1, q2 = self.target(repeated, self.ema(repeated, rng))
        best = [q.view(len(next_obs), self.c.max_q).max(1).values for q in (q1, q2)]
        return torch.min(*best)

    def _descend(self, loss: Tensor, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        loss.backward()
        if self.c.grad_norm is not None:
            nn.utils.clip_grad_norm_(module.parameters(), self.c.grad_norm, norm_type=2)
        optimizer.step()


def average(slow: nn.Module, fast: nn.Module, rate: float) -> None:
    for target, parameter in zip(slow.parameters(), fast.parameters(), strict=True):
        target.data.copy_(rate * parameter.data + (1 - rate) * target.data)
