"""Jigsaw and masked patches against loops over tiles and pixels; gradients; shortcuts closed."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from course_utils import encoders, pretexts


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return encoders.resnet10(width=4).eval()


@pytest.fixture
def images():
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_tiles_go_where_the_order_says(images):
    order = pretexts.PERMUTATIONS[torch.tensor([0, 3, 7, 11, 19, 23])]
    shuffled = pretexts.shuffle_tiles(images, order)
    corners = [(0, 0), (0, 16), (16, 0), (16, 16)]
    for image, result, row in zip(images, shuffled, order.tolist(), strict=True):
        for place, tile in enumerate(row):
            (top, left), (from_top, from_left) = corners[place], corners[tile]
            expected = image[:, from_top:from_top + 16, from_left:from_left + 16]
            assert torch.equal(result[:, top:top + 16, left:left + 16], expected)


def test_the_permutations_are_all_there():
    assert sorted(map(tuple, pretexts.PERMUTATIONS.tolist())) == sorted(itertools.permutations(range(4)))


def test_cut_tiles_stay_within_their_own_tile():
    four = torch.zeros(50, 1, 32, 32)
    four[:, :, :16, 16:], four[:, :, 16:, :16], four[:, :, 16:, 16:] = 0.2, 0.4, 0.6
    assert torch.allclose(pretexts.cut_tiles(four), four, atol=1e-6)


def test_cutting_moves_what_runs_across_a_border():
    ramp = torch.linspace(0, 1, 32).expand(50, 1, 32, 32).contiguous()
    torch.manual_seed(0)
    cut = pretexts.cut_tiles(ramp)
    steps = (cut[:, 0, :, 16] - cut[:, 0, :, 15]).amax(dim=1)  # a ramp that runs on would rise by 1/31 here
    assert steps.std() > 1 / 31 and cut.shape == ramp.shape
    assert (cut[:, 0, 0, 1:16] >= cut[:, 0, 0, :15] - 1e-6).all()  # inside a tile it is still a ramp


def test_jigsaw_loss_is_the_cross_entropy_of_the_drawn_order(encoder, images):
    method = pretexts.Jigsaw(encoder)
    torch.manual_seed(5)
    loss = method(images)
    torch.manual_seed(5)
    answer = torch.randint(24, (6,))
    puzzle = torch.cat([pretexts.shuffle_tiles(x[None], pretexts.PERMUTATIONS[k][None])
                        for x, k in zip(images, answer, strict=True)])
    scores = encoder(pretexts.cut_tiles(puzzle)) @ method.head.weight.T + method.head.bias
    torch.testing.assert_close(loss, -scores.log_softmax(1)[torch.arange(6), answer].mean())


def test_masked_loss_looks_at_hidden_pixels_only(encoder, images):
    method = pretexts.MaskedPatches(encoder)
    torch.manual_seed(5)
    loss = method(images)
    torch.manual_seed(5)
    hidden = pretexts.patch_mask(images, 4, 0.5)
    seen = images.clone()
    seen[hidden.expand_as(seen)] = 0.5
    guess = F.pixel_shuffle(method.head[0](encoder.stages(seen)["stage4"]), 16)
    expected = (guess - images)[hidden.expand_as(images)].square().mean()
    torch.testing.assert_close(loss, expected)


def test_patches_are_whole_and_hidden_as_often_as_asked():
    torch.manual_seed(0)
    mask = pretexts.patch_mask(torch.rand(200, 3, 32, 32), 4, 0.3)
    assert mask.shape == (200, 1, 32, 32) and mask.dtype == torch.bool
    patches = mask.float().unfold(2, 4, 4).unfold(3, 4, 4).mean(dim=(4, 5))
    assert ((patches == 0) | (patches == 1)).all() and abs(patches.mean() - 0.3) < 0.02


@pytest.mark.parametrize("Method", [pretexts.Jigsaw, pretexts.MaskedPatches])
def test_gradients_reach_every_parameter_and_labels_are_not_looked_at(Method, encoder, images):
    method = Method(encoder).train()
    torch.manual_seed(0)
    loss = method(images, torch.arange(6))
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())
    assert sum(p.grad.abs().sum() > 0 for p in method.parameters()) == len(list(method.parameters()))


def test_impossible_settings_are_refused(encoder):
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        pretexts.MaskedPatches(encoder, share=1)
    with pytest.raises(ValueError, match="patches of 5 pixels do not tile images of 32×32"):
        pretexts.patch_mask(torch.rand(1, 3, 32, 32), 5, 0.5)
