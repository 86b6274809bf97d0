"""MoCo against Algorithm 1 written out: its loss, its queue, its momentum encoder, its split BatchNorm."""

import contextlib
import copy

import pytest
import torch
from torch import nn

from course_utils import augment, encoders, methods
from course_utils.batchnorm import SplitBatchNorm
from course_utils.datasets.imageset import ImageSet
from course_utils.methods import MoCo
from course_utils.training import fit


class Views(nn.Module):
    """A view that is the image, then one that is its darkened mirror image, and so on in turn."""

    turn = 0

    def forward(self, x):
        self.turn += 1
        return x if self.turn % 2 else mirrored(x)


def mirrored(x):
    return 0.7 * x.flip(3)


def images(b, size=32, seed=2):
    return torch.rand(b, 3, size, size, generator=torch.Generator().manual_seed(seed))


def make(queue_length=12, views=None, encoder=None, **settings):
    """A small MoCo whose two encoders differ, as they do after some steps."""
    torch.manual_seed(0)
    encoder = encoders.resnet10(width=4) if encoder is None else encoder
    method = MoCo(encoder, augment=views or Views(), head=encoders.projection_head(encoder.feature_dim, 6),
                  queue_length=queue_length, **settings)
    disturb(method.encoder, method.head)
    return method


def disturb(*networks):
    with torch.no_grad():
        for tensor in (t for network in networks for t in network.state_dict().values()):
            if tensor.is_floating_point() and tensor.ndim != 4:  # variances stay positive
                tensor.add_(0.1 * torch.rand_like(tensor))


def state(*networks):
    """A copy of all parameters and buffers, by name."""
    return {f"{i}.{key}": value.clone() for i, network in enumerate(networks)
            for key, value in network.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def close(a, b):
    return a.keys() == b.keys() and all(torch.allclose(a[key], b[key], atol=1e-6) for key in a)


def ema(old, new, m):
    return {key: m * old[key] + (1 - m) * new[key] if old[key].is_floating_point() else new[key] for key in old}


def unit(z):
    return z / z.square().sum(1, keepdim=True).sqrt()


def contrast(q, k, queue, temperature):
    """He et al. 2020, Eq. 1, query by query."""
    terms = []
    for one, positive in zip(unit(q), k, strict=True):
        exps = torch.stack([(one @ key / temperature).exp() for key in (positive, *queue)])
        terms.append(-(exps[0] / exps.sum()).log())
    return torch.stack(terms).mean()


def in_pieces(network, x, sizes):
    """x through the encoder and the head, piece by piece; sizes: of the pieces."""
    return torch.cat([network[1](network[0](piece)) for piece in x.split(sizes)])


def spied(method):
    """All keys that `method` hands out from now on, in a list of batches."""
    seen, keys = [], method.keys
    method.keys = lambda views: seen.append(keys(views)) or seen[-1]
    return seen


# --- the loss -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("symmetric", [False, True])
def test_one_step_is_algorithm_1_written_out(symmetric):
    method = make(momentum=0.7, temperature=0.3, symmetric=symmetric)
    oracle, queue = copy.deepcopy(method), method.queue.clone()
    x1, x2 = images(5), mirrored(images(5))
    loss = method(images(5), torch.arange(5))

    query, key = (oracle.encoder, oracle.head), (oracle.key_encoder, oracle.key_head)
    for network, new in zip(key, query, strict=True):
        network.load_state_dict(ema(network.state_dict(), new.state_dict(), 0.7))
    with torch.no_grad():
        k2, k1 = (unit(copy.deepcopy(key[1])(copy.deepcopy(key[0])(x))) for x in (x2, x1))  # train mode, as the queries
    expected = contrast(in_pieces(query, x1, 5), k2, queue, 0.3)
    if symmetric:
        expected = (expected + contrast(in_pieces(query, x2, 5), k1, queue, 0.3)) / 2
    assert loss.shape == () and torch.allclose(loss, expected, atol=1e-5)
    learning = [p for network in query for p in network.parameters()]
    theirs = torch.autograd.grad(expected, learning)
    loss.backward()
    for p, gradient in zip([*method.encoder.parameters(), *method.head.parameters()], theirs, strict=True):
        assert torch.allclose(p.grad, gradient, atol=1e-5, rtol=1e-3) and p.grad.abs().sum() > 0
    enqueued = torch.cat([k2, k1]) if symmetric else k2
    assert torch.allclose(method.queue, torch.cat([enqueued, queue[len(enqueued):]]), atol=1e-6)
    assert same(state(method.encoder, method.head), state(*query))  # query statistics: once for each set of queries
    assert close(state(method.key_encoder, method.key_head), state(*key))


def test_neither_queue_nor_keys_nor_the_momentum_encoder_get_a_gradient():
    method = make()
    keys = spied(method)
    method(images(4).requires_grad_()).backward()
    assert not method.queue.requires_grad and not keys[0].requires_grad
    for p in (*method.key_encoder.parameters(), *method.key_head.parameters()):
        assert p.grad is None and not p.requires_grad
    assert {key for key, p in method.named_parameters() if p.requires_grad} == {
        f"{part}.{key}" for part in ("encoder", "head") for key, _ in method.get_submodule(part).named_parameters()}


def test_at_first_both_encoders_are_equal_and_the_queue_is_random_unit_vectors():
    torch.manual_seed(0)
    encoder = encoders.resnet10(width=4)
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(32, 5))  # a head of one's own, without a config
    method = MoCo(encoder, augment=Views(), head=head, queue_length=400)
    assert same(state(encoder, head), state(method.key_encoder, method.key_head)) and head.training
    assert method.queue.shape == (400, 5) and torch.allclose(method.queue.norm(dim=1), torch.ones(400), atol=1e-6)
    assert method.queue.mean(0).abs().max() < 0.15  # no direction is preferred
    assert {key.split(".")[0] for key in method.state_dict()} == {
        "encoder", "head", "key_encoder", "key_head", "queue", "position"}


