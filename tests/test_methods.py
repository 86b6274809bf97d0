"""Each method's forward against its loss written out, lightly, torchvision; values and gradients. MoCo: next door."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as vision

from course_utils import augment, encoders
from course_utils.datasets.imageset import ImageSet
from course_utils.losses import mine_triplets
from course_utils.methods import RotationPrediction, SimCLR, Supervised, TripletNetwork, all_rotations
from course_utils.training import fit


class Views(nn.Module):
    """A view that is the image, then one that is its darkened mirror image, and so on in turn."""

    turn = 0

    def forward(self, x):
        self.turn += 1
        return x if self.turn % 2 else 0.7 * x.flip(3)


class Plain(nn.Module):
    """An encoder without BatchNorm, which counts the images that it is shown."""

    feature_dim = 8

    def __init__(self):
        super().__init__()
        self.conv, self.seen = nn.Conv2d(3, 8, 3, stride=2), []

    def forward(self, x):
        self.seen.append(len(x))
        return self.conv(x).tanh().mean((2, 3))


def head(encoder, out_dim=6):
    torch.manual_seed(1)
    return encoders.projection_head(encoder.feature_dim, out_dim)


def images(b, size=32, seed=2):
    return torch.rand(b, 3, size, size, generator=torch.Generator().manual_seed(seed))


def both_views(x):
    return torch.cat([x, 0.7 * x.flip(3)])


def gradients(method, loss):
    return torch.autograd.grad(loss, list(method.parameters()))


def close(a, b, atol=1e-6):
    return len(a) == len(b) and all(torch.allclose(x, y, atol=atol, rtol=1e-4) for x, y in zip(a, b, strict=True))


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


# --- rotations ------------------------------------------------------------------------------------------

def test_rotations_are_torchvisions_in_the_order_0_90_180_270():
    x = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    expected = torch.cat([vision.rotate(x, degrees) for degrees in (0, 90, 180, 270)])  # counter-clockwise
    assert torch.equal(all_rotations(x), expected)
    with pytest.raises(ValueError, match=r"square images, got \[3, 3, 8, 6\]"):
        all_rotations(x[..., 1:7])


def test_the_rotation_loss_is_cross_entropy_over_four_turns_of_every_image(encoder):
    method, x = RotationPrediction(encoder), images(3)
    expected = 0
    for quarter in range(4):
        for image in x:
            logits = method.head(encoder(torch.rot90(image, quarter, (1, 2))[None]))[0]
            expected = expected - logits.log_softmax(0)[quarter] / 12
    loss = method(x)
    assert loss.shape == () and torch.allclose(loss, expected, atol=1e-6)
    assert close(gradients(method, loss), gradients(method, expected))
    assert torch.equal(loss, method(x, torch.tensor([3, 1, 2])))  # class labels are not looked at


def test_rotation_gradients_reach_every_parameter_through_the_augmentation(encoder):
    method = RotationPrediction(encoder.train(), augment=Views())
    first, second = method(images(8)), method(images(8))
    assert not torch.equal(first, second)  # the second view is another
    second.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


# --- triplets -------------------------------------------------------------------------------------------

def chosen_negative(d, anchor, b, kind, margin):
    """The row that a loop chooses from the distances d [2B] of one anchor; its positive is the image's other view."""
    others = [n for n in range(2 * b) if n % b != anchor % b]
    if kind == "semi-hard":
        to_positive = d[(anchor + b) % (2 * b)]
        band = [n for n in others if to_positive < d[n] < to_positive + margin]
        return min(band, key=lambda n: d[n]) if band else max(others, key=lambda n: d[n])
    return min(others, key=lambda n: d[n])


