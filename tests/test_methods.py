"""Supervised training's forward against cross-entropy written out."""

import pytest
import torch
from torch import nn

from course_utils import encoders
from course_utils.methods import Supervised


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return encoders.resnet10(width=4).eval()


def test_the_loss_is_cross_entropy_of_a_linear_layer_on_the_features(encoder):
    method = Supervised(encoder, 5)
    images, labels = torch.rand(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 4, 0])
    logits = encoder(images) @ method.head.weight.T + method.head.bias
    expected = -torch.stack([row.softmax(0)[label].log() for row, label in zip(logits, labels, strict=True)]).mean()
    loss = method(images, labels)
    assert loss.shape == () and torch.allclose(loss, expected, atol=1e-6)
    assert torch.allclose(method.logits(images), logits, atol=1e-6)


def test_multi_label_targets_get_binary_cross_entropy(encoder):
    method = Supervised(encoder, 3)
    images, targets = torch.rand(4, 3, 32, 32), torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    p = method.logits(images).sigmoid()
    expected = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    assert torch.allclose(method(images, targets), expected, atol=1e-6)


def test_gradients_reach_every_parameter(encoder):
    method = Supervised(encoder.train(), 5)
    method(torch.rand(8, 3, 32, 32), torch.arange(8) % 5).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


def test_augmentation_applies_to_training_and_not_to_logits(encoder):
    class Black(nn.Module):
        def forward(self, x):
            return torch.zeros_like(x)

    method = Supervised(encoder, 5, augment=Black())
    images, labels = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    assert torch.equal(method(images, labels), method(torch.zeros_like(images), labels))
    assert not torch.allclose(method.logits(images), method.logits(torch.zeros_like(images)))


def test_impossible_uses_are_refused(encoder):
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        Supervised(encoder, 1)
    with pytest.raises(ValueError, match="needs labels"):
        Supervised(encoder, 2)(torch.rand(1, 3, 32, 32))