# --- the queue ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("queue_length", [1, 3, 4, 8, 10, 12])  # batches of 4: shorter, multiples, and no multiples
def test_a_full_queue_holds_the_last_keys_and_the_oldest_is_next(queue_length, symmetric):
    method = make(queue_length, views=augment.GaussianNoise(0.3), symmetric=symmetric)
    first, keys = method.queue.clone(), spied(method)
    for step in range(7):
        method(images(4, 16, seed=step))
        seen = torch.cat(keys)
        if len(seen) <= queue_length:
            assert torch.equal(method.queue, torch.cat([seen, first[len(seen):]]))
        else:
            assert torch.equal(method.queue.roll(-int(method.position), 0), seen[-queue_length:])
        assert method.position == len(seen) % queue_length


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_batchs_own_keys_are_never_among_its_negatives(monkeypatch, symmetric):
    calls, info_nce = [], methods.info_nce

    def spy(query, key, queue, temperature):
        calls.append((key.clone(), queue.clone()))
        return info_nce(query, key, queue, temperature)

    monkeypatch.setattr(methods, "info_nce", spy)
    method = make(symmetric=symmetric)
    for _ in range(2):
        before = method.queue.clone()
        method(images(4)).backward()
        assert len(calls) == 1 + symmetric
        for key, queue in calls:
            assert torch.equal(queue, before) and (key[:, None] == method.queue).all(2).any(1).all()
        calls.clear()


def test_backward_may_come_after_the_queue_has_moved_on():
    method = make()
    oracle = copy.deepcopy(method)
    loss = method(images(4))
    method.enqueue(torch.zeros(12, 6))
    oracle(images(4)).backward()
    loss.backward()
    assert torch.equal(method.head[2].weight.grad, oracle.head[2].weight.grad)


# --- the momentum encoder -------------------------------------------------------------------------------

