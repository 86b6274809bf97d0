"""Encoders: shapes, normalisation inside, torchvision's networks weight for weight, and real ImageNet weights."""

import re
import socket

import pytest
import torch
import torchvision
from sklearn.datasets import load_sample_image
from torch import nn
from torch.nn import functional as F
from torchvision.models import MobileNet_V2_Weights
from torchvision.transforms.v2 import functional as TF

from course_utils import encoders
from course_utils.encoders import IMAGENET_MEAN, IMAGENET_STD, build, pretrained, projection_head

STRIDES = {"cifar": (1, 1, 2, 4, 8), "fast": (2, 2, 4, 8, 16), "imagenet": (4, 4, 8, 16, 32)}
IMAGENET_CLASSES = MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]


@pytest.fixture
def offline(monkeypatch):
    """A machine on which every connection fails."""
    def refuse(*_, **__):
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("size", [28, 32, 64, 96])
@pytest.mark.parametrize("stem", list(STRIDES))
def test_stages_shrink_as_the_stem_says(stem, size):
    encoder = encoders.resnet10(stem, width=8).eval()
    x = torch.rand(2, 3, size, size)
    maps = encoder.stages(x)
    assert list(maps) == ["stem", "stage1", "stage2", "stage3", "stage4"]
    for (name, found), stride, channels in zip(maps.items(), STRIDES[stem], (8, 8, 16, 32, 64), strict=True):
        side = -(-size // stride)
        assert found.shape == (2, channels, side, side), name
    assert encoder.feature_dim == 64 and encoder(x).shape == (2, 64)
    assert torch.allclose(encoder(x), maps["stage4"].mean((2, 3)))


@pytest.mark.parametrize(("make", "width", "dim"), [
    (encoders.resnet10, 32, 256), (encoders.resnet18, 64, 512), (encoders.resnet34, 64, 512),
    (encoders.resnet50, 64, 2048), (encoders.resnet18, 16, 128), (encoders.resnet50, 8, 256)])
def test_feature_dim_follows_width(make, width, dim):
    encoder = make(width=width).eval()
    assert encoder.feature_dim == dim and encoder(torch.rand(1, 3, 32, 32)).shape == (1, dim)


def test_the_laptop_encoder_is_as_small_as_it_says():
    encoder = encoders.resnet10()
    assert 1.15e6 < sum(p.numel() for p in encoder.parameters()) < 1.25e6
    assert encoder.config == {"name": "resnet10", "stem": "fast", "width": 32}


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_the_imagenet_stem_is_torchvisions_network(name):
    torch.manual_seed(0)
    oracle = torchvision.models.get_model(name, weights=None)
    for part in oracle.modules():  # as after some training, so that no BatchNorm is the identity
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 2)
    oracle.fc = nn.Identity()
    encoder = getattr(encoders, name)(stem="imagenet")
    missing, unexpected = encoder.load_state_dict(oracle.state_dict(), strict=False)
    assert set(missing) == {"normalize.mean", "normalize.std"} and not unexpected
    x = torch.rand(2, 3, 64, 64)
    normalised = TF.normalize(x, IMAGENET_MEAN, IMAGENET_STD)
    for mode in (True, False):
        oracle.train(mode), encoder.train(mode)
        assert torch.allclose(encoder(x), oracle(normalised), rtol=1e-3, atol=1e-4)


def test_normalisation_travels_with_the_weights():
    encoder = encoders.resnet10(width=4).eval()
    state = encoder.state_dict()
    assert state["normalize.mean"].flatten().tolist() == pytest.approx(IMAGENET_MEAN)
    assert state["normalize.std"].flatten().tolist() == pytest.approx(IMAGENET_STD)
    other = encoders.ResNet(torchvision.models.resnet.BasicBlock, (1, 1, 1, 1), stem="fast", width=4, mean=(0.1,) * 3,
                            std=(2.0,) * 3).eval()
    x = torch.rand(2, 3, 32, 32)
    assert not torch.allclose(encoder(x), other(x))
    other.load_state_dict(state)
    assert torch.equal(encoder(x), other(x))
    assert not any(name.startswith("normalize") for name, _ in encoder.named_parameters())


@pytest.mark.parametrize("make", [encoders.resnet10, encoders.efficientnet_lite0])
def test_bytes_are_refused(make):
    with pytest.raises(TypeError, match=r"\[0, 1\], got torch.uint8"):
        make()(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="'cifar', 'fast' or 'imagenet', got 'patch'"):
        encoders.resnet18("patch")
    with pytest.raises(ValueError, match="unknown encoder 'vit'.*efficientnet_lite0, network_in_network, resnet10"):
        build({"name": "vit"})
    with pytest.raises(ValueError, match="unknown encoder None"):
        build({})
    with pytest.raises(ValueError, match="no pretrained 'resnet34'.*efficientnet_lite0, resnet18, resnet50"):
        pretrained("resnet34")
    with pytest.raises(ValueError, match="'mlp', 'linear' or 'identity', got 'conv'"):
        projection_head(8, kind="conv")


