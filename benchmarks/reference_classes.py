"""Behaviour cloning with a Gaussian and with a CVAE as a textbook would write it; one seed, eager. See reference.py."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.reference import Settings, hidden_layers


class GaussianActor(nn.Module):
    """Mean and log-deviation of a diagonal Gaussian, not squashed."""

    def __init__(self, c: Settings):
        super().__init__()
        self.net = hidden_layers(c.obs_dim, c.hidden, 2 * c.act_dim)

    def loss(self, act: Tensor, obs: Tensor, rng) -> Tensor:
        mean, log_std = self.net(obs).chunk(2, dim=-1)
        log_std = log_std.clamp(-5, 2)
        log_density = -0.5 * ((act - mean) / log_std.exp()) ** 2 - log_std - 0.5 * math.log(2 * math.pi)
        return -log_density.sum(-1).mean()


class CVAEActor(nn.Module):
    """Encoder, decoder and the evidence bound of BCQ (arXiv 1812.02900)."""

    def __init__(self, c: Settings):
        super().__init__()
        self.latent = 2 * c.act_dim
        self.encoder = hidden_layers(c.obs_dim + c.act_dim, c.hidden, 2 * self.latent)
        self.decoder = hidden_layers(c.obs_dim + self.latent, c.hidden, c.act_dim)

    def loss(self, act: Tensor, obs: Tensor, rng) -> Tensor:
        mean, log_std = self.encoder(torch.cat([obs, act], dim=-1)).chunk(2, dim=-1)
        log_std = log_std.clamp(-4, 15)
        std = log_std.exp()
        z = mean + std * rng.normal(*mean.shape)
        decoded = torch.tanh(self.decoder(torch.cat([obs, z], dim=-1)))
        divergence = -0.5 * (1 + 2 * log_std - mean**2 - std**2).mean()
        return F.mse_loss(decoded, act) + 0.5 * divergence


class Cloning:
    """Adam on an actor's own loss."""

    def __init__(self, actor: nn.Module, c: Settings, device: str = "cpu"):
        self.actor = actor.to(device)
        self.optimizer = torch.optim.Adam(self.actor.parameters(), lr=c.lr)

    def train_step(self, obs: Tensor, act: Tensor, reward: Tensor, next_obs: Tensor, not_done: Tensor, rng) -> None:
        self.optimizer.zero_grad()
        self.actor.loss(act, obs, rng).backward()
        self.optimizer.step()
