"""The losses against loops written from the papers, lightly and pytorch-metric-learning, and at their limits."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from course_utils import losses

B, D, K = 6, 5, 9
TWO_VIEWS = {  # name -> loss(z1, z2)
    "nt_xent": losses.nt_xent,
    "nt_xent, raw": partial(losses.nt_xent, normalize=False),
    "nt_logistic": losses.nt_logistic,
    "margin": losses.margin_triplet,
    "margin, semi-hard": partial(losses.margin_triplet, mining="semi-hard"),
}
COOLED = {  # the same with a temperature
    "nt_xent": losses.nt_xent,
    "nt_logistic": losses.nt_logistic,
    "info_nce": lambda z1, z2, temperature: losses.info_nce(z1, z2, F.normalize(z2.double()).roll(1, 0), temperature),
}


def two_views(b=B, d=D, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    z1 = torch.randn(b, d, dtype=torch.float64, generator=g)
    z2 = z1 + 0.7 * torch.randn(b, d, dtype=torch.float64, generator=g)
    return z1.to(dtype).requires_grad_(), z2.to(dtype).requires_grad_()


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs)


# ---- loops over anchors and negatives, with the weights of the lecture's table of three losses (SimCLR, Table 2) -----

def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def table_row(name, u, v, negatives, setting):
    """The row's value and its gradient w.r.t. u, as the weight of v⁺ and those of v⁻ (subtracted), meant over v⁻."""
    if name.startswith("nt_xent"):
        exps = [math.exp(u @ n / setting) for n in negatives]
        total = math.exp(u @ v / setting) + sum(exps)
        value = u @ v / setting - math.log(total)
        return value, (1 - math.exp(u @ v / setting) / total) / setting, [e / total / setting for e in exps]
    count = len(negatives)
    if name == "nt_logistic":
        value = sum(math.log(sigmoid(u @ v / setting)) + math.log(sigmoid(-u @ n / setting)) for n in negatives)
        weights = [sigmoid(u @ n / setting) / setting / count for n in negatives]
        return value / count, sigmoid(-u @ v / setting) / setting, weights
    if name == "margin, semi-hard":
        band = [u @ v - setting < u @ n < u @ v for n in negatives]  # nearer means larger here
        if any(band):
            chosen = max((k for k in range(count) if band[k]), key=lambda k: u @ negatives[k])
        else:
            chosen = min(range(count), key=lambda k: u @ negatives[k])
        count, considered = 1, [k == chosen for k in range(count)]
    else:
        considered = [True] * count
    active = [c and u @ v - u @ n < setting for c, n in zip(considered, negatives, strict=True)]
    value = -sum(max(u @ n - u @ v + setting, 0) for c, n in zip(considered, negatives, strict=True) if c) / count
    return value, sum(active) / count, [a / count for a in active]


def by_loops(name, z1, z2, setting):
    """The loss and its gradient for both views, from the table's values and weights, anchor by anchor."""
    raw = np.concatenate([z1.detach().numpy(), z2.detach().numpy()])
    b, n = len(z1), 2 * len(z1)
    length = np.ones((n, 1)) if name == "nt_xent, raw" else np.linalg.norm(raw, axis=1, keepdims=True)
    z, loss, g = raw / length, 0.0, np.zeros_like(raw)
    for i in range(n):
        j = (i + b) % n
        others = [k for k in range(n) if k not in (i, j)]
        value, pull, push = table_row(name, z[i], z[j], [z[k] for k in others], setting)
        loss -= value / n
        g[i] -= pull * z[j] / n  # the table: the gradient for the anchor ...
        g[j] -= pull * z[i] / n  # ... and, dot products being symmetric, for the other end of each pair
        for k, weight in zip(others, push, strict=True):
            g[i] += weight * z[k] / n
            g[k] += weight * z[i] / n
    if name != "nt_xent, raw":
        g = (g - (g * z).sum(axis=1, keepdims=True) * z) / length  # through the normalisation
    return loss, torch.tensor(g[:b]), torch.tensor(g[b:])