@pytest.mark.parametrize("m", [0, 0.5, 0.99, 1])
def test_parameters_and_statistics_follow_the_query_encoder_by_1_minus_m(m):
    method = make(momentum=m)
    method(images(4))  # the query's counter of batches and its statistics move
    old, new = state(method.key_encoder, method.key_head), state(method.encoder, method.head)
    assert not same(old, new)
    method(images(4, seed=3))
    found, expected = state(method.key_encoder, method.key_head), ema(old, new, m)
    assert sum("running_" in key for key in found) == 24 and found["0.bn1.num_batches_tracked"] == 1
    for key in expected:
        assert torch.allclose(found[key], expected[key], atol=1e-7, rtol=1e-6), key
        assert m not in (0, 1) or torch.equal(found[key], expected[key]), key


@pytest.mark.parametrize("split_bn", [1, 2])
def test_keys_use_their_batchs_statistics_and_record_none(split_bn):
    method = make(split_bn=split_bn)
    method.key_head = nn.Sequential(method.key_head, nn.BatchNorm1d(6))  # as in later heads
    before = state(method.key_encoder, method.key_head)
    in_training = method.keys(images(6))
    assert same(state(method.key_encoder, method.key_head), before)
    assert method.key_encoder.bn1.momentum == 0.1
    assert (in_training - method.eval().keys(images(6))).abs().max() > 0.01


# --- split BatchNorm ------------------------------------------------------------------------------------

@pytest.mark.parametrize(("b", "pieces"), [(8, 2), (8, 4), (15, 5), (9, 3)])
def test_each_piece_is_normalised_by_its_own_statistics(b, pieces):
    method, x, sizes = make(split_bn=pieces).double(), images(b).double(), [b // pieces] * pieces
    oracle = make().double()  # with the usual BatchNorm
    oracle.load_state_dict(method.state_dict())
    found, expected = method.queries(x), in_pieces((oracle.encoder, oracle.head), x, sizes)
    assert torch.allclose(found, expected)
    assert (found - oracle.head(oracle.encoder(x))).abs().max() > 1e-3  # and not by the batch's
    assert method.encoder.bn1.num_batches_tracked == 1
    gradients = [torch.autograd.grad(z.square().sum(), [*m.encoder.parameters(), *m.head.parameters()])
                 for m, z in ((method, found), (oracle, expected))]
    assert all(torch.allclose(*pair) for pair in zip(*gradients, strict=True))

    torch.manual_seed(4)
    keys = method.keys(x)
    torch.manual_seed(4)
    order = torch.randperm(b)
    shuffled = unit(in_pieces((oracle.key_encoder, oracle.key_head), x[order], sizes))
    for place, image in enumerate(order):  # each key is back in its image's place
        assert torch.allclose(keys[image], shuffled[place].float(), atol=1e-6)


def test_pieces_equal_batchnorms_closed_form():
    class OnlyBatchNorm(nn.Module):
        feature_dim = 3

        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.bn(x).mean(3).amax(2)

    def normalised(x, dims):
        return (x - x.mean(dims, keepdim=True)) / (x.var(dims, correction=0, keepdim=True) + 1e-5).sqrt()

    method = MoCo(OnlyBatchNorm(), augment=nn.Identity(), head=nn.BatchNorm1d(3), queue_length=4, split_bn=3)
    pieces = images(9).split(3)
    found = method.queries(images(9))
    expected = [normalised(normalised(piece, (0, 2, 3)).mean(3).amax(2), 0) for piece in pieces]  # the head's as well
    assert torch.allclose(found, torch.cat(expected), atol=1e-4)
    h = [normalised(piece, (0, 2, 3)).mean(3).amax(2) for piece in pieces]
    for layer, parts, dims in ((method.encoder.bn, pieces, (0, 2, 3)), (method.head, h, 0)):
        mean, var = (torch.stack([part.mean(dims) for part in parts]), torch.stack([part.var(dims) for part in parts]))
        assert torch.allclose(layer.running_mean, 0.1 * mean.mean(0), atol=1e-6)
        assert torch.allclose(layer.running_var, 0.9 + 0.1 * var.mean(0), atol=1e-5)
    usual = nn.BatchNorm2d(3)
    usual.load_state_dict(method.encoder.bn.state_dict())
    seven = images(7)  # of which there are no three equal pieces, and none are needed to evaluate
    assert torch.equal(method.eval().encoder.bn(seven), usual.eval()(seven))


def test_the_partners_of_a_key_are_drawn_anew_for_each_batch():
    class Order(nn.Module):
        """Features that say in which order the images came, and so with which of them each was normalised."""

        feature_dim = 2

        def __init__(self):
            super().__init__()
            self.weight, self.seen = nn.Parameter(torch.ones(1)), []

        def forward(self, x):
            self.seen.append(x[:, 0, 0, 0].tolist())
            return x[:, 0, 0, :2] * self.weight

    method = make(encoder=Order(), split_bn=2)
    x = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 4, 4)
    for _ in range(2):
        method.queries(x), method.keys(x)
    assert method.encoder.seen == 2 * [list(range(8))]
    first, second = method.key_encoder.seen
    assert first != second and sorted(first) == sorted(second) == list(range(8)) and first != list(range(8))
    plain = copy.deepcopy(method)
    plain.split_bn = 1
    assert torch.equal(method.keys(x), plain.keys(x))  # without BatchNorm, neither pieces nor order matter


