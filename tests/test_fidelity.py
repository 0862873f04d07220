"""Each named method against its losses written plainly: one seed, loops over heads, float64, from the paper.

The preset is built as the data in `ablations/plan/presets.py` say
and takes one step with a vanishing learning rate, so that
all it records is of the parameters it began with. Beside it, the losses of the same step are written out here, from
a copy of the networks and the same draws, and must agree: the values, and the norms of the gradients, which tell
where a gradient was to be stopped. `DRAW` comes in the order in which the trainer draws.
"""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from builders import SMALL, SPEC, double_rng, make_dataset
from plain import CVAE, EDM, Flow, embedding, net, plain, q, q_min

from ablations.plan.parts import CHOICES, FIXED
from ablations.plan.presets import PRESETS
from policies import POLICIES
from policies.base import DenoisingPolicy
from trainers import SELECTIONS
from trainers.trainer import Parts, Trainer, TrainerConfig

BATCH = 8
VANISHING = 1e-300
NESTED = ("base", "behaviour")


# the preset, as a trainer


#: what is no part of a method's loss and would only make it long to write out: EDP's thousand steps, and DPM-Solver
SHORTER = {"edp": {"policy.T": 5, "policy.schedule": "vp", "policy.sampler": "ddpm", "policy.sample_steps": None},
           "qgpo": {"policy": "diffusion"}}  # fmt: skip


def build(name, released=False):
    preset = PRESETS[name]
    options = {**preset.options, **(preset.as_released if released else {}), **SHORTER.get(name, {})}
    names = {part: options.get(part, chosen) for part, chosen in preset.parts.items()}
    registries = {**CHOICES, "selection": SELECTIONS}
    classes = {**{part: registries[part][chosen] for part, chosen in names.items()}, **FIXED}
    chosen = {}
    for part, config in classes.items():
        # networks of their own change no loss
        fields = {key.partition(".")[2]: value for key, value in options.items() if key.startswith(f"{part}.")}
        fields = {key: value for key, value in fields.items() if "." not in key}
        fields = {k: POLICIES[v]() if k in NESTED else v for k, v in fields.items()}
        chosen[part] = config(**fields)
    chosen["network"] = SMALL
    trainer = dataclasses.replace(
        chosen["trainer"], batch=BATCH, lr=VANISHING, critic_lr=VANISHING, bonus_start=0, grad_norm=None
    )
    parts = Parts(**{field.name: chosen[field.name] for field in dataclasses.fields(Parts) if field.name in chosen})
    return one_seed(parts, trainer, chosen["selection"].needs_critic)