@pytest.mark.parametrize("setting", [0.1, 0.5, 1.3])
@pytest.mark.parametrize("name", TWO_VIEWS)
def test_value_and_gradient_equal_the_papers_loops(name, setting):
    for seed in range(3):
        z1, z2 = two_views(seed=seed)
        loss = TWO_VIEWS[name](z1, z2, setting)
        expected, *expected_gradients = by_loops(name, z1, z2, setting)
        assert loss.shape == () and loss.dtype == torch.float64
        assert loss.item() == pytest.approx(expected, rel=1e-10)
        torch.testing.assert_close(gradients(loss, z1, z2), tuple(expected_gradients), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_info_nce_equals_the_table_and_cross_entropy_with_target_zero(temperature):
    query, key = two_views()
    queue = F.normalize(torch.randn(K, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    loss = losses.info_nce(query, key, queue, temperature)

    q, k = F.normalize(query), F.normalize(key).detach()
    logits = torch.stack([torch.stack([q[i] @ k[i], *(q[i] @ n for n in queue)]) for i in range(B)]) / temperature
    same = F.cross_entropy(logits, torch.zeros(B, dtype=torch.int64))
    torch.testing.assert_close(loss, same)
    torch.testing.assert_close(gradients(loss, query), gradients(same, query))

    for i in range(B):  # one query at a time is the table's first row
        one = losses.info_nce(query[i:i + 1], key[i:i + 1], queue, temperature)
        value, pull, push = table_row("nt_xent", q[i].detach().numpy(), k[i].numpy(), queue.numpy(), temperature)
        g = pull * k[i] - torch.tensor(push, dtype=torch.float64) @ queue
        g = (g - (g @ q[i]) * q[i]) / query[i].norm()
        assert one.item() == pytest.approx(-value, rel=1e-10)
        torch.testing.assert_close(gradients(one, query)[0][i], -g.detach(), rtol=1e-8, atol=1e-10)


def test_triplet_equals_a_loop_and_torch():
    a, p = two_views()
    n = torch.randn(B, D, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    for margin in (0.0, 1.0, 5.0):
        loss = losses.triplet(a, p, n, margin)
        total, g = 0.0, [torch.zeros(B, D, dtype=torch.float64) for _ in range(3)]
        for i in range(B):
            excess = sum((a[i] - p[i]).tolist()[d] ** 2 - (a[i] - n[i]).tolist()[d] ** 2 for d in range(D)) + margin
            if excess > 0:
                total += excess / B
                for part, step in zip(g, (n[i] - p[i], p[i] - a[i], a[i] - n[i]), strict=True):
                    part[i] = 2 * step.detach() / B
        assert loss.item() == pytest.approx(total)
        torch.testing.assert_close(gradients(loss, a, p, n), tuple(g))
        if margin:
            torchs = F.triplet_margin_with_distance_loss(
                a, p, n, margin=margin, distance_function=lambda x, y: (x - y).square().sum(1))
            torch.testing.assert_close(loss, torchs)


@pytest.mark.parametrize("name", TWO_VIEWS)
def test_gradcheck(name):
    assert torch.autograd.gradcheck(partial(TWO_VIEWS[name]), two_views(b=4, d=3))


def test_gradcheck_triplet_and_info_nce():
    a, p = two_views(b=4, d=3)
    n = two_views(b=4, d=3, seed=5)[0]
    assert torch.autograd.gradcheck(losses.triplet, (a, p, n, 2.0))
    assert torch.autograd.gradcheck(lambda q: losses.info_nce(q, p, F.normalize(n)), (a,))


# ---- other packages --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_nt_xent_equals_lightly(temperature):
    lightly = pytest.importorskip("lightly.loss")
    z1, z2 = two_views(b=16, d=8)
    ours, theirs = losses.nt_xent(z1, z2, temperature), lightly.NTXentLoss(temperature)(z1, z2)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(ours, z1, z2), gradients(theirs, z1, z2))


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_nt_xent_equals_pytorch_metric_learning(temperature):
    peer = pytest.importorskip("pytorch_metric_learning.losses")
    z1, z2 = two_views(b=16, d=8)
    theirs = peer.SelfSupervisedLoss(peer.NTXentLoss(temperature))(z1, z2)
    ours = losses.nt_xent(z1, z2, temperature)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(ours, z1, z2), gradients(theirs, z1, z2))


def test_info_nce_equals_lightly():
    lightly = pytest.importorskip("lightly.loss")
    query, key = two_views(b=8, d=8)
    queue = F.normalize(torch.randn(K, 8, dtype=torch.float64))
    peer = lightly.NTXentLoss(0.2, memory_bank_size=(K, 8))
    peer.memory_bank.bank, peer.memory_bank.bank_ptr = queue.clone(), torch.zeros(1, dtype=torch.int64)
    ours, theirs = losses.info_nce(query, key, queue, 0.2), peer(query, key.detach())
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(ours, query), gradients(theirs, query))


def test_triplets_equal_pytorch_metric_learning():
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning import distances, miners, reducers
    from pytorch_metric_learning.losses import TripletMarginLoss

    torch.manual_seed(0)
    z, labels = embedding(20, 4, seed=2)
    squared = distances.LpDistance(normalize_embeddings=False, p=2, power=2)
    for kind in losses.MINING_KINDS:
        a, p, n, valid = losses.mine_triplets(z, labels, kind, 2.0)
        peer = TripletMarginLoss(margin=2.0, distance=squared, reducer=reducers.MeanReducer())
        theirs = peer(z, labels, (a[valid], p[valid], n[valid]))
        torch.testing.assert_close(losses.triplet(z[a], z[p], z[n], 2.0, valid=valid), theirs)

    a, p, n, valid = losses.mine_triplets(z, labels, "hard", 2.0)
    theirs = torch.stack(miners.BatchHardMiner(distance=squared)(z, labels))
    assert torch.equal(torch.stack([a, p, n])[:, valid], theirs)

    semi_hard = miners.TripletMarginMiner(2.0, type_of_triplets="semihard", distance=squared)(z, labels)
    semi_hard = set(zip(*(index.tolist() for index in semi_hard), strict=True))
    a, p, n, _ = losses.mine_triplets(z, labels, "semi-hard", 2.0)
    pairs = {(i, j) for i, j, _ in semi_hard}
    found = [(i, j, k) in semi_hard for i, j, k in zip(*(t.tolist() for t in (a, p, n)), strict=True)
             if (i, j) in pairs]
    assert len(found) > 5 and all(found)


# ---- mining ----------------------------------------------------------------------------------------------------------

def embedding(n=24, d=3, classes=5, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, dtype=dtype, generator=g), torch.randint(classes, (n,), generator=g)


def squared(z):
    return [[sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) for b in z.tolist()] for a in z.tolist()]


