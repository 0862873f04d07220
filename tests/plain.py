"""Policies and critics written out plainly for one seed, `[B, ...]`, over the parameters of the real ones.

Nothing of the testbed is called: the parameters are read by their names, the rest is from the papers. `draws` is an
iterator over the noise, in the order in which the real ones ask for it.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def net(module, x, head=None, activation=F.mish):
    """The plain network in one replica of an MLP."""
    for number, layer in enumerate(module.layers):
        weight, bias = (p[0] if head is None else p[0, head] for p in (layer.weight, layer.bias))
        if number:
            x = activation(x)
            norm = module.norms[number - 1]
            if hasattr(norm, "gain"):
                x = F.layer_norm(x, x.shape[-1:], norm.gain[0, head], norm.bias[0, head])
        x = x @ weight + bias
    return x


def q(critic, s, a):
    """Every head's value, a list of [B]."""
    return [net(critic.net, torch.cat([s, a], -1), head)[:, 0] for head in range(critic.heads)]


def q_min(critic, s, a):
    return torch.stack(q(critic, s, a)).min(0).values


def embedding(time, t):
    """Sinusoids of t at geometric frequencies, and two layers."""
    half = time.dim // 2
    angles = t[:, None] * torch.exp(-math.log(10_000) * torch.arange(half).double() / (half - 1))
    features = torch.cat([angles.sin(), angles.cos()], -1)
    features = F.mish(features @ time.widen.weight[0] + time.widen.bias[0])
    return features @ time.narrow.weight[0] + time.narrow.bias[0]


class Gaussian:
    def __init__(self, policy):
        self.net = policy.net

    def mean_and_deviation(self, s):
        mean, log_std = net(self.net, s).chunk(2, -1)
        return mean, log_std.clamp(-5, 2).exp()

    def loss(self, s, a, draws):
        base = torch.distributions.Normal(*self.mean_and_deviation(s))
        squash = [torch.distributions.TanhTransform()]
        inside = a.clamp(-1 + 1e-6, 1 - 1e-6)
        return -torch.distributions.TransformedDistribution(base, squash).log_prob(inside).sum(-1)

    def sample(self, s, draws):
        mean, deviation = self.mean_and_deviation(s)
        return (mean + deviation * next(draws)).tanh()


class Mixture:
    """Five Gaussians before a tanh."""

    def __init__(self, policy):
        self.net = policy.net

    def loss(self, s, a, draws):
        logits, mean, log_std = net(self.net, s).split([5, 5 * a.shape[-1], 5 * a.shape[-1]], -1)
        scale = log_std.clamp(-5, 2).exp().view(len(s), 5, -1)
        parts = torch.distributions.Independent(torch.distributions.Normal(mean.view(len(s), 5, -1), scale), 1)
        mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=logits), parts)
        return -mixture.log_prob(a.atanh()) + torch.log(1 - a**2).sum(-1)


class CVAE:
    def __init__(self, policy):
        self.encoder, self.decoder = policy.encoder, policy.decoder

    def decode(self, s, z):
        return net(self.decoder, torch.cat([s, z], -1)).tanh()

    def loss(self, s, a, draws):
        mean, log_std = net(self.encoder, torch.cat([s, a], -1)).chunk(2, -1)
        std = log_std.clamp(-4, 15).exp()
        reconstruction = self.decode(s, mean + std * next(draws))
        divergence = -0.5 * (1 + torch.log(std**2) - mean**2 - std**2)
        return ((reconstruction - a) ** 2).mean(-1) + 0.5 * divergence.mean(-1)

    def sample(self, s, draws):
        return self.decode(s, next(draws).clamp(-0.5, 0.5))


