"""The whole training step on other devices: meta, where a look at a value or a stray CPU tensor is an error, and every
accelerator that is present, against the CPU; and encoder plus loss compiled to one graph, against eager."""

import shutil

import pytest
import torch
from torch import nn

from course_utils import augment, encoders, evaluation, losses, methods, training
from course_utils.datasets.imageset import ImageSet
from course_utils.experiments import pretrain

PRESENT = [name for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()))
           if there]
VIEWS = {"simclr": augment.simclr_augment(64), "moco v1": augment.moco_v1_augment(64),
         "moco v2": augment.moco_v2_augment(64), "crop and flip": pretrain.crop_and_flip(64)}


def make(name, views=None):
    """A small method; views None: the images as they are, so that two devices see the same."""
    torch.manual_seed(0)
    encoder = encoders.resnet10(width=4)
    views = views or nn.Identity()
    contrast = dict(augment=views, head=encoders.projection_head(encoder.feature_dim, 6))
    queue = dict(queue_length=10, temperature=0.2)
    return {"supervised": lambda: methods.Supervised(encoder, 4, augment=views),
            "multi-label": lambda: methods.Supervised(encoder, 4, augment=views),
            "rotation": lambda: methods.RotationPrediction(encoder, augment=views),
            "semi-hard": lambda: methods.TripletNetwork(encoder, **contrast),
            "hard": lambda: methods.TripletNetwork(encoder, **contrast, mining="hard", normalize=False),
            "random": lambda: methods.TripletNetwork(encoder, **contrast, mining="random"),
            "simclr": lambda: methods.SimCLR(encoder, **contrast),
            "pieces": lambda: methods.SimCLR(encoder, **contrast, micro_batch=3),
            "moco": lambda: methods.MoCo(encoder, **contrast, **queue),
            "split": lambda: methods.MoCo(encoder, **contrast, **queue, split_bn=2, symmetric=True)}[name]()


METHODS = ("supervised", "multi-label", "rotation", "semi-hard", "hard", "random", "simclr", "pieces", "moco", "split")


def batch(name, size=32):
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (8, 3, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.arange(8) % 4
    return images, nn.functional.one_hot(labels, 4).float() if name == "multi-label" else labels


def step(method, images, labels):
    """`fit`'s own step: uint8 to float, forward, backward, SGD with momentum."""
    method.to(memory_format=torch.channels_last).train()
    trainable = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=0.1, momentum=0.9, nesterov=True)
    scaler = torch.amp.GradScaler(images.device.type, enabled=False)
    return [training._step(method, images, labels, optimizer, scaler) for _ in range(2)][-1]


@pytest.fixture
def meta(monkeypatch):
    """Autocast is unknown to the meta device."""
    monkeypatch.setattr(training, "autocast_dtype", lambda device: None)
    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda kind, **options: autocast("cpu", enabled=False))


@pytest.mark.parametrize("name", METHODS)
def test_a_whole_step_runs_on_the_meta_device(meta, name):
    method = make(name, VIEWS["moco v2"]).to("meta")
    images, labels = batch(name, 64)
    loss = step(method, images.to("meta"), labels.to("meta"))
    assert loss.device.type == "meta" and loss.shape == ()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in method.parameters() if p.requires_grad)


@pytest.mark.parametrize("fault", [lambda x: x + torch.rand(x.shape), lambda x: x * x.mean().item(), lambda x: x[x > 0],
                                   lambda x: x if x.sum() > 0 else -x, lambda x: x.cpu().to("meta")])
def test_the_meta_device_finds_a_stray_tensor_and_a_look_at_a_value(meta, fault):
    class Faulty(nn.Module):
        def forward(self, x):
            return fault(x)

    images, labels = batch("simclr")
    with pytest.raises((RuntimeError, NotImplementedError)):
        step(make("simclr", Faulty()).to("meta"), images.to("meta"), labels.to("meta"))


@pytest.mark.parametrize("name", VIEWS)
def test_every_recipe_of_views_runs_on_the_meta_device(name):
    x = torch.empty(6, 3, 64, 64, device="meta")
    assert VIEWS[name](x).shape == x.shape


@pytest.mark.parametrize("name", ["supervised", "rotation", "simclr", "semi-hard", "moco"])
def test_encoder_and_loss_compile_to_one_graph_with_the_same_numbers(name):
    method, (images, labels) = make(name), batch(name)
    images = images / 255
    encoder, head = method.encoder.eval(), method.head  # BatchNorm's counters would be moved twice

    def loss(images, labels):
        z = head(encoder(images))
        if name == "simclr":
            return losses.nt_xent(*z.chunk(2))
        if name == "moco":
            return losses.info_nce(z, z.detach().roll(1, 0), method.queue)
        if name == "semi-hard":
            a, p, n, valid = losses.mine_triplets(z, labels, "semi-hard")
            return losses.triplet(z[a], z[p], z[n], valid=valid)
        return nn.functional.cross_entropy(z, labels)

    torch.compiler.reset()
    weights = [*encoder.parameters(), *head.parameters()]
    expected = loss(images, labels)
    found = torch.compile(loss, fullgraph=True, backend="eager")(images, labels)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights))