def loop_negative(row, labels, i, p, margin, wrong_sign=False):
    """The semi-hard negative of the pair (i, p), or the farthest; also whether it is semi-hard."""
    negatives = [k for k in range(len(row)) if labels[k] != labels[i]]
    low, high = (row[p] - margin, row[p]) if wrong_sign else (row[p], row[p] + margin)
    band = [k for k in negatives if low < row[k] < high]
    return (min(band, key=lambda k: row[k]), True) if band else (max(negatives, key=lambda k: row[k]), False)


def test_semi_hard_mining_equals_a_loop_and_a_wrong_sign_does_not():
    torch.manual_seed(0)
    kinds, differs = {True: 0, False: 0}, 0
    for seed in range(12):
        z, labels = embedding(seed=seed)
        margin = (0.05, 0.5, 3.0)[seed % 3]
        d, y = squared(z), labels.tolist()
        a, p, n, valid = losses.mine_triplets(z, labels, "semi-hard", margin)
        for i in torch.nonzero(valid).flatten().tolist():
            negative, semi_hard = loop_negative(d[i], y, i, p[i].item(), margin)
            assert a[i] == i and p[i] != i and y[p[i]] == y[i] and n[i] == negative
            kinds[semi_hard] += 1
            loss = losses.triplet(*(z[index[i:i + 1]] for index in (a, p, n)), margin).item()
            assert (0 < loss < margin) if semi_hard else (loss == 0 or loss > margin)
            differs += loop_negative(d[i], y, i, p[i].item(), margin, wrong_sign=True)[0] != negative
    assert min(kinds.values()) > 20 and differs > 50


