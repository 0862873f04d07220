"""Two samples compared by nearest neighbours: precision, recall, density, coverage, and a classifier two-sample test.

Pure functions of `[n, A]` (a policy's actions) and `[m, A]` (fresh data).
"""

from __future__ import annotations

import torch
from torch import Tensor

#: neighbours, as both papers below take (k)
NEIGHBOURS = 5
#: numbers of neighbours the classifier chooses among
VOTERS = (5, 15, 45)
FOLDS = 5


def neighbourhoods(x: Tensor, y: Tensor, k: int = NEIGHBOURS) -> dict[str, float]:
    """How much of x lies where y is, and how much of y is reached by x.

    precision: share of x within reach of some y, recall: the same with x and y exchanged (Kynkaanniemi et al. 2019,
    arXiv 1904.06991); density: how many y's reach each x, over k; coverage: share of y that reach some x (Naeem et al.
    2020, arXiv 2002.09797). What a point reaches is the ball to its k-th nearest neighbour of its own sample.
    """
    between = torch.cdist(x, y)
    of_x, of_y = _reaches(x, k), _reaches(y, k)
    inside = between < of_y
    return {
        "precision": float(inside.any(1).double().mean()),
        "recall": float((between < of_x[:, None]).any(0).double().mean()),
        "density": float(inside.double().sum(1).mean() / k),
        "coverage": float(inside.any(0).double().mean()),
    }


def _reaches(points: Tensor, k: int) -> Tensor:
    """Distance of each point to its k-th nearest other, `[n]`."""
    # the nearest of all is the point itself
    return torch.cdist(points, points).kthvalue(k + 1, dim=1).values


def classifier_test(x: Tensor, y: Tensor) -> float:
    """Accuracy of telling x from y, cross-validated: 0.5 where they are alike, 1 where they are apart.

    A classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545) by nearest neighbours: the majority of the
    k nearest points of the other folds. Each fold takes the k of `VOTERS` that is best on the folds beside it. Both
    samples must be of one size.
    """
    if len(x) != len(y):
        raise ValueError(f"samples of one size are expected, got {len(x)} and {len(y)}")
    points = torch.cat([x, y])
    points = (points - y.mean(0)) / y.std(0).clamp(min=1e-6)
    labels = torch.cat([torch.zeros(len(x)), torch.ones(len(y))]).to(points)
    generator = torch.Generator().manual_seed(0)
    fold = torch.cat([torch.arange(len(of))[torch.randperm(len(of), generator=generator)] % FOLDS for of in (x, y)])
    right = votes(points, labels, fold, [k for k in VOTERS if k <= len(points) // 2])
    scores = []
    for held in range(FOLDS):
        best = right[:, fold != held].mean(1).argmax()
        scores.append(right[best, fold == held].mean())
    return float(torch.stack(scores).mean())


def votes(points: Tensor, labels: Tensor, fold: Tensor, voters: list[int]) -> Tensor:
    """Whether the nearest points of other folds say each point's label, for each number of them: `[len(voters), n]`."""
    distance = torch.cdist(points, points)
    distance[fold[:, None] == fold] = torch.inf
    nearest = labels[distance.topk(max(voters), largest=False).indices]
    return torch.stack([((nearest[:, :k].mean(1) > 0.5) == (labels > 0.5)).to(points) for k in voters])