def test_split_bn_takes_channels_last():
    method = make(split_bn=2)
    method, oracle = method.to(memory_format=torch.channels_last), copy.deepcopy(method)
    for seed in (0, 1):
        losses = []
        for each, x in ((method, images(6).contiguous(memory_format=torch.channels_last)), (oracle, images(6))):
            torch.manual_seed(seed)
            losses.append(each(x))
            losses[-1].backward()
        assert torch.allclose(*losses, atol=1e-5)
    assert torch.allclose(method.queue, oracle.queue, atol=1e-5)
    assert torch.allclose(method.encoder.conv1.weight.grad, oracle.encoder.conv1.weight.grad, atol=1e-4)


@pytest.mark.parametrize("b", [3, 6])
def test_a_batch_that_cannot_be_cut_into_equal_pieces_is_refused(b):
    with pytest.raises(ValueError, match=f"split_bn=4 needs batches of a multiple of 4 images, got {b}"):
        make(split_bn=4)(images(b))


def test_split_layers_keep_parameters_place_and_memory_format():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=0.1, momentum=0.3))).eval()
    weights, keys = list(network.parameters()), list(network.state_dict())
    split = SplitBatchNorm.convert(network, 2)
    assert split is network and [a is b for a, b in zip(network.parameters(), weights, strict=True)] == [True] * 4
    assert list(network.state_dict()) == keys and not split[1][0].training
    assert (split[1][0].eps, split[1][0].momentum, split[1][0].pieces) == (0.1, 0.3, 2)
    split.train()
    for layout in (torch.contiguous_format, torch.channels_last):
        assert split(images(4).contiguous(memory_format=layout)).is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(4, affine=False), nn.BatchNorm1d(4, track_running_stats=False),
                                   nn.BatchNorm2d(4, momentum=None)])
def test_a_layer_that_cannot_be_split_is_refused(layer):
    with pytest.raises(ValueError, match="needs weights, running statistics and a momentum to split BatchNorm"):
        SplitBatchNorm.convert(nn.Sequential(layer), 2)


# --- in use ---------------------------------------------------------------------------------------------

def test_eval_mode_measures_and_changes_nothing():
    method = make(split_bn=2, symmetric=True).eval()
    before = state(method)
    q1, q2 = (in_pieces((method.encoder, method.head), x, 4) for x in (images(4), mirrored(images(4))))
    k1, k2 = (unit(in_pieces((method.key_encoder, method.key_head), x, 4)) for x in (images(4), mirrored(images(4))))
    expected = (contrast(q1, k2, method.queue, 0.2) + contrast(q2, k1, method.queue, 0.2)) / 2
    assert torch.allclose(method(images(4)), expected, atol=1e-5)
    assert same(state(method), before)