def test_the_semi_hard_rule_on_a_line():
    # anchor 0, positive at distance² 4, negatives at 1 (hard), 4.41 and 5.76 (semi-hard for margin 2), 9 (easy)
    z, labels = torch.tensor([[0.0], [2.0], [-1.0], [-2.1], [-2.4], [-3.0]]), torch.tensor([0, 0, 1, 2, 3, 4])
    choose = partial(losses.mine_triplets, kind="semi-hard")
    assert choose(z, labels, margin=2.0)[2][0] == 3
    assert choose(z, labels, margin=0.3)[2][0] == 5  # the band is empty: the farthest, here an easy one
    assert choose(z[:3], labels[:3], margin=2.0)[2][0] == 2  # only a hard one is there
    assert losses.mine_triplets(z, labels, "hard", 2.0)[2][0] == 2
    # and the same in cosine: negatives at u·v 0.9 (hard), 0.5 and 0.3 (semi-hard for margin 0.4), -1 (easy)
    chosen = losses._semi_hard(-torch.tensor([[1.0, 0.6, 0.9, 0.3, 0.5, -1.0]]), -torch.tensor([[0.6]]),
                               torch.tensor([[False, False, True, True, True, True]]), 0.4)
    assert chosen.tolist() == [4]


def test_hard_mining_equals_a_loop():
    for seed in range(6):
        z, labels = embedding(seed=seed)
        d, y = squared(z), labels.tolist()
        a, p, n, valid = losses.mine_triplets(z, labels, "hard", 1.0)
        assert torch.equal(a, torch.arange(len(z)))
        for i in torch.nonzero(valid).flatten().tolist():
            assert p[i] == max((k for k in range(len(y)) if k != i and y[k] == y[i]), key=lambda k: d[i][k])
            assert n[i] == min((k for k in range(len(y)) if y[k] != y[i]), key=lambda k: d[i][k])


def test_random_mining_draws_all_pairs_alike_and_repeats_with_the_seed():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    z = torch.zeros(7, 2)
    positives, negatives, draws = torch.zeros(7, 7), torch.zeros(7, 7), 3000
    torch.manual_seed(0)
    for _ in range(draws):
        a, p, n, valid = losses.mine_triplets(z, labels)
        positives[a, p] += 1
        negatives[a, n] += 1
        assert valid.all()
    same = labels[:, None] == labels
    alike = same & ~torch.eye(7, dtype=torch.bool)
    for counts, allowed in ((positives, alike), (negatives, ~same)):
        expected = draws * allowed / allowed.sum(1, keepdim=True)
        assert (counts[~allowed] == 0).all()
        assert ((counts - expected).abs() <= 5 * expected.sqrt()).all()
    torch.manual_seed(7)
    first = losses.mine_triplets(z, labels)
    torch.manual_seed(7)
    assert all(map(torch.equal, first, losses.mine_triplets(z, labels)))


@pytest.mark.parametrize("kind", losses.MINING_KINDS)
def test_mining_has_fixed_shapes_and_marks_anchors_without_a_triplet(kind):
    cases = [([0, 0, 1, 2, 2], [True, True, False, True, True]), ([3, 3, 3, 3], [False] * 4), ([0, 1, 2], [False] * 3),
             ([5], [False]), ([-1, 7, 7], [False, True, True])]
    for labels, expected in cases:
        z = torch.randn(len(labels), 2, requires_grad=True)
        *indices, valid = losses.mine_triplets(z, torch.tensor(labels), kind, 0.5)
        assert valid.tolist() == expected and valid.dtype == torch.bool
        for index in indices:
            assert index.shape == (len(labels),) and index.dtype == torch.int64
            assert index.min() >= 0 and index.max() < len(labels)


def test_mining_survives_a_large_common_offset_half_inputs_and_autocast():
    z, labels = embedding(dtype=torch.float32, seed=4)
    expected = losses.mine_triplets(z.double(), labels, "hard")
    assert all(map(torch.equal, expected, losses.mine_triplets(z + 500, labels, "hard")))
    with torch.autocast("cpu", torch.bfloat16):
        assert all(map(torch.equal, expected, losses.mine_triplets(z, labels, "hard")))
    half = (100 * z).half()  # whose squared distances overflow in float16
    expected = losses.mine_triplets(half.double(), labels, "hard")
    assert all(map(torch.equal, expected, losses.mine_triplets(half, labels, "hard")))