def test_moco_with_split_batchnorm_compiles_and_has_the_same_numbers():
    (method, oracle), images, losses_ = (make("split"), make("split")), batch("simclr")[0] / 255, []
    method.symmetric = oracle.symmetric = False
    torch.compiler.reset()
    for each in (torch.compile(method, backend="eager"), oracle):
        torch.manual_seed(0)  # the shuffle
        losses_.append(each(images))
        losses_[-1].backward()
    torch.testing.assert_close(*losses_)
    for (name, found), expected in zip(method.state_dict().items(), oracle.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, msg=name)
    for p, q in zip(method.parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.skipif(
    not shutil.which("g++"), reason="on CPUs, torch.compile writes C++"))])
def test_simclr_compiles_whole(backend):  # with its backward, which the tests above leave to eager
    method, images = make("simclr"), batch("simclr")[0] / 255
    method.encoder.eval()
    torch.compiler.reset()
    weights = list(method.parameters())
    found, expected = torch.compile(method, fullgraph=True, backend=backend)(images), method(images)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights))


# --- accelerators, where there are any ------------------------------------------------------------------

@pytest.mark.parametrize("device", PRESENT)
@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("random", "split")])  # those draw
def test_a_step_on_an_accelerator_has_the_cpus_loss_and_gradients(device, name, monkeypatch):
    monkeypatch.setattr(training, "autocast_dtype", lambda device: None)
    for part in (torch.backends.cudnn, torch.backends.cuda.matmul):
        monkeypatch.setattr(part, "allow_tf32", False)  # three digits: the parameters would part at the second
    images, labels = batch(name)
    here, there = make(name), make(name).to(device)
    expected, found = step(here, images, labels), step(there, images.to(device), labels.to(device))
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)
    for p, q in zip(here.parameters(), there.parameters(), strict=True):
        assert torch.allclose(q.cpu(), p, atol=1e-3)


@pytest.mark.parametrize("device", PRESENT)
@pytest.mark.parametrize("name", METHODS)
def test_fit_runs_on_an_accelerator_in_its_own_precision(device, name):
    images, labels = batch(name)
    data = ImageSet(images, labels, tuple("abcd"), "noise", "made by this test")
    history = training.fit(make(name, VIEWS["crop and flip"]).to(device), data, epochs=2, batch_size=4, lr=0.01)
    assert len(history.loss) == 2


@pytest.mark.parametrize("device", PRESENT)
def test_features_and_neighbours_on_an_accelerator_are_the_cpus(device):
    encoder, images = encoders.resnet10(width=4).eval(), batch("simclr")[0].repeat(8, 1, 1, 1) + torch.arange(
        64, dtype=torch.uint8).view(-1, 1, 1, 1)
    z = evaluation.features(encoder, images)
    there = evaluation.features(encoder.to(device), images.to(device)).cpu()
    assert torch.allclose(there, z, atol=1e-3)
    here, far = (evaluation.nearest_neighbors(x[:8], x, 3)[0].cpu() for x in (z, z.to(device)))
    assert torch.allclose(here, far, atol=1e-3)


# --- a set that the device cannot hold ------------------------------------------------------------------

def test_a_set_that_stays_on_the_host_gives_the_same_batches(monkeypatch):
    data = ImageSet(torch.arange(40 * 12).remainder(256).to(torch.uint8).view(40, 3, 2, 2), torch.arange(40),
                    tuple(map(str, range(40))), "numbers", "made by this test")
    index = torch.randperm(40)[:36].view(9, 4)
    monkeypatch.setattr(training, "PIECE", 3 * 4 * 12)  # bytes: three batches
    resident = list(training._batches(data, index, torch.device("cpu")))
    streamed = list(training._batches(data, index, torch.device("meta")))
    assert len(resident) == len(streamed) == 9
    assert all(torch.equal(labels, rows) for (_, labels), rows in zip(resident, index, strict=True))
    assert {images.shape for images, _ in streamed} == {(4, 3, 2, 2)} and streamed[0][0].device.type == "meta"
    copied = []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_, **__: copied.append(len(tensor)) or tensor)
    streamed = list(training._batches(data, index, torch.device("meta")))  # as if the copies had arrived
    assert copied == [12, 12] * 3
    for (images, labels), (images_too, labels_too) in zip(resident, streamed, strict=True):
        assert torch.equal(images, images_too) and torch.equal(labels, labels_too)


def test_only_a_gpu_without_room_leaves_the_set_on_the_host(monkeypatch):
    data = ImageSet(torch.zeros(10, 3, 2, 2, dtype=torch.uint8), torch.zeros(10, dtype=torch.int64), ("a",), "", "")
    assert training._fits(data, torch.device("cpu"))
    for free, fits in ((1000, True), (200, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10**9))
        assert training._fits(data, torch.device("cuda", 0)) == fits
