"""The CBR family: the paper's parameter counts, a network put together by hand, and its way into checkpoints."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as TF

from course_utils import checkpoints, encoders
from course_utils.cbr import CBR, MEMBERS
from course_utils.encoders import IMAGENET_MEAN, IMAGENET_STD, build, cbr, pretrained
from course_utils.methods import Supervised

# Raghu et al. 2019, Table 1
PAPER = {"large_t": 8_532_480, "large_w": 8_432_128, "small": 2_108_672, "tiny": 1_076_480}
CHANNELS = {"large_t": (32, 64, 128, 256, 512), "large_w": (64, 128, 256, 512), "small": (32, 64, 128, 256),
            "tiny": (32, 64, 128, 256)}


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", PAPER)
def test_parameters_are_within_a_percent_of_the_papers_table(name):
    assert abs(parameters(cbr(name)) / PAPER[name] - 1) < 0.01
    kernel, sizes = (5 if name == "tiny" else 7), (3, *CHANNELS[name])
    by_hand = sum(kernel**2 * a * b + 2 * b for a, b in zip(sizes, sizes[1:], strict=False))
    assert parameters(cbr(name)) == by_hand


def test_the_papers_text_and_its_table_disagree_about_tiny():
    assert parameters(CBR(5, (64, 128, 256, 512), 4)) > 3.9 * PAPER["tiny"]


@pytest.mark.parametrize("size", [28, 32, 64, 224])
@pytest.mark.parametrize("name", PAPER)
def test_each_pool_halves_the_map(name, size):
    if size == 224 and name.startswith("large"):
        pytest.skip("a second of convolutions to see the same")
    encoder = cbr(name).eval()
    with torch.no_grad():
        x = torch.rand(1, 3, size, size)
        maps = encoder.stages(x)
        assert torch.allclose(encoder(x), list(maps.values())[-1].mean((2, 3)))
    side = size
    for i, (stage, channels) in enumerate(zip(maps.items(), CHANNELS[name], strict=True), 1):
        side = side if name == "large_t" and i == 5 else -(-side // 2)
        assert stage[0] == f"stage{i}" and stage[1].shape == (1, channels, side, side)
    assert encoder.feature_dim == CHANNELS[name][-1]


@pytest.mark.parametrize("name", ["large_t", "tiny"])
def test_equals_convolution_batchnorm_relu_pool_written_out(name):
    torch.manual_seed(0)
    encoder = cbr(name).train()
    for norm in (part for part in encoder.modules() if isinstance(part, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 2), nn.init.uniform_(norm.bias, -0.5, 0.5)
    images = torch.rand(4, 3, 28, 28)
    x = TF.normalize(images, IMAGENET_MEAN, IMAGENET_STD)
    weights = list(encoder.parameters())
    for i, (w, scale, shift) in enumerate(zip(weights[::3], weights[1::3], weights[2::3], strict=True)):
        x = F.conv2d(x, w, padding=w.shape[-1] // 2)
        x = F.relu(F.batch_norm(x, None, None, scale, shift, training=True))
        x = F.max_pool2d(x, 3, 2, 1) if i < 4 else x
    assert torch.allclose(encoder(images), x.mean((2, 3)), rtol=1e-3, atol=1e-4)


def test_bytes_and_unknown_names_are_refused():
    with pytest.raises(ValueError, match="unknown CBR 'huge'; there are: large_t, large_w, small, tiny"):
        cbr("huge")
    with pytest.raises(TypeError, match=r"\[0, 1\], got torch.uint8"):
        cbr("tiny")(torch.zeros(1, 3, 28, 28, dtype=torch.uint8))


@pytest.mark.parametrize("in_channels", [1, 3])
def test_a_config_builds_the_same_network_again(in_channels):
    encoder = cbr("tiny", in_channels).eval()
    again = build(encoder.config).eval()
    again.load_state_dict(encoder.state_dict())
    x = torch.rand(2, in_channels, 28, 28)
    assert torch.equal(encoder(x), again(x)) and again.config == encoder.config
    assert {f"cbr_{name}" for name in MEMBERS} == {name for name in encoders._BUILDERS if name.startswith("cbr")}


def test_pretrained_weights_come_from_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
    with pytest.raises(RuntimeError, match="pretrain cbr_tiny cifar10"):
        pretrained("cbr_tiny")  # not trained here yet: says with which command it is
    torch.manual_seed(0)
    method = Supervised(cbr("tiny"), 10)
    checkpoints.save(method, "cbr_tiny-cifar10", {}, checkpoints.OWN)
    encoder = pretrained("cbr_tiny")
    x = torch.rand(2, 3, 32, 32)
    assert not encoder.training and torch.allclose(encoder(x), method.encoder.eval()(x), rtol=0.02, atol=0.02)
    with pytest.raises(ValueError, match="no pretrained 'cbr_huge'"):
        pretrained("cbr_huge")
