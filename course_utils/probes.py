"""Probes: small classifiers on frozen features, linear and not, which tell what the features know."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .intervals import wilson_interval

# The probes' weight penalty: chosen once on CIFAR-10's val split, as the best compromise between pixels, a random
# network, a supervised one and ImageNet features (0.0001 … 1 tried), and then left alone.
PROBE_L2 = 0.03


@dataclass(frozen=True)
class Probe:
    """A linear classifier on frozen features: its accuracy on the test features, a 95 % interval, and its weights."""

    accuracy: float
    interval: tuple[float, float]
    weight: Tensor  # [classes, D], for standardised features
    bias: Tensor  # [classes]
    mean: Tensor  # [D]
    std: Tensor  # [D]

    def scores(self, z: Tensor) -> Tensor:
        """Class scores [N, classes] of features [N, D]."""
        return (z.to(self.mean.device) - self.mean) / self.std @ self.weight.T + self.bias

    def predict(self, z: Tensor) -> Tensor:
        """The most likely class, int64 [N], of features [N, D]."""
        return self.scores(z).argmax(dim=1)


def linear_probe(train_z: Tensor, train_y: Tensor, test_z: Tensor, test_y: Tensor, *, l2: float = PROBE_L2,
                 steps: int = 200) -> Probe:
    """Linear evaluation: multinomial logistic regression on frozen features, standardised by the training set.

    z: [N, D], y: int64 [N]. Minimises mean cross-entropy + l2/2 · |W|² by L-BFGS (scikit-learn's C is 1/(N · l2)).
    The interval is Wilson's, for the test sample. Raises ValueError for non-finite features or mismatched labels.
    """
    check_features(test_z, train_z)
    check_labels(train_z, train_y)
    check_labels(test_z, test_y)
    train_y = train_y.to(train_z.device)
    x, mean, std = _standardise(train_z)
    weight = torch.zeros(int(train_y.max()) + 1, x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(len(weight), device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, tolerance_grad=1e-5, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight.T + bias, train_y) + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    probe = Probe(0.0, (0.0, 0.0), weight.detach(), bias.detach(), mean, std)
    accuracy = (probe.predict(test_z) == test_y.to(x.device)).float().mean().item()
    return Probe(accuracy, wilson_interval(accuracy, len(test_y)), probe.weight, probe.bias, mean, std)


@dataclass(frozen=True)
class NonlinearProbe:
    """A shallow network on frozen features: its accuracy on the test features, a 95 % interval, and the network."""

    accuracy: float
    interval: tuple[float, float]
    network: nn.Module  # in eval mode, for standardised features
    mean: Tensor  # [D]
    std: Tensor  # [D]

    def predict(self, z: Tensor) -> Tensor:
        """The most likely class, int64 [N], of features [N, D]."""
        with torch.no_grad():
            return self.network((z.to(self.mean.device) - self.mean) / self.std).argmax(dim=1)


def nonlinear_probe(train_z: Tensor, train_y: Tensor, test_z: Tensor, test_y: Tensor, *, hidden: int = 200,
                    epochs: int = 20, batch_size: int = 256, lr: float = 1e-3, weight_decay: float = 0.1,
                    seed: int = 0) -> NonlinearProbe:
    """RotNet's shallow network: two hidden layers with BatchNorm and ReLU, then a linear layer, on frozen features.

    z: [N, D], y: int64 [N]; standardised by the training set. AdamW with a cosine schedule. The interval is Wilson's,
    for the test sample. Raises ValueError as `linear_probe` does. Gidaris et al. 2018, Section 4.1.
    """
    check_features(test_z, train_z)
    check_labels(train_z, train_y)
    check_labels(test_z, test_y)
    train_y = train_y.to(train_z.device)
    x, mean, std = _standardise(train_z)
    steps, batch_size = max(1, len(x) // batch_size), min(batch_size, len(x))
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = _shallow_network(x.shape[1], hidden, int(train_y.max()) + 1).to(x.device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
        for _ in range(epochs):
            for index in torch.randperm(len(x), device=x.device)[:steps * batch_size].view(steps, batch_size):
                optimizer.zero_grad()
                F.cross_entropy(network(x[index]), train_y[index]).backward()
                optimizer.step()
                schedule.step()
    probe = NonlinearProbe(0.0, (0.0, 0.0), network.eval(), mean, std)
    accuracy = (probe.predict(test_z) == test_y.to(x.device)).float().mean().item()
    return NonlinearProbe(accuracy, wilson_interval(accuracy, len(test_y)), probe.network, mean, std)


def nearest_prototype(train_z: Tensor, train_y: Tensor, test_z: Tensor, num_classes: int) -> Tensor:
    """The class, int64 [M], whose mean training feature has the largest cosine to each test feature.

    train_z: [N, D], train_y: int64 [N], test_z: [M, D]; all features are brought to length one first (Snell et al.
    2017, *Prototypical Networks*, with cosines). Raises ValueError for features that are not finite.
    """
    check_features(test_z, train_z)
    check_labels(train_z, train_y)
    train_z, test_z = F.normalize(train_z, dim=1), F.normalize(test_z, dim=1)
    means = torch.stack([train_z[train_y == c].mean(dim=0) for c in range(num_classes)])  # [classes, D]
    return (test_z @ F.normalize(means, dim=1).T).argmax(dim=1)


def _shallow_network(in_dim: int, hidden: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(in_dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
                         nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, classes))


def _standardise(train_z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The features with mean 0 and deviation 1, and the two they had; a dead feature stays zero."""
    mean, std = train_z.mean(dim=0), train_z.std(dim=0, correction=0)
    std = torch.where(std > 1e-6 * std.max(), std, torch.ones_like(std))
    return (train_z - mean) / std, mean, std


def check_features(query: Tensor, bank: Tensor) -> None:
    if query.flatten(1).shape[1] != bank.flatten(1).shape[1]:
        raise ValueError(f"query {list(query.shape)} and bank {list(bank.shape)} have different feature sizes")
    for name, z in (("query", query), ("bank", bank)):
        # NaN and infinity survive a sum; a sum of large finite numbers may overflow (float16), hence the second look.
        if not torch.isfinite(z.sum()) and not torch.isfinite(z).all():
            raise ValueError(f"the {name} features hold NaN or infinity: has training diverged?")


def check_labels(z: Tensor, y: Tensor) -> None:
    if y.shape != (len(z),) or y.is_floating_point():
        raise ValueError(f"features {list(z.shape)} need integer labels of shape [{len(z)}], "
                         f"got {y.dtype} {list(y.shape)}")