def one_seed(parts: Parts, config: TrainerConfig, needs_critic: bool) -> Trainer:
    """Its targets apart from the networks they follow, so that taking one for the other shows."""
    trainer = Trainer(parts, config, SPEC, [0], needs_critic=needs_critic, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    for module in (trainer.target_critic, trainer.target_policy, getattr(trainer.improvement, "average", None)):
        for parameter in module.parameters() if module is not None else ():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return trainer


class Tape:
    """A stream of draws that remembers them, without the axis of seeds."""

    def __init__(self):
        self.rng, self.draws = double_rng((0,)), []

    def beside(self, name):
        """All that is drawn is drawn from here."""
        return self

    def __getattr__(self, name):
        def draw(*args):
            drawn = getattr(self.rng, name)(*args)
            self.draws.append(drawn[0])
            return drawn

        return draw


# what each method descends: (trainer, batch, draws) -> the entries of its record


def temporal_difference(t, b, next_value):
    target = (b.reward + b.discount * next_value).detach()
    return {
        "target_q": target.mean(),
        "critic_loss": sum(((v - target) ** 2).mean() for v in q(t.critic, b.obs, b.act)),
    }


def at_the_target_policys_action(t, b, draws):
    act = plain(t.target_policy).sample(b.next_obs, draws)
    return q_min(t.target_critic, b.next_obs, act)


def each_of(count, t, b, draws):
    """`count` actions of the target policy, and all heads' values of each: lists over heads of `[B, count]`."""
    s = b.next_obs.repeat_interleave(count, 0)
    act = plain(t.target_policy).sample(s, draws)
    return [v.view(-1, count) for v in q(t.target_critic, s, act)]


def cloning(t, b, draws):
    loss = plain(t.policy).loss(b.obs, b.act, draws).mean()
    return {"regularizer": loss, "actor_loss": loss}


def q_learning(t, b, draws, released=False):
    """L_d - eta E[Q_i(s, pi)] / E|Q_i(s, a)|; released: / E|Q_j(s, pi)|, j the other head."""
    record = temporal_difference(t, b, at_the_target_policys_action(t, b, draws))
    policy = plain(t.policy)
    loss = policy.loss(b.obs, b.act, draws).mean()
    values = q(t.critic, b.obs, policy.sample(b.obs, draws))
    i = 0 if next(draws) > 0.5 else 1
    scale = values[1 - i] if released else q(t.critic, b.obs, b.act)[i]
    bonus = -1.0 * values[i].mean() / scale.abs().mean().detach()
    return record | {"regularizer": loss, "bonus": bonus, "actor_loss": loss + bonus}


def released_q_learning(t, b, draws):
    return q_learning(t, b, draws, released=True)


def bear(t, b, draws):
    """-E min_k Q_k + alpha MMD to a CVAE of the data, pre-tanh, Laplacian, alpha = 1 at first, threshold 0.05."""
    values = torch.stack(each_of(10, t, b, draws))
    record = temporal_difference(t, b, (0.75 * values.min(0).values + 0.25 * values.max(0).values).max(1).values)
    policy, vae = plain(t.policy), CVAE(t.regularizer.penalty.behaviour)
    s = b.obs.repeat_interleave(10, 0)
    x = policy.sample(s, draws).atanh().view(-1, 10, 3)
    y = vae.sample(s, draws).detach().atanh().view(-1, 10, 3)
    own = vae.loss(b.obs, b.act, draws).mean()

    def kernel(u, v):
        return torch.exp(-(u[:, :, None] - v[:, None]).abs().sum(-1) / (2 * 20.0)).mean((1, 2))

    mmd = (kernel(x, x) + kernel(y, y) - 2 * kernel(x, y) + 1e-6).sqrt().mean()
    act = policy.sample(s, draws)
    bonus = -torch.stack([v.view(-1, 10).mean(1) for v in q(t.critic, s, act)]).min(0).values.mean()
    own = own - (mmd.detach() - 0.05)
    return record | {"regularizer": mmd, "bonus": bonus, "actor_loss": mmd + bonus, "regularizer_own": own}


def value_learning(t, b, tau=0.7):
    """IQL's V and Q: |tau - 1[u < 0]| u^2 with u = min_k Q_k(s, a) - V(s), and r + gamma V(s')."""
    u = q_min(t.target_critic, b.obs, b.act).detach() - net(t.backup.net, b.obs)[:, 0]
    loss = torch.where(u > 0, tau * u**2, (1 - tau) * u**2).mean()
    return {"value_loss": loss} | temporal_difference(t, b, net(t.backup.net, b.next_obs)[:, 0])


def iql(t, b, draws):
    record = value_learning(t, b)
    advantage = q_min(t.target_critic, b.obs, b.act) - net(t.backup.net, b.obs)[:, 0]
    return record | weighted(t, b, draws, torch.exp(3.0 * advantage).clamp(max=100.0))


def weighted(t, b, draws, weight):
    loss = plain(t.policy).loss(b.obs, b.act, draws)
    return {"regularizer": loss.mean(), "actor_loss": (weight.detach() * loss).mean()}


def over_the_policy(t, b, draws, count, weigh):
    """A = min_k Q_k(s, a) - mean over `count` actions of the policy of min_k Q_k."""
    record = temporal_difference(t, b, at_the_target_policys_action(t, b, draws))
    loss = plain(t.policy).loss(b.obs, b.act, draws)
    s = b.obs.repeat_interleave(count, 0)
    value = q_min(t.target_critic, s, plain(t.policy).sample(s, draws)).view(-1, count).mean(1)
    weight = weigh(q_min(t.target_critic, b.obs, b.act) - value).detach()
    return record | {"regularizer": loss.mean(), "actor_loss": (weight * loss).mean()}


def awr(t, b, draws):
    return over_the_policy(t, b, draws, 10, lambda advantage: advantage.exp().clamp(max=20.0))


def crr(t, b, draws):
    return over_the_policy(t, b, draws, 4, lambda advantage: (advantage > 0).double())


def sfbc(t, b, draws):
    values = torch.stack(each_of(16, t, b, draws)).min(0).values
    value = sum(torch.exp(v) * v for v in values.T) / sum(torch.exp(v) for v in values.T)
    return temporal_difference(t, b, value) | cloning(t, b, draws)


def dipo(t, b, draws):
    """The class's loss at actions 20 steps of 0.03 up min_k Q_k from the data's, each of root mean square 1."""
    record = temporal_difference(t, b, at_the_target_policys_action(t, b, draws))
    act = b.act
    for _ in range(20):
        leaf = act.clone().requires_grad_()
        (g,) = torch.autograd.grad(q_min(t.critic, b.obs, leaf).sum(), leaf)
        act = (act + 0.03 * g / (g**2).mean(-1, keepdim=True).sqrt()).clamp(-1, 1)
    loss = plain(t.policy).loss(b.obs, act, draws).mean()
    return record | {"regularizer": loss, "actor_loss": loss}


def idql(t, b, draws):
    return value_learning(t, b) | cloning(t, b, draws)


def td3_bc(t, b, draws):
    """E|pi(s) - a|^2 - 2.5 E Q_1 / E|Q_1|, towards min_k Q_k at clip(pi(s') + clip(0.2 eps, +-0.5), +-1)."""
    smoothed = plain(t.target_policy).sample(b.next_obs, draws)
    smoothed = (smoothed + (0.2 * next(draws)).clamp(-0.5, 0.5)).clamp(-1, 1)
    record = temporal_difference(t, b, q_min(t.target_critic, b.next_obs, smoothed))
    act = plain(t.policy).sample(b.obs, draws)
    loss = ((act - b.act) ** 2).mean()
    value = q(t.critic, b.obs, act)[0]
    bonus = -2.5 * value.mean() / value.abs().mean().detach()
    return record | {"regularizer": loss, "bonus": bonus, "actor_loss": loss + bonus}


def bcq(t, b, draws):
    """The base's loss, and -E Q_1 of the perturbed action, towards max_i 0.75 min_k Q_k + 0.25 max_k Q_k over ten."""
    values = torch.stack(each_of(10, t, b, draws))
    record = temporal_difference(t, b, (0.75 * values.min(0).values + 0.25 * values.max(0).values).max(1).values)
    loss = plain(t.policy).loss(b.obs, b.act, draws).mean()
    bonus = -q(t.critic, b.obs, plain(t.policy).sample(b.obs, draws))[0].mean()
    return record | {"regularizer": loss, "bonus": bonus, "actor_loss": loss + bonus}


def fql(t, b, draws):
    """Flow matching + 10 distillation - the mean of the heads, towards their mean."""
    act = plain(t.policy).sample(b.next_obs, draws)
    record = temporal_difference(t, b, sum(q(t.target_critic, b.next_obs, act)) / 2)
    loss = plain(t.policy).loss(b.obs, b.act, draws).mean()
    bonus = -(sum(q(t.critic, b.obs, plain(t.policy).sample(b.obs, draws))) / 2).mean()
    return record | {"regularizer": loss, "bonus": bonus, "actor_loss": loss + bonus}


def edp(t, b, draws):
    """L_d - 2 E Q_i(s, x0) / E|Q_i(s, x0)|, x0 in one step from a noised action of the data."""
    record = temporal_difference(t, b, at_the_target_policys_action(t, b, draws))
    loss = plain(t.policy).loss(b.obs, b.act, draws).mean()
    values = q(t.critic, b.obs, plain(t.policy).one_step(b.obs, b.act, draws))
    value = values[0 if next(draws) > 0.5 else 1]
    bonus = -2.0 * value.mean() / value.abs().mean().detach()
    return record | {"regularizer": loss, "bonus": bonus, "actor_loss": loss + bonus}


def pessimistic(values):
    """Mean of the heads less half their deviation, over their number."""
    values = torch.stack(values)
    mean = sum(values) / len(values)
    return mean - 0.5 * (sum((v - mean) ** 2 for v in values) / len(values)).sqrt()


def tuned(t, b, draws, form):
    """QAM, or BAM with `form`, over ten steps of 0.1: see trainers/adjoint.py for what is written out here."""
    policy, base, mean = plain(t.policy), Flow(t.improvement.behaviour), Flow(t.improvement.average)
    record = temporal_difference(t, b, pessimistic(q(t.target_critic, b.next_obs, policy.sample(b.next_obs, draws))))
    own, noise = base.loss(b.obs, b.act, draws).mean(), next(draws)
    x, path, cost = noise[0], [], 0.0
    sigma = [math.sqrt(2 * (1 - i / 10 + 0.1) / (i / 10 + 0.1)) for i in range(10)]
    times = [torch.full((len(b.obs),), i / 10).double() for i in range(11)]
    for i in range(10):
        path.append(x)
        v = policy.velocity(x, times[i], b.obs)
        if i < 9:
            cost = cost + 2 * ((v - mean.velocity(x, times[i], b.obs)) ** 2).sum(-1) / sigma[i] ** 2
            x = x + 0.1 * (2 * v - x / (i / 10 + 0.1)) + math.sqrt(0.1) * sigma[i] * noise[i + 1]
        else:
            x = x + 0.1 * mean.velocity(x, times[i], b.obs)
    if form == "backprop":
        bonus = (cost - pessimistic(q(t.critic, b.obs, x))).mean()
    else:
        end, bonus = x.detach().requires_grad_(), 0.0
        values = q(t.target_critic, b.obs, end.clamp(-1, 1))
        (g,) = torch.autograd.grad(-sum(values).sum() / len(values), end)
        for i in reversed(range(10)):
            x = path[i].detach().requires_grad_()
            (pulled,) = torch.autograd.grad(2 * mean.velocity(x, times[i + 1], b.obs) - x / (i / 10 + 0.1), x, g)
            g, x = g + 0.1 * pulled, x.detach()
            control = policy.velocity(x, times[i], b.obs) - mean.velocity(x, times[i], b.obs).detach()
            bonus = bonus + ((2 * control / sigma[i] + sigma[i] * g) ** 2).sum(-1).mean()
    return record | {"regularizer": 0 * own, "bonus": bonus, "actor_loss": bonus, "improvement_own": own}


def qam(t, b, draws):
    return tuned(t, b, draws, "lean")


def bam(t, b, draws):
    return tuned(t, b, draws, "backprop")


def dsrl(t, b, draws):
    """alpha log pi(z) - mean Q_z(z) with alpha = 1 at first, and Q_z of each head towards Q at the average's action."""
    policy, base = plain(t.policy), Flow(t.target_policy.base)
    act = base.transport(b.next_obs, policy.latent(b.next_obs, draws)[0])
    record = temporal_difference(t, b, pessimistic(q(t.target_critic, b.next_obs, act)))
    loss = policy.loss(b.obs, b.act, draws).mean()
    z, log_prob = policy.latent(b.obs, draws)
    bonus = (log_prob - sum(q(t.improvement.critic, b.obs, z)) / 10).mean()
    w = next(draws)
    pairs = zip(q(t.improvement.critic, b.obs, w), q(t.critic, b.obs, base.transport(b.obs, w)), strict=True)
    own = sum(((a - v.detach()) ** 2).mean() for a, v in pairs) / 10 + (-log_prob.detach() + 1.5).mean()
    return record | {"regularizer": loss, "bonus": bonus, "actor_loss": loss + bonus, "improvement_own": own}


def dtql(t, b, draws):
    """5 L_EDM(pi(s)) - E min_k Q_k, with IQL's critic."""
    record, policy, behaviour = value_learning(t, b), plain(t.policy), EDM(t.regularizer.behaviour)
    trust = behaviour.loss(b.obs, policy.sample(b.obs, draws), draws).mean()
    own = behaviour.loss(b.obs, b.act, draws).mean()
    bonus = -q_min(t.critic, b.obs, policy.sample(b.obs, draws)).mean()
    return record | {
        "regularizer": trust,
        "bonus": bonus,
        "actor_loss": 5.0 * trust + bonus,
        "regularizer_own": own,
    }


def ifql(t, b, draws):
    return value_learning(t, b, 0.9) | cloning(t, b, draws)


def fbrac(t, b, draws):
    """Flow matching - the mean of ten heads, through the flow's steps, towards their lower bound."""
    policy = plain(t.policy)
    record = temporal_difference(t, b, pessimistic(q(t.target_critic, b.next_obs, policy.sample(b.next_obs, draws))))
    loss = policy.loss(b.obs, b.act, draws).mean()
    bonus = -(sum(q(t.critic, b.obs, policy.sample(b.obs, draws))) / 10).mean()
    return record | {"regularizer": loss, "bonus": bonus, "actor_loss": loss + bonus}


def fawac(t, b, draws):
    """min(exp(0.8 A), 100) times flow matching, A over the mean of four actions of the policy."""
    policy = plain(t.policy)
    record = temporal_difference(t, b, pessimistic(q(t.target_critic, b.next_obs, policy.sample(b.next_obs, draws))))
    loss, s = policy.loss(b.obs, b.act, draws), b.obs.repeat_interleave(4, 0)
    value = q_min(t.target_critic, s, policy.sample(s, draws)).view(-1, 4).mean(1)
    weight = torch.exp(0.8 * (q_min(t.target_critic, b.obs, b.act) - value)).clamp(max=100.0).detach()
    return record | {"regularizer": loss.mean(), "actor_loss": (weight * loss).mean()}


def qgpo(t, b, draws):
    """-sum_i softmax_i(3 min_k Q_k(a_i)) log softmax_i f(x_i) of 16 actions, noised at one level for each state."""
    values = torch.stack(each_of(16, t, b, draws)).min(0).values
    record = temporal_difference(t, b, sum(v.exp() * v for v in values.T) / sum(v.exp() for v in values.T))
    policy = plain(t.policy)
    loss = policy.loss(b.obs, b.act, draws).mean()
    s = b.obs.repeat_interleave(16, 0)
    act = policy.sample(s, draws).detach()
    label = (3.0 * q_min(t.target_critic, s, act)).view(-1, 16).softmax(-1).detach()
    abar = torch.tensor(policy.abar, dtype=torch.float64)[next(draws)].repeat_interleave(16)[:, None]
    x, energy = abar.sqrt() * act + (1 - abar).sqrt() * next(draws), t.improvement.net
    level = embedding(energy.time, 0.5 * (abar / (1 - abar)).log()[:, 0])
    f = net(energy.net, torch.cat([x, level, s], -1)).view(-1, 16)
    own = -(label * f.log_softmax(-1)).sum(-1).mean()
    return record | {"regularizer": loss, "actor_loss": loss, "improvement_own": own}


METHODS = {
    "bc-deterministic": cloning,
    "bc-mixture": cloning,
    "bc-flow": cloning,
    "bc-edm": cloning,
    "bc-consistency": cloning,
    "bc-energy": cloning,
    "bc-gaussian": cloning,
    "bc-cvae": cloning,
    "bc-diffusion": cloning,
    "diffusion-ql": q_learning,
    "diffusion-ql as released": released_q_learning,
    "cvae-ql": q_learning,
    "cvae-ql as released": released_q_learning,
    "bear": bear,
    "iql": iql,
    "awr": awr,
    "crr-diffusion": crr,
    "crr-diffusion as released": awr,
    "sfbc": sfbc,
    "dipo": dipo,
    "idql": idql,
    "td3+bc": td3_bc,
    "bcq": bcq,
    "bcq-diffusion": bcq,
    "fql": fql,
    "edp": edp,
    "edm-ql": q_learning,
    "edm-ql as released": released_q_learning,
    "consistency-ac": q_learning,
    "qam": qam,
    "bam": bam,
    "dsrl": dsrl,
    "dtql": dtql,
    "qgpo": qgpo,
    "ifql": ifql,
    "fbrac": fbrac,
    "fawac": fawac,
}
#: learner -> the entry of the record that is its loss, and that of the norm of its gradient
LOSSES = {"policy": ("actor_loss", "actor_grad_norm"), "critic": ("critic_loss", "critic_grad_norm")}


def here(method):
    """Whether the policy class of a method's preset is there already, and can what the improvement asks of it."""
    parts = PRESETS[method.partition(" ")[0]].parts
    policy = POLICIES.get(parts["policy"])
    needs_denoiser = CHOICES["improvement"][parts["improvement"]].needs_denoiser
    return policy is not None and (issubclass(policy.builds, DenoisingPolicy) or not needs_denoiser)


@pytest.mark.parametrize("method", [method for method in METHODS if here(method)])
def test_a_step_of_the_preset_is_the_method(method):
    name, _, released = method.partition(" ")
    trainer = build(name, bool(released))
    beside, tape = copy.deepcopy(trainer), Tape()
    data = make_dataset()[torch.arange(BATCH)[None]]
    record = trainer.update(data, tape)
    draws = iter(tape.draws)
    ours = {key: value[0] for key, value in record.items()}
    expected = METHODS[method](beside, make_dataset()._each(lambda tensor: tensor[:BATCH]), draws)
    assert next(draws, None) is None, "the trainer drew more than the method needs"
    for learner, (loss, norm) in LOSSES.items():
        if loss in expected:
            parameters = list(beside.learners()[learner].parameters())
            gradients = torch.autograd.grad(expected[loss], parameters, retain_graph=True, materialize_grads=True)
            expected[norm] = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    expected.setdefault("bonus", torch.zeros(()).double())
    assert ours.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(
            ours[key], value.detach(), rtol=1e-9, atol=1e-12, msg=lambda m, key=key: f"{key}: {m}"
        )


def test_every_preset_is_held_to_its_method():
    """Here, or by the numbers of its release (tests/test_releases.py)."""
    held = {name for name, row in PRESETS.items() if row.golden}
    assert {method.partition(" ")[0] for method in METHODS} | held == set(PRESETS)