class Diffusion:
    """DDPM with T = 5 and the schedule beta_t = 1 - exp(-0.1 / T - 0.5 (10 - 0.1) (2 t - 1) / T^2)."""

    def __init__(self, policy, T=5):
        self.policy, self.T = policy, T
        self.alpha = [math.exp(-0.1 / T - 0.5 * 9.9 * (2 * t - 1) / T**2) for t in range(1, T + 1)]
        self.abar = [math.prod(self.alpha[: t + 1]) for t in range(T)]

    def noise(self, x, t, s):
        return net(self.policy.net, torch.cat([x, embedding(self.policy.time, t), s], -1))

    def noised(self, a, draws):
        """t, sqrt(abar) a + sqrt(1 - abar) eps, eps and abar."""
        t, eps = next(draws), next(draws)
        abar = torch.tensor(self.abar, dtype=torch.float64)[t][:, None]
        return t, abar.sqrt() * a + (1 - abar).sqrt() * eps, eps, abar

    def one_step(self, s, a, draws):
        """EDP's estimate of the clean action."""
        t, x, _, abar = self.noised(a, draws)
        return ((x - (1 - abar).sqrt() * self.noise(x, t, s)) / abar.sqrt()).clamp(-1, 1)

    def loss(self, s, a, draws):
        t, x, eps, _ = self.noised(a, draws)
        return ((self.noise(x, t, s) - eps) ** 2).mean(-1)

    def sample(self, s, draws):
        noises = next(draws)
        x = noises[0]
        for number, t in enumerate(reversed(range(self.T)), 1):
            abar, before = self.abar[t], self.abar[t - 1] if t else 1.0
            eps = self.noise(x, torch.full((len(s),), t), s)
            x0 = ((x - math.sqrt(1 - abar) * eps) / math.sqrt(abar)).clamp(-1, 1)
            mean = math.sqrt(before) * (1 - self.alpha[t]) * x0 + math.sqrt(self.alpha[t]) * (1 - before) * x
            deviation = math.sqrt((1 - self.alpha[t]) * (1 - before) / (1 - abar))
            x = mean / (1 - abar) + deviation * noises[number]
        return x.clamp(-1, 1)


class Deterministic:
    def __init__(self, policy):
        self.net = policy.net

    def sample(self, s, draws):
        return net(self.net, s).tanh()

    def loss(self, s, a, draws):
        return ((self.sample(s, draws) - a) ** 2).mean(-1)


class Perturbed:
    def __init__(self, policy):
        self.base, self.perturbation, self.phi = plain(policy.base), policy.perturbation, policy.phi

    def sample(self, s, draws):
        b = self.base.sample(s, draws).detach()
        return (b + self.phi * net(self.perturbation, torch.cat([s, b], -1)).tanh()).clamp(-1, 1)

    def loss(self, s, a, draws):
        return self.base.loss(s, a, draws)


class Flow:
    """Straight paths from noise to actions, ten Euler steps."""

    def __init__(self, policy):
        self.net = policy.net

    def velocity(self, x, t, s):
        return net(self.net, torch.cat([x, t[:, None], s], -1))

    def loss(self, s, a, draws):
        z, t = next(draws), next(draws)
        x = (1 - t[:, None]) * z + t[:, None] * a
        return ((self.velocity(x, t, s) - (a - z)) ** 2).mean(-1)

    def transport(self, s, x):
        for i in range(10):
            x = x + 0.1 * self.velocity(x, torch.full((len(s),), i / 10, dtype=torch.float64), s)
        return x.clamp(-1, 1)

    def sample(self, s, draws):
        return self.transport(s, next(draws))


class Steered:
    """A squashed Gaussian over the noise of a flow."""

    def __init__(self, policy):
        self.base, self.actor, self.scale = Flow(policy.base), policy.actor, policy.config.scale

    def loss(self, s, a, draws):
        return self.base.loss(s, a, draws)

    def latent(self, s, draws):
        mean, log_std = net(self.actor, s).chunk(2, -1)
        normal = torch.distributions.Normal(mean, log_std.clamp(-5, 2).exp())
        raw = mean + normal.stddev * next(draws)
        density = torch.distributions.TransformedDistribution(normal, [torch.distributions.TanhTransform(cache_size=1)])
        squashed = density.transforms[0](raw)
        return self.scale * squashed, density.log_prob(squashed).sum(-1)


class Distilled:
    """FQL's student, alpha = 10."""

    def __init__(self, policy):
        self.student, self.base = policy.student, Flow(policy.base)

    def loss(self, s, a, draws):
        matching, z = self.base.loss(s, a, draws), next(draws)
        distance = net(self.student, torch.cat([s, z], -1)) - self.base.transport(s, z).detach()
        return matching + 10.0 * (distance**2).mean(-1)

    def sample(self, s, draws):
        return net(self.student, torch.cat([s, next(draws)], -1)).clamp(-1, 1)