@pytest.mark.parametrize(("normalize", "scale", "margin"), [(True, 1, 0.05), (False, 20, 10.0)])
@pytest.mark.parametrize("kind", ["random", "semi-hard", "hard"])
def test_the_triplet_loss_of_two_views_is_that_of_a_loop(encoder, kind, normalize, scale, margin):
    b = 5
    method = TripletNetwork(encoder.train(), augment=Views(), head=head(encoder), margin=margin, mining=kind,
                            normalize=normalize)
    with torch.no_grad():
        method.head[2].weight *= scale
    torch.manual_seed(5)
    loss = method(images(b))

    z = method.head(encoder(both_views(images(b))))
    z = z / z.square().sum(1, keepdim=True).sqrt() if normalize else z
    assert torch.allclose(method.embed(both_views(images(b))), z, atol=1e-5)
    d = (z[:, None] - z).square().sum(2)
    torch.manual_seed(5)
    drawn = mine_triplets(z, torch.arange(b).repeat(2), kind, margin)[2]  # only random mining is not written out here
    terms = []
    for a in range(2 * b):
        n = drawn[a] if kind == "random" else chosen_negative(d[a].tolist(), a, b, kind, margin)
        assert n % b != a % b
        terms.append((d[a, (a + b) % (2 * b)] - d[a, n] + margin).clamp_min(0))
    expected = torch.stack(terms).mean()
    assert 1 < sum(term > 0 for term in terms) < 2 * b or kind == "hard"  # some are active, some are not
    assert loss.shape == () and torch.allclose(loss, expected, atol=1e-5)
    assert close(gradients(method, loss), gradients(method, expected), scale**2 * 1e-5)


@pytest.mark.parametrize("kind", ["random", "semi-hard", "hard"])
def test_a_collapsed_triplet_network_is_stuck_at_the_margin(encoder, kind):
    method = TripletNetwork(encoder, augment=Views(), head=head(encoder), margin=0.6, mining=kind)
    nn.init.zeros_(method.head[2].weight)  # all embeddings are the bias
    assert method(images(4)).item() == pytest.approx(0.6, abs=1e-6)


def test_random_negatives_are_drawn_anew_and_class_labels_are_not_looked_at(encoder):
    method = TripletNetwork(encoder, augment=nn.Identity(), head=head(encoder), margin=4.0, mining="random")
    x, losses = images(6), []
    for seed, labels in ((0, None), (0, torch.zeros(6, dtype=torch.int64)), (1, None)):
        torch.manual_seed(seed)
        losses.append(method(x, labels))
    assert torch.equal(losses[0], losses[1]) and not torch.equal(losses[0], losses[2])


@pytest.mark.parametrize("normalize", [True, False])
def test_triplet_gradients_reach_every_parameter(encoder, normalize):
    views = augment.GaussianNoise(0.2)
    method = TripletNetwork(encoder.train(), augment=views, head=head(encoder), normalize=normalize)
    method(images(8)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


def test_one_image_has_no_negative_and_teaches_nothing(encoder):
    method = TripletNetwork(encoder, augment=Views(), head=head(encoder))
    loss = method(images(1))
    assert loss.item() == 0 and all((g == 0).all() for g in gradients(method, loss))


@pytest.mark.parametrize(("wrong", "message"), [
    (dict(mining="easy"), "mining must be one of random, semi-hard, hard; got 'easy'"),
    (dict(margin=-0.1), "margin must be at least 0, got -0.1"),
    (dict(margin=float("nan")), "margin must be at least 0, got nan"),
])
def test_impossible_triplet_settings_are_refused(encoder, wrong, message):
    with pytest.raises(ValueError, match=message):
        TripletNetwork(encoder, augment=Views(), head=head(encoder), **wrong)


# --- SimCLR ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_simclr_equals_lightlys_loss_of_two_views(encoder, temperature):
    peer = pytest.importorskip("lightly.loss").NTXentLoss(temperature)
    method = SimCLR(encoder.train(), augment=Views(), head=head(encoder), temperature=temperature)
    oracle = copy.deepcopy(method)
    loss = method(images(6), torch.arange(6))
    expected = peer(*oracle.head(oracle.encoder(both_views(images(6)))).chunk(2))  # one BatchNorm batch of all views
    assert loss.shape == () and torch.allclose(loss, expected, atol=1e-5)
    ours, theirs = gradients(method, loss), gradients(oracle, expected)
    assert close(ours, theirs, 1e-5) and all(g.abs().sum() > 0 for g in ours)


def test_simclr_projections_are_those_of_the_images_as_they_are(encoder):
    method = SimCLR(encoder, augment=Views(), head=head(encoder))
    assert torch.allclose(method.embed(images(3)), method.head(encoder(images(3))), atol=1e-6)


@pytest.mark.parametrize("micro_batch", [1, 4, 5, 16, 100])  # of 2B = 16 views
def test_without_batchnorm_micro_batches_give_the_whole_batchs_gradients(micro_batch):
    encoder = Plain()
    whole = SimCLR(encoder, augment=Views(), head=head(encoder), temperature=0.2)
    pieces = SimCLR(encoder, augment=Views(), head=whole.head, temperature=0.2, micro_batch=micro_batch)
    x = images(8).requires_grad_()
    expected, loss = whole(x), pieces(x)
    assert torch.allclose(loss, expected, atol=1e-6)
    expected = gradients(whole, expected) + torch.autograd.grad(whole(x), x)
    encoder.seen.clear()
    found = gradients(pieces, loss)
    assert sum(encoder.seen) == 16 and max(encoder.seen) <= micro_batch  # activations were forgotten, and made again
    found += torch.autograd.grad(pieces(x), x)
    assert close(found, expected, 1e-5) and all(g.abs().sum() > 0 for g in found)


def test_each_micro_batch_moves_batchnorms_statistics_once_and_has_its_own(encoder):
    method = SimCLR(encoder.train(), augment=Views(), head=head(encoder), micro_batch=5)
    oracle = copy.deepcopy(method)
    loss = method(images(8))
    forward_only = copy.deepcopy(method.state_dict())
    found = gradients(method, loss)
    assert all(torch.equal(value, forward_only[key]) for key, value in method.state_dict().items())

    mean, views = torch.zeros(4), both_views(images(8))
    for piece in views.split(5):  # the first layer's running mean, by PyTorch's documented formula
        mean = 0.9 * mean + 0.1 * oracle.encoder.conv1(oracle.encoder.normalize(piece)).mean((0, 2, 3))
    assert torch.allclose(method.encoder.bn1.running_mean, mean, atol=1e-6)
    assert method.encoder.bn1.num_batches_tracked == 4 and method.encoder.bn1.momentum == 0.1

    z1, z2 = oracle.head(torch.cat([oracle.encoder(piece) for piece in views.split(5)])).chunk(2)
    similar = F.cosine_similarity(torch.cat([z1, z2])[:, None], torch.cat([z1, z2])[None], dim=2) / 0.5
    expected = F.cross_entropy(similar - 1e9 * torch.eye(16), torch.arange(16).roll(8))
    assert torch.allclose(loss, expected, atol=1e-5) and close(found, gradients(oracle, expected), 1e-5)
    state = oracle.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in method.state_dict().items())