def test_no_active_triplet_is_a_zero_with_a_zero_gradient():
    a = torch.zeros(4, 2, requires_grad=True)
    far = torch.full((4, 2), 9.0)
    nobody = torch.zeros(4, dtype=torch.bool)
    for loss in (losses.triplet(a, a + 0.1, far), losses.triplet(a, far, a + 0.1, valid=nobody)):
        assert loss == 0 and loss.requires_grad
        assert torch.equal(gradients(loss, a)[0], torch.zeros(4, 2))
    z1, z2 = (torch.eye(3, requires_grad=True) for _ in range(2))
    for mining in ("none", "semi-hard"):
        loss = losses.margin_triplet(z1, z2, 0.5, mining)
        assert loss == 0 and all(not g.any() for g in gradients(loss, z1, z2))


def test_triplet_counts_valid_ones_only_and_collapse_stays_at_the_margin():
    a, p = two_views()
    n = two_views(seed=8)[0]
    valid = torch.tensor([True, False, True, True, False, False])
    torch.testing.assert_close(losses.triplet(a, p, n, 2.0, valid=valid),
                               losses.triplet(a[valid], p[valid], n[valid], 2.0))
    z = torch.ones(B, D, requires_grad=True)
    loss = losses.triplet(z, z, z, 0.7)
    assert loss.item() == pytest.approx(0.7) and not gradients(loss, z)[0].any()


# ---- limits and symmetries -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("b", [2, 7, 64])
def test_collapsed_embeddings(b):
    z = torch.ones(b, 8)
    assert losses.nt_xent(z, 3 * z, 0.1).item() == pytest.approx(math.log(2 * b - 1), rel=1e-5)
    assert losses.margin_triplet(z, z, 0.3).item() == pytest.approx(0.3, rel=1e-5)
    queue = F.normalize(torch.ones(b, 8))
    assert losses.info_nce(z, z, queue, 0.1).item() == pytest.approx(math.log(b + 1), rel=1e-5)


@pytest.mark.parametrize("name", TWO_VIEWS)
def test_symmetric_in_the_views_and_blind_to_the_order_of_images(name):
    z1, z2 = two_views()
    loss, g = TWO_VIEWS[name](z1, z2), gradients(TWO_VIEWS[name](z1, z2), z1, z2)
    swapped = TWO_VIEWS[name](z2, z1)
    torch.testing.assert_close(swapped, loss)
    torch.testing.assert_close(gradients(swapped, z1, z2), g)
    order = torch.tensor([2, 0, 1, 5, 3, 4])
    torch.testing.assert_close(TWO_VIEWS[name](z1[order], z2[order]), loss)
    assert abs(TWO_VIEWS[name](z1[order], z2).item() - loss.item()) > 1e-3  # but not to which views belong together


def test_only_normalised_losses_ignore_length():
    z1, z2 = two_views()
    for name, loss in TWO_VIEWS.items():
        assert torch.allclose(loss(5 * z1, z2), loss(z1, z2)) == (name != "nt_xent, raw")
    queue = F.normalize(z2.detach())
    torch.testing.assert_close(losses.info_nce(5 * z1, 2 * z2, queue), losses.info_nce(z1, z2, queue))


def test_temperature_limits():
    z1, z2 = two_views()
    assert losses.nt_xent(z1, z2, 1e6).item() == pytest.approx(math.log(2 * B - 1), rel=1e-5)
    assert losses.nt_logistic(z1, z2, 1e6).item() == pytest.approx(2 * math.log(2), rel=1e-5)
    z = F.normalize(torch.cat([z1, z2])).detach()
    s = (z @ z.T).fill_diagonal_(-2)
    positive = (z[:B] * z[B:]).sum(1).repeat(2)
    hardest = (s.amax(1) - positive).mean()  # τ → 0: only the nearest other view counts
    assert (losses.nt_xent(z1, z2, 1e-3) * 1e-3).item() == pytest.approx(hardest.item(), abs=1e-3)


@pytest.mark.parametrize("b", [2, 5, 40])
def test_nt_logistic_is_balanced(b):
    basis = torch.eye(2 * b)
    assert losses.nt_logistic(basis[:b], basis[b:]).item() == pytest.approx(2 * math.log(2))  # whatever the batch
    z = torch.ones(b, 4)
    expected = math.log1p(math.exp(-2)) + math.log1p(math.exp(2))
    assert losses.nt_logistic(z, z, 0.5).item() == pytest.approx(expected, rel=1e-5)
    # Aligned pairs, orthogonal to all others: weights of attraction and repulsion do not depend on the batch either.
    assert losses.nt_logistic(basis[:b], basis[:b], 0.5).item() == pytest.approx(math.log1p(math.exp(-2)) + math.log(2))