def steps(method, seeds):
    learning = [p for p in method.parameters() if p.requires_grad]
    for seed in seeds:
        torch.manual_seed(seed)
        gradients = torch.autograd.grad(method(images(4, 16, seed)), learning)
        with torch.no_grad():
            torch._foreach_add_(learning, gradients, alpha=-0.1)
    return method


def test_a_saved_state_continues_bit_for_bit(tmp_path):
    settings = dict(queue_length=10, views=augment.GaussianNoise(0.1), split_bn=2, momentum=0.9)
    undisturbed = steps(make(**settings), [1, 2, 3, 4])
    torch.save(steps(make(**settings), [1, 2]).state_dict(), tmp_path / "state.pt")
    resumed = make(**settings)
    disturb(resumed)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.position == 8
    steps(resumed, [3, 4])
    assert same(state(resumed), state(undisturbed)) and resumed.position == 6


def test_under_autocast_loss_and_queue_stay_float32():
    method = make(split_bn=2, symmetric=True)
    oracle = copy.deepcopy(method)
    torch.manual_seed(0)
    expected = oracle(images(6))
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = method(images(6))
    loss.backward()
    assert loss.dtype == method.queue.dtype == torch.float32 and torch.allclose(loss, expected, atol=0.1)
    assert torch.allclose(method.queue.norm(dim=1), torch.ones(12), atol=1e-6)
    assert torch.allclose(method.queue, oracle.queue, atol=0.1)
    assert all(p.grad.isfinite().all() for p in method.encoder.parameters())


def test_nothing_waits_for_the_device():
    method = make(split_bn=2, symmetric=True, views=nn.Identity()).to("meta")  # a tensor without data cannot be read
    loss = method(torch.empty(4, 3, 32, 32, device="meta"))
    loss.backward()
    assert loss.device.type == "meta" and all(p.grad is not None for p in method.encoder.parameters())
    with torch.device("meta"):
        assert make().queue.device.type == "meta"  # and is where the encoder is


def noise(n=64):
    return ImageSet((255 * images(n, 16)).byte(), torch.zeros(n, dtype=torch.int64), ("noise",), "noise", "this test")


def test_moco_learns_in_fit():
    method = make(32, views=augment.GaussianNoise(0.05), momentum=0.9)
    loss = fit(method, noise(256), epochs=5, batch_size=32, lr=0.05).loss
    assert loss[-1] < loss[1] - 0.2  # the first epoch is easy, while the queue still holds random vectors
    assert torch.allclose(method.queue.norm(dim=1), torch.ones(32), atol=1e-6)


def test_fit_resumes_bit_for_bit(tmp_path):
    def stop(epoch, _):
        if epoch == 3:
            raise KeyboardInterrupt

    settings = dict(queue_length=40, views=augment.GaussianNoise(0.05), split_bn=2, momentum=0.9)
    recipe = dict(epochs=4, batch_size=32, lr=0.05)
    undisturbed, resumed = make(**settings), make(**settings)
    fit(undisturbed, noise(), **recipe)
    with contextlib.suppress(KeyboardInterrupt):
        fit(make(**settings), noise(), **recipe, checkpoint=tmp_path / "run.pt", on_epoch=stop)
    disturb(resumed)
    fit(resumed, noise(), **recipe, checkpoint=tmp_path / "run.pt")
    assert same(state(resumed), state(undisturbed)) and undisturbed.position == 4 * 64 % 40


@pytest.mark.parametrize("wrong", [dict(queue_length=0), dict(momentum=-0.1), dict(momentum=1.1), dict(split_bn=0),
                                   dict(temperature=0.0), dict(temperature=float("nan"))])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="needs queue_length >= 1, 0 <= momentum <= 1, temperature > 0, split_bn >= 1"):
        make(**wrong)