def test_micro_batches_allow_a_second_backward(encoder):
    method = SimCLR(encoder.train(), augment=Views(), head=head(encoder), micro_batch=4)
    loss = method(images(4))
    first = torch.autograd.grad(loss, list(method.parameters()), retain_graph=True)
    assert close(gradients(method, loss), first, 1e-7)


def test_micro_batches_recompute_what_dropout_and_autocast_did(encoder):
    encoder = encoder.train()
    encoder.relu = nn.Sequential(nn.ReLU(), nn.Dropout(0.5))
    method = SimCLR(encoder, augment=Views(), head=head(encoder), micro_batch=6)
    oracle = copy.deepcopy(method)
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(0)
        loss = method(images(6))
        torch.manual_seed(0)
        z = oracle.head(torch.cat([oracle.encoder(piece) for piece in both_views(images(6)).split(6)])).float()
    z = F.normalize(z)
    expected = F.cross_entropy(z @ z.T / 0.5 - 1e9 * torch.eye(12), torch.arange(12).roll(6))
    assert loss.dtype == torch.float32 and torch.allclose(loss, expected, atol=1e-5)
    assert close(gradients(method, loss), gradients(oracle, expected), 1e-5)


@pytest.mark.parametrize("micro_batch", [None, 24])
def test_simclr_runs_in_fit_and_learns(micro_batch):
    torch.manual_seed(0)
    data = ImageSet((255 * images(64, 16)).byte(), torch.zeros(64, dtype=torch.int64), ("noise",), "noise", "this test")
    encoder = encoders.resnet10(width=4)
    method = SimCLR(encoder, augment=augment.GaussianNoise(0.05), head=head(encoder), temperature=0.2,
                    micro_batch=micro_batch)
    history = fit(method, data, epochs=6, batch_size=32, lr=0.05)
    assert history.loss[-1] < history.loss[0] - 0.3


@pytest.mark.parametrize("wrong", [dict(temperature=0.0), dict(temperature=-1.0), dict(temperature=float("nan")),
                                   dict(micro_batch=0)])
def test_impossible_simclr_settings_are_refused(encoder, wrong):
    with pytest.raises(ValueError, match="needs temperature > 0 and micro_batch >= 1 or None, got"):
        SimCLR(encoder, augment=Views(), head=head(encoder), **wrong)


def test_contrast_needs_two_images(encoder):
    with pytest.raises(ValueError, match="no negative"):
        SimCLR(encoder, augment=Views(), head=head(encoder))(images(1))