# ---- precision -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", COOLED)
def test_finite_at_a_low_temperature_in_every_precision(name, dtype):
    apart = two_views(b=32, d=16)[0].detach()
    cases = {"random": two_views(b=32, d=16), "equal": (apart, apart), "opposite": (apart, -apart),
             "collapsed": (torch.ones(32, 16), torch.ones(32, 16)), "long": (1000 * apart, apart),
             "short": (apart / 1000, apart)}
    for case, views in cases.items():
        z1, z2 = (z.detach().to(dtype).requires_grad_() for z in views)
        loss = COOLED[name](z1, z2, temperature=0.01)
        g = gradients(loss, z1)[0]
        wide = torch.promote_types(dtype, torch.float32)
        assert loss.dtype == wide and g.dtype == dtype
        assert loss.isfinite() and (loss >= 0) and g.isfinite().all(), case
        torch.testing.assert_close(loss, COOLED[name](z1.to(wide), z2.to(wide), temperature=0.01))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype):
    z1, z2 = two_views(b=16, d=8, dtype=torch.float32)
    every = [*TWO_VIEWS.values(), *(partial(f, temperature=0.01) for f in COOLED.values()),
             lambda a, p: losses.triplet(a, p, a.roll(1, 0), 5.0)]
    for loss in every:
        with torch.autocast("cpu", dtype):
            inside = loss(z1, z2)
        torch.testing.assert_close(inside, loss(z1, z2), rtol=0, atol=0)
        torch.testing.assert_close(gradients(inside, z1), gradients(loss(z1, z2), z1), rtol=0, atol=0)


def test_half_inputs_do_not_overflow_in_a_triplet():
    a = torch.full((2, 4), 300.0, dtype=torch.float16, requires_grad=True)  # float16 ends at 65,504
    loss = losses.triplet(a, torch.zeros_like(a), torch.full_like(a, 290.0))
    assert loss.item() == 360_000 - 400 + 1 and gradients(loss, a)[0].isfinite().all()


# ---- what training needs ---------------------------------------------------------------------------------------------

def test_info_nce_leaves_key_and_queue_alone_and_lets_the_queue_change_before_backward():
    query, key = two_views(dtype=torch.float32)
    queue = F.normalize(torch.randn(K, D)).requires_grad_()
    losses.info_nce(query, key, queue).backward()
    assert query.grad.abs().sum() > 0 and key.grad is None and queue.grad is None
    queue = queue.detach()
    before = query.grad.clone()
    query.grad = None
    loss = losses.info_nce(query, key, queue)
    queue[:B] = key.detach()  # as a method that enqueues in its forward does
    loss.backward()
    assert torch.equal(query.grad, before)


def training_steps():
    def mined(z1, z2, kind):
        z = torch.cat([z1, z2])
        a, p, n, valid = losses.mine_triplets(z, torch.arange(len(z1), device=z.device).repeat(2), kind, 1.0)
        return losses.triplet(z[a], z[p], z[n], valid=valid)

    steps = dict(TWO_VIEWS) | {kind: partial(mined, kind=kind) for kind in losses.MINING_KINDS}
    return steps | {"info_nce": lambda z1, z2: losses.info_nce(z1, z2, z2.roll(1, 0))}


@pytest.mark.parametrize("name", training_steps())
def test_runs_on_the_meta_device(name):  # where any look at a value, and any stray tensor of the CPU, is an error
    z1, z2 = (torch.randn(B, D, device="meta", requires_grad=True) for _ in range(2))
    loss = training_steps()[name](z1, z2)
    loss.backward()
    assert loss.shape == () and loss.device.type == "meta" and z1.grad.shape == (B, D)


@pytest.mark.parametrize("name", training_steps())
def test_compiles_whole(name):
    z1, z2 = two_views(dtype=torch.float32)
    loss = training_steps()[name]
    torch.compiler.reset()
    torch.manual_seed(0)
    eager = loss(z1, z2)
    torch.manual_seed(0)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")(z1, z2)
    torch.testing.assert_close(compiled, eager)
    torch.testing.assert_close(gradients(compiled, z1), gradients(eager, z1))