@pytest.mark.parametrize("make", [lambda: encoders.resnet10("cifar", width=4), lambda: encoders.resnet50(width=8),
                                  encoders.efficientnet_lite0])
def test_a_config_builds_the_same_network_again(make):
    encoder = make()
    again = build(encoder.config)
    again.load_state_dict(encoder.state_dict())
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(encoder.eval()(x), again.eval()(x)) and again.config == encoder.config


def test_projection_heads():
    z = torch.randn(4, 24)
    mlp, linear, same = (projection_head(24, 6, kind) for kind in ("mlp", "linear", "identity"))
    assert torch.allclose(mlp(z), mlp[2](F.relu(z @ mlp[0].weight.T + mlp[0].bias)), atol=1e-6)
    assert torch.allclose(linear(z), z @ linear.weight.T + linear.bias, atol=1e-6)
    assert same(z) is z and same.config["out_dim"] == 24
    assert mlp[0].weight.shape == (24, 24) and projection_head(24)(z).shape == (4, 128)
    wide = projection_head(24, 6, hidden_dim=40)
    assert wide[0].weight.shape == (40, 24) and wide(z).shape == (4, 6)
    for head in (mlp, linear, same, wide):
        again = projection_head(**head.config)
        again.load_state_dict(head.state_dict())
        assert torch.equal(again(z), head(z))


# --- ImageNet weights -----------------------------------------------------------------------------------

def centre(picture):
    """A photograph [H, W, 3] as the ImageNet protocol shows it: shorter side 256, the middle 224."""
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    x = TF.resize(x, 256, antialias=True)
    return TF.center_crop(x, 224)


def names_of(logits, k):
    return [IMAGENET_CLASSES[i] for i in logits[0].topk(k).indices]


@torch.no_grad()
def test_the_pretrained_backbone_knows_a_palace_from_a_cat_without_a_network(offline):
    data = pytest.importorskip("skimage.data")
    encoder = pretrained("efficientnet_lite0")
    assert not encoder.training
    assert names_of(encoder.classify(centre(load_sample_image("china.jpg"))), 1)[0] in {
        "palace", "bell cote", "monastery"}
    assert set(names_of(encoder.classify(centre(data.chelsea())), 2)) & {"tabby", "tiger cat", "Egyptian cat"}


@torch.no_grad()
def test_the_pretrained_backbones_stages_halve_from_one_to_the_next():
    maps = pretrained("efficientnet_lite0").stages(torch.rand(1, 3, 64, 64))
    assert {name: tuple(m.shape[1:]) for name, m in maps.items()} == {
        "stem": (32, 32, 32), "stage1": (16, 32, 32), "stage2": (24, 16, 16), "stage3": (40, 8, 8),
        "stage4": (112, 4, 4), "stage5": (320, 2, 2), "head": (1280, 2, 2)}


@torch.no_grad()
def test_the_pretrained_backbone_is_its_packages_network():
    encoder = pretrained("efficientnet_lite0")
    x = torch.rand(2, 3, 96, 96)
    assert torch.allclose(encoder.classify(x), encoder.net(x * 2 - 1), atol=1e-4)


def test_the_backbones_running_statistics_catch_up_within_a_short_training():
    encoder = encoders.efficientnet_lite0().train()
    first = encoder.net._bn0
    x = torch.rand(4, 3, 32, 32)
    batch_mean = encoder.net._conv_stem(encoder.normalize(x)).mean((0, 2, 3))
    with torch.no_grad():
        for _ in range(30):
            first(encoder.net._conv_stem(encoder.normalize(x)))
    assert torch.allclose(first.running_mean, batch_mean * (1 - 0.9**30), atol=1e-4)


def test_a_download_that_fails_says_what_to_do_instead(offline, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(RuntimeError, match=re.escape("use pretrained('efficientnet_lite0')")):
        pretrained("resnet18")


def test_torchvisions_weights_are_loaded_without_their_classifier(monkeypatch):
    torch.manual_seed(0)
    oracle = torchvision.models.resnet18()
    monkeypatch.setattr(encoders, "_torchvision_weights", lambda name: oracle.state_dict())
    encoder = pretrained("resnet18")
    oracle.fc = nn.Identity()
    x = torch.rand(1, 3, 64, 64)
    normalised = TF.normalize(x, IMAGENET_MEAN, IMAGENET_STD)
    assert not encoder.training and torch.allclose(encoder(x), oracle.eval()(normalised), rtol=1e-3, atol=1e-4)