class EDM:
    """sigma_data 0.5, ln sigma ~ N(-1.2, 1.2^2), Heun over ten levels from 80 to 0.002 with rho = 7."""

    def __init__(self, policy):
        self.policy = policy
        root = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) for i in range(18)]
        self.levels = [r**7 for r in root] + [0.0]

    def denoise(self, x, sigma, s):
        total = sigma**2 + 0.25
        features = embedding(self.policy.time, sigma[:, 0].log() / 4)
        raw = net(self.policy.net, torch.cat([x / total.sqrt(), features, s], -1))
        return 0.25 / total * x + 0.5 * sigma / total.sqrt() * raw

    def loss(self, s, a, draws):
        sigma = torch.exp(-1.2 + 1.2 * next(draws))[:, None]
        error = self.denoise(a + sigma * next(draws), sigma, s) - a
        return ((sigma**2 + 0.25) / (0.5 * sigma) ** 2 * error**2).mean(-1)

    def sample(self, s, draws):
        x = 80.0 * next(draws)[0]

        def slope(x, sigma):
            clean = self.denoise(x, torch.full((len(s), 1), sigma, dtype=torch.float64), s)
            return (x - clean.clamp(-1, 1)) / sigma

        for now, then in zip(self.levels[:-1], self.levels[1:], strict=True):
            d = slope(x, now)
            euler = x + (then - now) * d
            x = x + (then - now) * (d + slope(euler, then)) / 2 if then else euler
        return x.clamp(-1, 1)


class Consistency:
    """Consistency training at the policy's own noise levels, two passes to sample."""

    def __init__(self, policy):
        self.net, self.sigmas, self.sampling = policy.net, policy.sigmas, policy.sampling_sigmas

    def start(self, x, sigma, s):
        skip = 0.25 / ((sigma - 0.002) ** 2 + 0.25)
        out = 0.5 * (sigma - 0.002) / (sigma**2 + 0.25).sqrt()
        return skip * x + out * net(self.net, torch.cat([x / (sigma**2 + 0.25).sqrt(), sigma.log() / 4, s], -1))

    def loss(self, s, a, draws):
        n, z = next(draws), next(draws)
        low, high = self.sigmas[n][:, None], self.sigmas[n + 1][:, None]
        error = self.start(a + high * z, high, s) - self.start(a + low * z, low, s).detach()
        return (error**2).mean(-1) / (high - low)[:, 0]

    def sample(self, s, draws):
        first, second = next(draws)
        high, low = (torch.full((len(s), 1), sigma, dtype=torch.float64) for sigma in self.sampling)
        x = self.start(high * first, high, s).clamp(-1, 1)
        return self.start(x + (low**2 - 0.002**2).sqrt() * second, low, s).clamp(-1, 1)


class Energy:
    """The data's action told from 32 even over the box."""

    def __init__(self, policy):
        self.net = policy.net

    def loss(self, s, a, draws):
        others = (2 * next(draws) - 1).view(len(a), 32, -1)
        mine = net(self.net, torch.cat([a, s], -1))
        theirs = torch.cat([net(self.net, torch.cat([others[:, j], s], -1)) for j in range(32)], -1)
        share = torch.exp(-mine[:, 0]) / (torch.exp(-mine[:, 0]) + torch.exp(-theirs).sum(-1))
        return -share.log() + 0.01 * theirs.mean(-1) ** 2


PLAIN = {
    "GaussianPolicy": Gaussian,
    "MixturePolicy": Mixture,
    "CVAEPolicy": CVAE,
    "DiffusionPolicy": Diffusion,
    "DeterministicPolicy": Deterministic,
    "PerturbedPolicy": Perturbed,
    "FlowPolicy": Flow,
    "DistilledPolicy": Distilled,
    "SteeredPolicy": Steered,
    "EDMPolicy": EDM,
    "EnergyPolicy": Energy,
    "ConsistencyPolicy": Consistency,
}


def plain(policy):
    """The real policy, written out."""
    return PLAIN[type(policy).__name__](policy)