@pytest.mark.parametrize("name", ["nt_xent", "nt_logistic", "margin"])
def test_masks_written_in_place_survive_a_traced_backward(name):
    z1, z2 = two_views(dtype=torch.float32)
    torch.compiler.reset()
    compiled = torch.compile(TWO_VIEWS[name], fullgraph=True, backend="aot_eager")(z1, z2)
    torch.testing.assert_close(gradients(compiled, z1, z2), gradients(TWO_VIEWS[name](z1, z2), z1, z2))


# ---- errors ----------------------------------------------------------------------------------------------------------

z, labels = torch.randn(4, 3), torch.tensor([0, 0, 1, 1])
PAIR = {"nt_xent": losses.nt_xent, "nt_logistic": losses.nt_logistic, "margin_triplet": losses.margin_triplet}


@pytest.mark.parametrize("loss", PAIR.values(), ids=PAIR)
def test_pairs_that_do_not_fit(loss):
    with pytest.raises(ValueError, match=r"\[4, 3\].*\[3, 3\]"):
        loss(z, z[:3])
    with pytest.raises(ValueError, match=r"\[4, 3\].*\[4, 2\]"):
        loss(z, z[:, :2])
    with pytest.raises(ValueError, match=r"\[1, 4, 3\]"):
        loss(z[None], z[None])
    with pytest.raises(ValueError, match="int64"):
        loss(z.long(), z.long())
    with pytest.raises(ValueError, match=r"B >= 2.*\[1, 3\].*no negative"):
        loss(z[:1], z[:1])
    with pytest.raises(ValueError, match=r"\[0, 3\]"):
        loss(z[:0], z[:0])


@pytest.mark.parametrize("temperature", [0, 0.0, -0.5, math.nan, math.inf])
@pytest.mark.parametrize("name", COOLED)
def test_temperatures_that_are_not_positive(name, temperature):
    with pytest.raises(ValueError, match=f"temperature.*{temperature}"):
        COOLED[name](z, z, temperature=temperature)


@pytest.mark.parametrize("margin", [-0.1, math.nan])
def test_negative_margins(margin):
    for call in (lambda: losses.triplet(z, z, z, margin), lambda: losses.margin_triplet(z, z, margin),
                 lambda: losses.mine_triplets(z, labels, "hard", margin)):
        with pytest.raises(ValueError, match=f"margin.*{margin}"):
            call()


def test_triplets_and_mining_that_do_not_fit():
    with pytest.raises(ValueError, match=r"anchor.*\[4, 3\].*negative.*\[2, 3\]"):
        losses.triplet(z, z, z[:2])
    with pytest.raises(ValueError, match=r"\[0, 3\]"):
        losses.triplet(z[:0], z[:0], z[:0])
    with pytest.raises(ValueError, match=r"valid.*\[4\].*\[3\]"):
        losses.triplet(z, z, z, valid=torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="random, semi-hard, hard.*'easy'"):
        losses.mine_triplets(z, labels, "easy")
    with pytest.raises(ValueError, match="none, semi-hard.*'hard'"):
        losses.margin_triplet(z, z, mining="hard")
    with pytest.raises(ValueError, match=r"\[4, 3\].*\[4\].*\[4, 1\]"):
        losses.mine_triplets(z, labels[:, None])
    with pytest.raises(ValueError, match="float32"):
        losses.mine_triplets(z, labels.float())
    with pytest.raises(ValueError, match=r"\[3\]"):
        losses.mine_triplets(z[0], labels)


def test_queues_that_do_not_fit():
    for queue in (torch.randn(5, 2), torch.randn(5), torch.empty(0, 3), torch.ones(5, 3, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"\[4, 3\].*" + str(list(queue.shape)).replace("[", r"\[")):
            losses.info_nce(z, z, queue)
    with pytest.raises(ValueError, match=r"query.*\[4, 3\].*key.*\[2, 3\]"):
        losses.info_nce(z, z[:2], torch.randn(5, 3))
    assert losses.info_nce(z[:1], z[:1], torch.randn(1, 3)).isfinite()  # one query will do here
