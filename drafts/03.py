# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown] slideshow={"slide_type": "slide"}
# # 03 · Transfer on medical images
#
# **Which function $f(x)$ puts images of the same thing close together?** Third candidate: a network trained on photographs of everyday things, and then used on **medical** images. The images are of another kind, and what counts in them is a few pixels.
#
# | | |
# |---|---|
# | You will | repeat *Transfusion* (Raghu et al. 2019) in the small: build its CBR networks, measure with AUC, and set large against tiny and random against transfer, with intervals |
# | You need | notebook 02 (features, fine-tuning, linear probe); basic PyTorch modules |
# | Slides | *Potential Problems?* (both tables) · *Transfer Learning: images may be out-of-distribution* · *Not all images are labeled* |
# | Time to run | about two minutes on a laptop; to work through, about 80 minutes with the exercises |
#
# Helpers come from `course_utils`. What this notebook is about (AUC, the CBR block, what a transfer transfers) is written out here.
#
# **What this notebook is not.** The eyes are pictures made by code, the X-rays are 28 pixels wide. Nothing here says anything about patients, and nothing here is medical advice.

# %% slideshow={"slide_type": "skip"} tags=["setup"]
import math

import skimage.data
import torch
import torchvision
from matplotlib import pyplot as plt
from torch import nn

from course_utils import checkpoints, datasets, encoders, plots, scoreboard, setup, widgets
from course_utils.datasets import fundus
from course_utils.evaluation import auc, auc_interval, features, frozen, linear_probe
from course_utils.methods import Supervised
from course_utils.training import fit

course = setup(seed=0)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1 · Potential problems?
#
# ImageNet names the largest thing in a photograph. The lecture shows what doctors look at instead: photographs of the **retina** and **X-rays** of the chest, "classified by looking for *small local variations in tissue*".
#
# Two sets stand for them here.
# - `fundus`: photographs of the retina **made by code**. Optic disc, macula, vessels, pigment and camera vary from eye to eye and mean nothing. The label, *moderate or worse*, depends on a handful of lesions alone. We know where they are, how large and how dark.
# - PneumoniaMNIST: real chest X-rays of children, 28 × 28 pixels, *normal* or *pneumonia*.

# %% slideshow={"slide_type": "-"}
eyes = fundus.generate("train", n=course.pick(smoke=300, laptop=4_000, gpu=4_000))
eyes_test = fundus.generate("test", n=course.pick(smoke=200, laptop=1_000, gpu=2_000))
chest = course.medical_images("train", limit=course.pick(smoke=200, laptop=None, gpu=None))
chest_test = course.medical_images("test", limit=course.pick(smoke=100, laptop=None, gpu=None))
natural = course.natural_images("test", limit=course.pick(smoke=100, laptop=400, gpu=400))
print(f"eyes: {eyes.source}; {len(eyes):,} to train on, {len(eyes_test):,} to test, "
      f"{eyes.labels.float().mean():.0%} moderate or worse")
print(f"X-rays: {chest.source}; {len(chest):,} to train on, {len(chest_test):,} to test")
print(f"images: {natural.source}; {len(natural):,} natural photographs, for comparison")

# %% slideshow={"slide_type": "-"}
photograph = torch.tensor(skimage.data.retina()).permute(2, 0, 1)[None]                  # a real one
real = datasets.resize_square(photograph, 64)
well, ill = (eyes_test[(eyes_test.labels == y).nonzero()[:3, 0]] for y in (0, 1))
small = datasets.resize_square(chest_test[torch.tensor([0, 1, 2])].images, 64)
row = torch.cat([real, well.images, ill.images, small])
titles = ["real eye", "made: well", "", "", "made: ill", "", "", "X-ray", "", ""]
plots.show(plots.image_row(row, titles, columns=5, size=1.9),
           alt="A real photograph of a retina, three made ones without and three with lesions that matter, and "
               "three chest X-rays. The lesions are specks of a few pixels.")

# %% [markdown] slideshow={"slide_type": "fragment"}
# (The real photograph ships with scikit-image. Its eye is healthy, as far as its page says.) Can you tell the made eyes that are ill? Look for dark and for bright specks. How much of the picture is the label? The same eyes can be drawn again with lesions of no contrast, and subtracted:

# %% slideshow={"slide_type": "-"}
some = dict(split="test", n=40, prevalence=1.0)
with_lesions, without = fundus.generate(**some), fundus.generate(**some, lesion_contrast=0.0)
change = (with_lesions.images.float() - without.images.float()).abs().amax(dim=1)       # [40, H, W]
share = (change > 12).float().mean().item()
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2))
for axis, picture, title in zip(axes, (without.images[5], with_lesions.images[5], None),
                                ("without lesions", "with lesions", "difference")):
    axis.imshow(change[5] if picture is None else picture.permute(1, 2, 0), cmap="Greys")
    axis.set_title(title)
    axis.axis("off")
plots.show(figure, alt="One made eye without lesions, with lesions, and the difference: a few dots.")
print(f"lesions change {share:.1%} of the pixels of an ill eye (mean over {len(change)} eyes)")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2 · Out of distribution
#
# The slide *Transfer Learning* draws medical images far away from all others, and close to each other. Is it so? Take ImageNet features (`efficientnet_lite0`, notebook 02) and measure the **spread** of each set: the mean cosine distance
#
# $$1 - \frac{f(x) \cdot f(x')}{\lVert f(x) \rVert \, \lVert f(x') \rVert}$$
#
# of two random images $x$, $x'$ of the same set. (0: the same direction. The mean is over all pairs.)
#
# > **Predict before you run.** Natural photographs, eyes, X-rays: which set has the largest spread, which the smallest? And does a small spread mean that the features are useless?

# %% slideshow={"slide_type": "-"}
def imagenet_features(data, size=64):
    return features(imagenet, data, size=size).cpu()

def spread(z):
    """Mean cosine distance over all pairs of different rows of z [N, D]."""
    z = nn.functional.normalize(z, dim=1)
    n = len(z)
    return 1 - (z.sum(0).square().sum().item() - n) / (n * (n - 1))

imagenet = encoders.pretrained("efficientnet_lite0").to(course.device)
groups = {natural.name: natural, "eyes (fundus)": eyes_test[:len(natural)], "X-rays": chest_test[:len(natural)]}
z = {name: imagenet_features(data) for name, data in groups.items()}
spreads = {name: spread(values) for name, values in z.items()}
for name, value in spreads.items():
    print(f"{name:<16} spread {value:.3f}  (n = {len(z[name])})")

# %% slideshow={"slide_type": "-"}
everything = torch.cat(list(z.values()))
everything = everything / everything.norm(dim=1, keepdim=True)
_, _, directions = torch.pca_lowrank(everything, q=2)
flat = (everything - everything.mean(0)) @ directions                                    # [3N, 2]
figure, axis = plt.subplots(figsize=(6, 4.4))
for part, name, color, marker in zip(flat.split([len(v) for v in z.values()]), z, plots.COLORS, "o^s"):
    axis.scatter(*part.T, s=14, color=color, marker=marker, alpha=0.6, label=f"{name}: {spreads[name]:.2f}")
axis.set(title="ImageNet features in their two main directions", xlabel="first direction", ylabel="second direction")
axis.legend(title="set and its spread", fontsize=11, loc="upper left", bbox_to_anchor=(1, 1))
plots.show(figure, alt="Scatter of ImageNet features: natural photographs are strewn widely, eyes and X-rays "
                       "each form a tight heap.")

# %% slideshow={"slide_type": "-"} tags=["claim"]
assert all(spreads[natural.name] > spreads[name] for name in list(spreads)[1:]), spreads
print("Medical images huddle together in ImageNet's feature space; natural photographs do not.")

# %% [markdown] slideshow={"slide_type": "fragment"}
# They do huddle. That is no surprise: every eye is a disc, and a network that was never asked to tell eyes apart puts all of them in one place. But **a small spread is not a proof of uselessness**. What matters is whether the small differences that are left follow the *label*. For that we need a yardstick.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3 · The yardstick: AUC
#
# A network gives each case a score, and a doctor chooses the threshold from which on to look closer. **Sensitivity** is the share of ill cases above the threshold, **specificity** the share of healthy ones below. Moving the threshold trades one for the other; the **ROC curve** shows all trades, and the area under it is the **AUC**. It has a plain meaning:
#
# $$\text{AUC} = P\big(\text{score of a random ill case} > \text{score of a random healthy case}\big) + \tfrac12 P(\text{tie}).$$
#
# 1 is perfect, 0.5 is guessing. No threshold enters, and neither does the number of ill cases.

# %% slideshow={"slide_type": "-"}
def pixel_probe(train, test):
    """Scores on test of a linear probe on raw pixels, pooled to 16 × 16."""
    shrink = lambda data: nn.functional.adaptive_avg_pool2d(data.float_images(), 16).flatten(1)
    probe = linear_probe(shrink(train), train.labels, shrink(test), test.labels, l2=0.3)
    return probe.scores(shrink(test)).diff(dim=1)[:, 0]                                   # [N]

scores = {"eyes": (pixel_probe(eyes, eyes_test), eyes_test.labels),
          "X-rays": (pixel_probe(chest, chest_test), chest_test.labels)}
figure, axes = plt.subplots(1, 3, figsize=(13, 3.6))
for axis, (name, (s, y)) in zip(axes, scores.items()):
    for label, color in ((0, plots.SKY), (1, plots.VERMILION)):
        axis.hist(s[y == label], bins=30, density=True, alpha=0.6, color=color, label=("healthy", "ill")[label])
    axis.set(title=f"{name}: scores of a linear model on pixels", xlabel="score", ylabel="density")
    thresholds = s.sort().values
    roc = [((s[y == 0] >= t).float().mean(), (s[y == 1] >= t).float().mean()) for t in thresholds]
    axes[2].plot(*zip(*roc), label=f"{name}: AUC {auc(s, y):.2f}")
axes[0].legend()
axes[2].plot([0, 1], [0, 1], ls=":", color=plots.BLACK)
axes[2].set(title="ROC curves", xlabel="1 − specificity", ylabel="sensitivity")
axes[2].legend(loc="lower right")
plots.show(figure, alt="Histograms of scores for healthy and ill cases: they overlap for eyes and are apart for X-rays. "
                       "Right, the two ROC curves: the eyes' near the diagonal, the X-rays' far above.")

# %% [markdown] slideshow={"slide_type": "fragment"}
# Two very different tasks. Pneumonia clouds a whole lung, and a linear model on 16 × 16 pixels sees it. The eyes' lesions are too small and never in the same place: on pixels **nothing** is gained. (X-rays without their file on this machine are played by eyes; then both curves are bad.)

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 3.1 · AUC from ranks
# *Difficulty ●●○ · about 15 minutes · 3 points.* **Why it matters:** every table in this notebook is made of AUCs, and ties are where home-made ones go wrong.
#
# Comparing each ill case with each healthy one takes (ill) × (healthy) steps. Ranks do it in one sort. Give all scores ranks from 1 (lowest); **equal scores share the mean of their ranks**. If $R$ is the sum of the ranks of the $P$ ill cases, and $N$ the number of healthy ones,
#
# $$\text{AUC} = \frac{R - P(P+1)/2}{P \, N}.$$
#
# Write it. Without ill or without healthy cases there is nothing to compare: raise a `ValueError`. Do not use the course's `auc`, or scikit-learn.

# %% nbgrader={"grade": false, "grade_id": "auc-solution", "locked": false, "schema_version": 3, "solution": true, "task": false} slideshow={"slide_type": "skip"}
def auc_from_ranks(scores, labels):
    """scores: [N] real numbers, labels: [N] of 0 and 1; returns a float"""
    ### BEGIN SOLUTION
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if positives == 0 or negatives == 0:
        raise ValueError("AUC needs ill cases and healthy ones")
    _, place, count = torch.unique(scores.double(), return_inverse=True, return_counts=True)
    last = count.cumsum(0)                                  # the last rank of each group of equal scores
    rank = (last - (count - 1) / 2)[place]
    return ((rank[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)).item()
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "auc-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} slideshow={"slide_type": "skip"}
s, y = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
mine = auc_from_ranks(s, y)
assert abs(mine - 0.75) < 1e-6, (
    f"three of the four pairs are in order, so the AUC is 0.75; got {mine:.3f} (0.25: ill and healthy swapped; "
    "above 1: subtract the smallest possible sum of ranks)")
tied = auc_from_ranks(torch.tensor([1.0, 1.0, 2.0, 2.0]), torch.tensor([0, 1, 0, 1]))
assert abs(tied - 0.5) < 1e-6, (
    f"pairs: tie, won, lost, tie. Ties count one half, so the AUC is 0.5; got {tied:.3f} "
    "(0.25 or 0.75: equal scores must share the mean of their ranks)")
assert abs(auc_from_ranks(torch.zeros(10), torch.arange(10) % 2) - 0.5) < 1e-6, "constant scores are guesses: AUC 0.5"
### BEGIN HIDDEN TESTS
from sklearn.metrics import roc_auc_score
generator = torch.Generator().manual_seed(0)
for levels in (3, 10, 10_000):
    s, y = torch.randint(levels, (500,), generator=generator).float(), torch.rand(500, generator=generator) < 0.1
    assert abs(auc_from_ranks(s, y.long()) - roc_auc_score(y, s)) < 1e-6, f"wrong with {levels} different scores"
assert abs(auc_from_ranks(-s, y.long()) - (1 - roc_auc_score(y, s))) < 1e-6, "negative scores are scores too"
for only in (0, 1):
    try:
        value = auc_from_ranks(torch.rand(5), torch.full((5,), only))
    except ValueError:
        continue
    raise AssertionError(f"with labels of one kind only there is nothing to compare; you returned {value}")
### END HIDDEN TESTS

# %% [markdown] slideshow={"slide_type": "skip"}
# <details><summary>Hint: right without ties, wrong with them</summary>
#
# `scores.argsort().argsort()` gives equal scores different ranks, by their accidental order. `torch.unique(scores, return_inverse=True, return_counts=True)` finds the groups of equal scores: a group that ends at rank $r$ and has $c$ members has the mean rank $r - (c-1)/2$.
# </details>

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 3.2 · One in twenty
# *Difficulty ●●○ · about 15 minutes · 3 points.* **Why it matters:** "95 % accurate" can mean "finds nobody". And a figure measured where half of the cases are ill does not hold where one in twenty is.
#
# You measured scores on a test set. A case is **flagged** where its score is at or above `threshold`. Return four floats:
# 1. `sensitivity`: the share of the ill that are flagged; 2. `specificity`: the share of the healthy that are not, both as measured;
# 3. `accuracy` and 4. `precision` (the share of the ill among the flagged), both as they would be **in a population in which a share `prevalence` is ill**, with this sensitivity and specificity. If nobody would be flagged, the precision is not a number: `float("nan")`.

# %% nbgrader={"grade": false, "grade_id": "screening-solution", "locked": false, "schema_version": 3, "solution": true, "task": false} slideshow={"slide_type": "skip"}
def screening(scores, labels, threshold, prevalence):
    """scores, labels: [N] as above; prevalence in [0, 1]; returns sensitivity, specificity, accuracy, precision"""
    ### BEGIN SOLUTION
    flagged = scores >= threshold
    sensitivity = flagged[labels == 1].double().mean().item()
    specificity = (~flagged[labels == 0]).double().mean().item()
    right, wrong = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)          # flags
    accuracy = right + (1 - prevalence) * specificity
    return sensitivity, specificity, accuracy, right / (right + wrong) if right + wrong > 0 else float("nan")
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "screening-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} slideshow={"slide_type": "skip"}
s = torch.cat([torch.linspace(0, 1, 11)[1:], torch.linspace(-0.5, 0.5, 11)[1:]])           # 10 ill, 10 healthy
y = torch.cat([torch.ones(10), torch.zeros(10)]).long()
sens, spec, acc, prec = screening(s, y, threshold=0.25, prevalence=0.05)
assert abs(sens - 0.8) < 1e-6, f"8 of the 10 ill are flagged; got sensitivity {sens:.3f}"
assert abs(spec - 0.7) < 1e-6, f"3 of the 10 healthy are flagged, 7 are not; got specificity {spec:.3f}"
assert abs(acc - (0.05 * 0.8 + 0.95 * 0.7)) < 1e-6, (
    f"of 100 people 5 are ill; 4 of them and 66.5 of the 95 healthy are judged rightly: 0.705; got {acc:.3f} "
    "(0.75: that is the accuracy on the test set, where half are ill)")
assert abs(prec - 4 / 32.5) < 1e-6, (
    f"of 100 people 32.5 are flagged, and 4 of those are ill: 0.123; got {prec:.3f} "
    "(0.727: that is the precision on the test set; 0.800: that is the sensitivity)")
### BEGIN HIDDEN TESTS
nobody = screening(s, y, threshold=9.0, prevalence=0.05)
assert nobody[:2] == (0.0, 1.0) and abs(nobody[2] - 0.95) < 1e-9, "who flags nobody is right about all the healthy"
assert math.isnan(nobody[3]), "nobody flagged: precision is 0/0, return nan"
at = screening(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0, 1, 0]), 1.0, 0.5)
assert at[:2] == (1.0, 0.5), "a score *at* the threshold is flagged"
assert abs(at[3] - 2 / 3) < 1e-6 and abs(at[2] - 0.75) < 1e-6
assert screening(s, y, -9.0, 0.2)[2:] == (0.2, 0.2), "flag everybody: accuracy and precision are the prevalence"
### END HIDDEN TESTS

# %% slideshow={"slide_type": "skip"}
s, y = scores["X-rays"]
for prevalence in (0.5, 0.05):
    best = max((screening(s, y, t, prevalence) for t in s.unique()), key=lambda found: found[2])
    fair = min((screening(s, y, t, prevalence) for t in s.unique()), key=lambda found: abs(found[0] - 0.9))
    for name, found in (("most accurate threshold", best), ("sensitivity about 0.90", fair)):
        print(f"prevalence {prevalence:<5}{name:<24}" + "  ".join(
            f"{what} {value:.2f}" for what, value in zip(("sensitivity", "specificity", "accuracy", "precision"), found)))

# %% [markdown] slideshow={"slide_type": "skip"}
# Read the third line. Where one in twenty is ill, the "most accurate" threshold buys its accuracy by overlooking the ill; flag nobody, and you have 95 %. The AUC does not change with prevalence at all, which is why the paper and this notebook report it. **It hides something, too:** the precision in the last column. A good AUC is not yet a useful test.
#
# <details><summary>Hint: the precision is 0.727</summary>
#
# You counted flags on the test set, in which half are ill. Take only sensitivity and specificity from the test set. Then imagine 100 people of whom 5 are ill, and count again: how many of the 5 are flagged, how many of the 95?
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4 · The CBR family
#
# Is it the *size* of an ImageNet network that a medical task needs, or its *weights*, or neither? The paper takes networks with nothing special in them: **C**onvolution, **B**atchNorm, **R**eLU, then a max-pool; four or five times. No shortcuts, no bottlenecks.
#
# | | kernel | channels of the blocks | max-pools |
# |---|---|---|---|
# | CBR-LargeT (tall) | 7 × 7 | 32, 64, 128, 256, 512 | after the first four |
# | CBR-LargeW (wide) | 7 × 7 | 64, 128, 256, 512 | after each |
# | CBR-Small | 7 × 7 | 32, 64, 128, 256 | after each |
# | CBR-Tiny | 5 × 5 | 32, 64, 128, 256 | after each |
#
# Then a global average pool gives $f(x)$, and one linear layer the scores.

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 3.3 · A CBR block
# *Difficulty ●○○ · about 10 minutes · 2 points.* **Why it matters:** order, padding and bias are three small choices, and each changes the network that you think you compare.
#
# Return an `nn.Sequential` of: a convolution with a `kernel` × `kernel` filter (odd), stride 1 and padding that **keeps height and width**, without bias (the BatchNorm behind it would take any bias away again); BatchNorm; ReLU; and if `pool`, a 3 × 3 max-pool with stride 2 and padding 1.

# %% nbgrader={"grade": false, "grade_id": "cbr-block-solution", "locked": false, "schema_version": 3, "solution": true, "task": false} slideshow={"slide_type": "skip"}
def cbr_block(in_channels, out_channels, kernel, pool=True):
    """An nn.Sequential: [B, in_channels, H, W] to [B, out_channels, H', W'], half the size if pool"""
    ### BEGIN SOLUTION
    layers = [nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
              nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(3, stride=2, padding=1)] if pool else []))
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "cbr-block-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} slideshow={"slide_type": "skip"}
torch.manual_seed(0)
x = torch.randn(8, 3, 15, 15)
kept, halved = cbr_block(3, 16, 7, pool=False)(x), cbr_block(3, 16, 7)(x)
assert kept.shape == (8, 16, 15, 15), f"without pool the block keeps 15 × 15, got {list(kept.shape)}: check the padding"
assert halved.shape == (8, 16, 8, 8), f"with pool 15 × 15 becomes 8 × 8 (3 × 3, stride 2, padding 1), got {list(halved.shape)}"
count = sum(p.numel() for p in cbr_block(3, 16, 7).parameters())
assert count == 7 * 7 * 3 * 16 + 2 * 16, f"49·3·16 weights and two vectors of 16 make 2,384 parameters, got {count:,} (a bias?)"
assert kept.min() >= 0 and (kept == 0).float().mean() > 0.2, "ReLU comes last (before the pool), so about half is zero"
### BEGIN HIDDEN TESTS
for kernel, size, pool in ((5, 28, True), (7, 29, True), (3, 14, False)):
    block, x = cbr_block(4, 6, kernel, pool).double(), torch.randn(5, 4, size, size).double()
    weight, norm = list(block.parameters())[0], [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)][0]
    nn.init.uniform_(norm.weight, 0.5, 2), nn.init.uniform_(norm.bias, -1, 1)
    maps = nn.functional.conv2d(x, weight, padding=kernel // 2)
    centre, spread_ = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), correction=0, keepdim=True)
    maps = (maps - centre) / (spread_ + norm.eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    maps = maps.clamp(min=0)
    maps = nn.functional.max_pool2d(maps, 3, 2, 1) if pool else maps
    torch.testing.assert_close(block(x), maps, msg=f"wrong values, kernel {kernel}: order of layers? kind of pool?")
### END HIDDEN TESTS

# %% [markdown] slideshow={"slide_type": "skip"}
# <details><summary>Hint: the number of parameters is 2,400</summary>
#
# `nn.Conv2d` has a bias unless you say `bias=False`. An odd kernel keeps the size with padding `kernel // 2`.
# </details>

# %% [markdown] slideshow={"slide_type": "fragment"}
# Stacked, and checked against the package, layer by layer:

# %% slideshow={"slide_type": "-"} tags=["nbval-check-output"]
family = {"CBR-LargeT": (7, (32, 64, 128, 256, 512), 4), "CBR-LargeW": (7, (64, 128, 256, 512), 4),
          "CBR-Small": (7, (32, 64, 128, 256), 4), "CBR-Tiny": (5, (32, 64, 128, 256), 4)}
short = {"CBR-LargeT": "large_t", "CBR-LargeW": "large_w", "CBR-Small": "small", "CBR-Tiny": "tiny"}

def stack(kernel, channels, pools):
    ins = (3, *channels)
    return nn.Sequential(*(cbr_block(a, b, kernel, i < pools) for i, (a, b) in enumerate(zip(ins, channels))))

for name, design in family.items():
    mine, package = stack(*design).eval(), encoders.cbr(short[name]).eval()
    mine.load_state_dict(dict(zip(mine.state_dict(), [v for k, v in package.state_dict().items() if "block" in k])))
    x = torch.rand(2, 3, 28, 28)
    torch.testing.assert_close(mine(package.normalize(x)).mean((2, 3)), package(x))
print("the blocks above and encoders.cbr agree")

# %% [markdown] slideshow={"slide_type": "fragment"}
# Now count the parameters, and compare with the paper's Table 1. (It counts no classifier.)

# %% slideshow={"slide_type": "-"} tags=["claim"]
paper_count = {"ResNet-50": 23_570_408, "Inception-v3": 22_881_424, "CBR-LargeT": 8_532_480, "CBR-LargeW": 8_432_128,
               "CBR-Small": 2_108_672, "CBR-Tiny": 1_076_480}
count = lambda network: sum(p.numel() for p in network.parameters())
counts = {name: count(encoders.cbr(member)) for name, member in short.items()}
for name, make in (("ResNet-50", torchvision.models.resnet50), ("Inception-v3", torchvision.models.inception_v3)):
    with torch.device("meta"):                                                # shapes without numbers: quick
        network = make(weights=None, **({"init_weights": False} if "Inc" in name else {}))
    counts[name] = count(network) - count(network.fc) - (count(network.AuxLogits) if "Inc" in name else 0)
print(f"{'':<14}{'paper':>12}{'here':>12}{'difference':>12}")
for name, theirs in paper_count.items():
    print(f"{name:<14}{theirs:>12,}{counts[name]:>12,}{counts[name] / theirs - 1:>12.2%}")
assert all(abs(counts[name] / paper_count[name] - 1) < 0.01 for name in short)

# %% [markdown] slideshow={"slide_type": "fragment"}
# The four CBRs agree to a third of a percent. What is left fits a count with one input channel instead of three, and one BatchNorm vector per channel instead of two; that is our guess, from counting. (ResNet-50 and Inception-v3 are counted from torchvision, without classifier and auxiliary head. Inception-v3 differs by more; there are several versions of it.)
#
# **A disagreement inside the paper.** Its text gives CBR-Tiny the channels 64-128-256-512, its Table 1 gives it 1,076,480 parameters. Both cannot be true:

# %% slideshow={"slide_type": "-"}
for channels in ((64, 128, 256, 512), (32, 64, 128, 256)):
    there = count(stack(5, channels, 4))
    print(f"5 × 5, {'-'.join(map(str, channels)):<16}{there:>10,} parameters, {there / 1_076_480:.2f} times Table 1's")

# %% [markdown] slideshow={"slide_type": "fragment"}
# With the text's channels Tiny would have twice the parameters of Small. The table's number needs 32-64-128-256, so that is what `encoders.cbr("tiny")` builds, and what "CBR-Tiny" means below. When paper and paper disagree, say which one you followed.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5 · A tiny network on real X-rays
#
# One million parameters, random weights, a few thousand X-rays of 28 pixels. No ImageNet anywhere.
#
# > **Predict before you run.** The linear model on pixels has its AUC printed in section 3. What will CBR-Tiny reach in less than a minute?

# %% slideshow={"slide_type": "-"}
torch.manual_seed(0)
reader = Supervised(encoders.cbr("tiny"), 2).to(course.device)
history = fit(reader, chest, epochs=course.pick(smoke=1, laptop=8, gpu=20), batch_size=64, lr=0.03,
              weight_decay=1e-4, warmup_epochs=course.pick(smoke=0, laptop=1, gpu=1))
print(history)

def score(method, data):
    """How much speaks for the second class, [N]: the difference of its two scores."""
    with frozen(method):
        return torch.cat([method.logits(x.to(course.device).float() / 255).diff(dim=1)[:, 0].cpu()
                          for x in data.images.split(128)])

def report(name, s, y):
    low, high = auc_interval(auc(s, y), int(y.sum()), int((1 - y).sum()))
    print(f"{name}: AUC {auc(s, y):.3f} (95 % interval for another sample of cases: {low:.3f} to {high:.3f}; "
          f"{int(y.sum())} ill, {int((1 - y).sum())} healthy)")

report("linear on pixels", *scores["X-rays"])
report("CBR-Tiny, random weights", score(reader, chest_test), chest_test.labels)

# %% slideshow={"slide_type": "-"} tags=["claim"]
if course.profile != "smoke" and chest.name == "pneumoniamnist":
    assert auc(score(reader, chest_test), chest_test.labels) >= 0.93
    print("A network with random first weights and a million parameters is enough for these X-rays.")

# %% [markdown] slideshow={"slide_type": "fragment"}
# Two kinds of uncertainty, do not mix them up. The interval above is about **cases**: another few hundred X-rays would give another AUC. The "±" in the paper's tables, and in ours, is about **training**: another seed gives another network. With 624 test cases the first is the larger by far, and no number of seeds makes it smaller. But when two networks are tested on the *same* cases, much of it cancels in the comparison.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6 · Table 1 again: large or tiny, random or transfer?
#
# Each network is trained twice: from **random** weights, and from the weights of a natural-image task (**transfer**; all layers go on learning). For `efficientnet_lite0` that task is ImageNet. For the CBRs and for ResNet-10, which nobody ships, it is CIFAR-10 at 32 pixels, trained here: a smaller teacher than the paper's. Three seeds each.
#
# > **Predict before you run.** (1) Is there a row in which transfer is clearly better? (2) Which wins, 8.5 million parameters or 1.1? (3) Does the better network on the natural task make the better one on the medical task?

# %% slideshow={"slide_type": "-"}
NAMES = {"cbr_large_t": "CBR-LargeT", "cbr_large_w": "CBR-LargeW", "cbr_small": "CBR-Small", "cbr_tiny": "CBR-Tiny",
         "resnet10": "ResNet-10", "efficientnet_lite0": "EfficientNet-Lite0", "resnet18": "ResNet-18",
         "resnet50": "ResNet-50"}

def measured(experiment):
    """The shipped results, else your own, else None and what to run."""
    try:
        found = scoreboard.table(experiment)
    except FileNotFoundError:
        print(f"Not measured yet. To fill this in: python -m course_utils experiment {experiment}")
        return None
    return found if found["own"].all() else found[~found["own"]]

def row_of(results, quantity="AUC", **where):
    """The one row with these values, None where it was not measured."""
    try:
        return None if results is None else scoreboard.select(results, own=results["own"].iloc[0],
                                                              quantity=quantity, **where)
    except KeyError:
        return None

def plus_minus(row, digits=3):
    sd = f" ± {row['sd']:.{digits}f}" if row is not None and row["sd"] == row["sd"] else ""
    return "—" if row is None else f"{row['value']:.{digits}f}{sd}"

# %% slideshow={"slide_type": "-"}
def table_one(results):
    """Architecture × {random, transfer}: AUC ± sd over seeds; a dash where it was not measured."""
    print(f"{'':<20}{'px':>4}{'epochs':>8}  {'random':<16}{'transfer':<16}{'parameters':>12}  source accuracy")
    cells = results[(results["quantity"] == "AUC") & (results["labels"] == results["labels"].max())]
    cells = cells.drop_duplicates(["architecture", "size"])[["architecture", "size", "epochs"]]
    for architecture, size, epochs in cells.itertuples(index=False):
        where = dict(architecture=architecture, size=size, labels=results["labels"].max())
        auc_of = {start: plus_minus(row_of(results, start=start, **where)) for start in ("random", "transfer")}
        natural = plus_minus(row_of(results, "source accuracy", architecture=architecture))
        source = "ImageNet" if architecture == "efficientnet_lite0" or natural == "—" else f"CIFAR-10: {natural}"
        size_of = count(encoders.build({"name": architecture}))
        print(f"{NAMES[architecture]:<20}{size:>4.0f}{epochs:>8.0f}  {auc_of['random']:<16}{auc_of['transfer']:<16}"
              f"{size_of:>12,}  {source}")
    for name in set(NAMES) - set(cells["architecture"]):
        print(f"{NAMES[name]:<20}   —       —  —               —               {'':>12}  not measured in this profile")
    print(scoreboard.caption(results))

retina = measured("transfusion-retina")
if retina is not None:
    table_one(retina)
    print("Empty rows: COURSE_PROFILE=gpu python -m course_utils experiment transfusion-retina")

# %% [markdown] slideshow={"slide_type": "fragment"}
# **Paper versus ours.** Their task is real: retina photographs of 587 × 587 pixels, graded by doctors; test AUC in percent, mean ± sd.
#
# | | random | transfer | parameters | ImageNet top-5 |
# |---|---|---|---|---|
# | ResNet-50 | 96.4 ± 0.05 | 96.7 ± 0.04 | 23,570,408 | 92.0 |
# | Inception-v3 | 96.6 ± 0.13 | 96.7 ± 0.05 | 22,881,424 | 93.9 |
# | CBR-LargeT | 96.2 ± 0.04 | 96.2 ± 0.04 | 8,532,480 | 77.5 |
# | CBR-LargeW | 95.8 ± 0.04 | 95.8 ± 0.05 | 8,432,128 | 75.1 |
# | CBR-Small | 95.7 ± 0.04 | 95.8 ± 0.01 | 2,108,672 | 67.6 |
# | CBR-Tiny | 95.8 ± 0.03 | 95.8 ± 0.01 | 1,076,480 | 73.5 |
#
# Ours is made by code, smaller, and trained briefly. The two can be compared in their *pattern* only: differences along a row, and down a column.

# %% slideshow={"slide_type": "-"}
def verdicts(results):
    """Random against transfer, row by row: a difference only where the intervals over seeds do not touch."""
    full = results[(results["quantity"] == "AUC") & (results["labels"] == results["labels"].max())]
    for (architecture, size), rows in full.groupby(["architecture", "size"], sort=False):
        rows = rows.set_index("start")
        if {"random", "transfer"} <= set(rows.index):
            a, b = rows.loc["random"], rows.loc["transfer"]
            word = "above" if b["low"] > a["high"] else "below" if b["high"] < a["low"] else "not told apart from"
            print(f"{NAMES[architecture]:<20}{size:>4.0f} px: transfer {b['value']:.3f} ({b['low']:.3f} to {b['high']:.3f}) "
                  f"{word} random {a['value']:.3f} ({a['low']:.3f} to {a['high']:.3f})")

if retina is not None:
    verdicts(retina)

# %% slideshow={"slide_type": "-"}
def against_size(results, title):
    """AUC against the number of parameters, with intervals over seeds."""
    full = results[(results["quantity"] == "AUC") & (results["labels"] == results["labels"].max())]
    figure, axis = plt.subplots(figsize=(8, 4))
    for start, color, marker, shift in (("random", plots.ORANGE, "o", 0.96), ("transfer", plots.BLUE, "s", 1.04)):
        rows = full[full["start"] == start]
        size = [count(encoders.build({"name": name})) for name in rows["architecture"]]
        axis.errorbar([n * shift for n in size], rows["value"], ls="", marker=marker, color=color, capsize=3, label=start,
                      yerr=[rows["value"] - rows["low"], rows["high"] - rows["value"]])
    for (name, px), rows in full.groupby(["architecture", "size"]):
        axis.annotate(f"{NAMES[name]}, {px:.0f} px", (count(encoders.build({"name": name})), rows["high"].max()),
                      xytext=(0, 6), textcoords="offset points", ha="center", fontsize=9)
    axis.set(xscale="log", title=title, xlabel="parameters (logarithmic)", ylabel="test AUC")
    axis.margins(0.15)
    axis.legend(title="first weights", loc="upper left", bbox_to_anchor=(1, 1))
    return figure

if retina is not None:
    plots.show(against_size(retina, "Made retina photographs: AUC against size of the network"),
               alt="AUC on made eyes against the number of parameters, from random weights and by transfer, with intervals.")

# %% [markdown] slideshow={"slide_type": "fragment"}
# And the third question: does accuracy on the natural task predict AUC on the medical one? In the paper it does not: CBR-Small is ten points below LargeT on ImageNet, and half a point below on eyes.

# %% slideshow={"slide_type": "-"}
def source_against_target(results):
    """Spearman's rank correlation between source accuracy and AUC by transfer, one dot per network of one size."""
    found = []
    for name in results.loc[results["quantity"] == "source accuracy", "architecture"]:
        size = results.loc[(results["architecture"] == name) & (results["quantity"] == "AUC"), "size"].min()
        target = row_of(results, architecture=name, size=size, start="transfer", labels=results["labels"].max())
        if target is not None:
            source = row_of(results, "source accuracy", architecture=name)["value"]
            found.append((source, target["value"]))
            print(f"{NAMES[name]:<12} CIFAR-10 accuracy {source:.3f}, AUC by transfer {plus_minus(target)} at {size:.0f} px")
    if len(found) > 2:
        a, b = (torch.tensor(v).argsort().argsort().float() for v in zip(*found))
        r = torch.corrcoef(torch.stack([a, b]))[0, 1].item()
        print(f"rank correlation {r:.2f} over {len(found)} networks: far too few for an interval that says anything")

if retina is not None:
    source_against_target(retina)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 7 · What does a transfer transfer?
#
# Even where the final AUC is the same, the way there need not be. The paper found that transfer **learns faster**, and asked why. First the curves: AUC on the validation split, after each epoch.

# %% slideshow={"slide_type": "-"}
def curves(axis, results, architecture, size, starts):
    rows = results[(results["quantity"] == "val AUC") & (results["architecture"] == architecture)
                   & (results["size"] == size)]
    for start, color, marker in zip(starts, plots.COLORS, "os^D"):
        run = rows[rows["start"] == start].sort_values("epoch")
        axis.plot(run["epoch"], run["value"], color=color, marker=marker, label=start)
        axis.fill_between(run["epoch"], run["value"] - run["sd"], run["value"] + run["sd"], color=color, alpha=0.2, lw=0)
        speed = row_of(results, "epochs to 95 %", architecture=architecture, size=size, start=start)
        print(f"{NAMES[architecture]}, {size:.0f} px, {start}: {plus_minus(speed, 1)} epochs to 95 % of the final AUC")
    axis.set(title=f"{NAMES[architecture]}, {size:.0f} px", xlabel="epoch")

STARTS = ("random", "transfer", "mean and variance", "first two blocks")
if retina is not None:
    places = retina[retina["quantity"] == "val AUC"].drop_duplicates(["architecture", "size"])
    places = list(places[["architecture", "size"]].itertuples(index=False))
    figure, axes = plt.subplots(-(-len(places) // 4), min(4, len(places)), figsize=(13, 3.2 * -(-len(places) // 4)),
                                sharey=True, squeeze=False)
    for axis, (architecture, size) in zip(axes.flat, places):
        curves(axis, retina, architecture, size, [s for s in STARTS if row_of(
            retina, "epochs to 95 %", architecture=architecture, size=size, start=s) is not None])
    axes[0, 0].set_ylabel("AUC on val (band: ± sd over seeds)")
    axes[0, 0].legend(fontsize=10, loc="lower right")
    plots.show(figure, alt="Validation AUC against the epoch for each network, from random weights, by transfer and "
                           "from parts of a transfer.")

# %% [markdown] slideshow={"slide_type": "fragment"}
# Two more starts are in the picture, which the slide leaves out and the paper studies.
#
# - **Mean and variance only** (the paper's *Mean Var init*): throw all learned filters away, and keep two numbers of each layer, the mean and the variance of its weights. Draw new random weights with these. No pattern survives, only the *scale*.
# - **First blocks only**: take the first two blocks from the trained network, and everything behind them random.
#
# If the first one learned as fast as a full transfer, then what was transferred was a good scale, and not what a cat looks like.

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 3.4 · Transfer two numbers per layer
# *Difficulty ●●○ · about 15 minutes · 3 points.* **Why it matters:** this is how one separates "the features help" from "the scale of the weights helps". Without such a control you would credit the cats.
#
# For each convolution of `network`, draw new weights from a normal distribution with the mean and the standard deviation of **the same convolution** in `trained` (both networks have the same layers in the same order). Change nothing else: BatchNorm stays as it is in `network`, and `trained` is not touched. Return `network`.

# %% nbgrader={"grade": false, "grade_id": "mean-var-solution", "locked": false, "schema_version": 3, "solution": true, "task": false} slideshow={"slide_type": "skip"}
def mean_var(network, trained):
    """network with convolutions drawn anew, by the statistics of trained's; both nn.Modules of one make"""
    ### BEGIN SOLUTION
    with torch.no_grad():
        for layer, model in zip(network.modules(), trained.modules()):
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_(model.weight.mean().item(), model.weight.std().item())
    return network
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "mean-var-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} slideshow={"slide_type": "skip"}
torch.manual_seed(1)
trained = encoders.cbr("tiny")
with torch.no_grad():
    for i, layer in enumerate(m for m in trained.modules() if isinstance(m, nn.Conv2d)):
        layer.weight.copy_(0.1 * (i + 1) + 0.03 * (i + 1) * (torch.rand_like(layer.weight) - 0.5))  # not normal
    for norm in (m for m in trained.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.weight.fill_(3.0)
before = {key: value.clone() for key, value in trained.state_dict().items()}
mine = mean_var(encoders.cbr("tiny"), trained)
assert mine is not trained, "return the first network, with new weights"
convolutions = [[m.weight for m in net.modules() if isinstance(m, nn.Conv2d)] for net in (mine, trained)]
for i, (new, old) in enumerate(zip(*convolutions), 1):
    off = abs(new.mean() - old.mean()) / old.std()
    assert off < 0.1, f"convolution {i}: its mean is {new.mean():.4f} and should be about {old.mean():.4f}"
    ratio = (new.std() / old.std()).item()
    assert 0.95 < ratio < 1.05, (f"convolution {i}: its standard deviation is {ratio:.3f} times the right one "
                                 "(much too small: the variance was given where the deviation is asked)")
    agree = torch.corrcoef(torch.stack([new.flatten(), old.flatten()]))[0, 1].abs()
    assert agree < 0.1, f"convolution {i}: correlation {agree:.2f} with the trained one: the pattern came along"
assert all(m.weight.mean() == 1 for m in mine.modules() if isinstance(m, nn.BatchNorm2d)), "BatchNorm is not to change"
### BEGIN HIDDEN TESTS
assert all(torch.equal(value, before[key]) for key, value in trained.state_dict().items()), "the trained network was changed"
assert all(p.requires_grad and p.is_leaf for p in mine.parameters()), "the new weights must be trainable"
for new, old in zip(*convolutions):
    ends = torch.tensor([new.min(), new.max()])
    if new.numel() > 10_000:
        assert ((ends - old.mean()).abs() / old.std() > 2.5).all(), "not normal: values were shuffled or drawn evenly"
again = mean_var(encoders.cbr("tiny"), trained)
assert not torch.equal(next(again.parameters()), next(mine.parameters())), "each call draws new weights"
### END HIDDEN TESTS

# %% [markdown] slideshow={"slide_type": "skip"}
# <details><summary>Hint: the mean is right for the first convolution only</summary>
#
# Walk through both networks side by side: `for layer, model in zip(network.modules(), trained.modules())`, and skip what is no `nn.Conv2d`. Inside `torch.no_grad()`, `layer.weight.normal_(mean, std)` draws in place. `std` is the standard deviation, not the variance.
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 8 · Table 2 again: chest X-rays
#
# The same on real images: PneumoniaMNIST, children's X-rays at 28 × 28, all rows on the same test cases.
#
# > **Predict before you run.** Section 5 had one tiny network from random weights. Who can beat it?

# %% slideshow={"slide_type": "-"}
pneumonia = measured("transfusion-chest")
if pneumonia is not None:
    table_one(pneumonia)
    print("Empty rows: COURSE_PROFILE=gpu python -m course_utils experiment transfusion-chest")
    verdicts(pneumonia)
    plots.show(against_size(pneumonia, "Chest X-rays (PneumoniaMNIST): AUC against size of the network"),
               alt="AUC on chest X-rays against the number of parameters, from random weights and by transfer.")

# %% [markdown] slideshow={"slide_type": "fragment"}
# The slide's table has five pathologies, from the CheXpert set, which needs a registration and a data agreement. `chestmnist` has the same five labels (of fourteen) at 28 pixels and can be downloaded. Where nobody has, its columns stay empty:

# %% slideshow={"slide_type": "-"}
PATHOLOGIES = ("atelectasis", "cardiomegaly", "consolidation", "edema", "effusion")
paper_two = {"cbr_large_t, random": (81.52, 74.83, 88.12, 87.97, 88.37), "transfer ": (80.89, 76.84, 86.15, 89.03, 88.44),
             "cbr_large_w, random": (79.79, 74.63, 86.71, 84.80, 86.53), "transfer  ": (80.70, 77.23, 86.87, 89.57, 87.29),
             "cbr_small, random": (80.43, 74.36, 88.07, 86.20, 86.14), "transfer   ": (80.18, 75.24, 86.48, 89.09, 87.88),
             "cbr_tiny, random": (80.81, 75.17, 85.31, 84.87, 85.56), "transfer    ": (80.02, 75.74, 84.28, 89.81, 87.69)}
five = measured("transfusion-chestmnist")
print(f"{'AUC in percent':<22}{'':<7}" + "".join(f"{name:>15}" for name in PATHOLOGIES))
for key, theirs in paper_two.items():
    architecture = key.split(",")[0] if "," in key else architecture
    start = "random" if "random" in key else "transfer"
    ours = [row_of(five, architecture=architecture, start=start, diagnosis=name) for name in PATHOLOGIES]
    print(f"{NAMES[architecture]:<12}{start:<10}paper  " + "".join(f"{value:>15.2f}" for value in theirs))
    print(f"{'':<22}ours   " + "".join(f"{'—' if row is None else f'{100 * row.value:.2f} ± {100 * row.sd:.2f}':>15}"
                                       for row in ours))

# %% [markdown] slideshow={"slide_type": "fragment"}
# The same for real eyes: `python -m course_utils experiment transfusion-retinamnist` measures RetinaMNIST (1,080 training photographs at 28 pixels) where it can be downloaded.

# %% slideshow={"slide_type": "-"}
real_eyes = measured("transfusion-retinamnist")
if real_eyes is not None:
    table_one(real_eyes)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 9 · Much higher resolution than ImageNet
#
# The figure on the slide says it: fundus photographs and X-rays "have much higher resolution". They need it. Here is one made eye at three resolutions, and its microaneurysms are the smallest thing a doctor would look for.

# %% slideshow={"slide_type": "-"}
sizes = (32, 64, 128)
same = [fundus.generate("test", n=8, size=size, prevalence=1.0).images[3] for size in sizes]
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6))
for axis, picture, size in zip(axes, same, sizes):
    axis.imshow(picture.permute(1, 2, 0), interpolation="nearest")
    radius = 0.016 * size / 2
    axis.set_title(f"{size} px: a microaneurysm is {2 * radius:.1f} px wide", fontsize=12)
    axis.axis("off")
plots.show(figure, alt="The same made eye at 32, 64 and 128 pixels. At 32 the small lesions are a faint smudge.")

# %% slideshow={"slide_type": "-"}
by_size = {} if retina is None else {
    int(size): row_of(retina, architecture="resnet10", start="random", size=size, labels=retina["labels"].max())
    for size in sorted(retina.loc[retina["architecture"] == "resnet10", "size"].dropna().unique())}
for size, row in by_size.items():
    print(f"ResNet-10 from random weights, {size} px: AUC {scoreboard.cite(retina, own=row['own'], architecture='resnet10', start='random', size=size, labels=row['labels'], quantity='AUC')}")
if len(by_size) > 1:
    figure, axis = plt.subplots(figsize=(6, 3.4))
    value, low, high = ([row[key] for row in by_size.values()] for key in ("value", "low", "high"))
    axis.errorbar(list(by_size), value, yerr=[[v - l for v, l in zip(value, low)], [h - v for h, v in zip(high, value)]],
                  marker="o", color=plots.BLUE, capsize=4)
    axis.set(title="The same eyes, the same network, more pixels", xlabel="side of the image in pixels", ylabel="test AUC",
             xticks=list(by_size))
    plots.show(figure, alt="AUC of ResNet-10 on made eyes against the resolution.")

# %% [markdown] slideshow={"slide_type": "fragment"}
# An honest note on 32 pixels: a lesion that is smaller than a pixel does not vanish, it makes one pixel a little darker. Code draws it so, and a good lens does too. What limits the network then is contrast against noise.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 10 · Few labels
#
# So far all labels were used: thousands. In medicine a label costs minutes of a specialist. With a tenth of them, or a fiftieth, does transfer help?
#
# > **Predict before you run.** In the paper transfer helped ResNet-50 when there were 5,000 training images, and helped CBRs hardly at all. For which of our two ends, CBR-Tiny (CIFAR-10) and EfficientNet-Lite0 (ImageNet), will it help more?

# %% slideshow={"slide_type": "-"}
def few_labels(axis, results, architecture):
    rows = results[(results["quantity"] == "AUC") & (results["architecture"] == architecture)]
    rows = rows[rows["size"] == rows.loc[rows["labels"] < results["labels"].max(), "size"].max()]
    for start, color, marker in (("random", plots.ORANGE, "o"), ("transfer", plots.BLUE, "s")):
        run = rows[rows["start"] == start].sort_values("labels")
        axis.errorbar(run["labels"], run["value"], yerr=run["sd"], marker=marker, color=color, capsize=3, label=start)
        print(f"{NAMES[architecture]}, {start}: " + ", ".join(f"{plus_minus(row)} with {row['labels']:,.0f} labels"
                                                              for _, row in run.iterrows()))
    axis.set(xscale="log", title=NAMES[architecture], xlabel="labelled images (logarithmic)", ylim=(0.4, 1))
    axis.axhline(0.5, color=plots.BLACK, ls=":", lw=1)

tasks = {"made eyes": retina, "chest X-rays": pneumonia}
tasks = {name: results for name, results in tasks.items() if results is not None}
for task, results in tasks.items():
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True)
    for axis, architecture in zip(axes, ("cbr_tiny", "efficientnet_lite0")):
        few_labels(axis, results, architecture)
    axes[0].set_ylabel(f"AUC on {task}, ± sd")
    axes[0].legend(title="first weights")
    plots.show(figure, alt=f"AUC on {task} against the number of labels, random weights and transfer, for CBR-Tiny "
                           "and EfficientNet-Lite0. Dotted: guessing.")
if not tasks:
    print("Not measured yet: see sections 6 and 8 for the two commands.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 11 · How small a lesion can a model see?
#
# Three models that look at the same eye: a linear model on **pixels**; a linear probe on **ImageNet features**, frozen; and **CBR-Tiny**, trained on these eyes. Each gets its own scale, so we ask each the same question: *which share of healthy eyes has a lower score than this one?* Guessing gives 50 % on average. (The mean of this share over the ill eyes **is** the AUC.)

# %% slideshow={"slide_type": "-"}
try:
    card = checkpoints.load("cbr_tiny-fundus")
    tiny = nn.Module()
    tiny.encoder, tiny.head = card.encoder.to(course.device), card.head.to(course.device)
    tiny.logits = lambda x: tiny.head(tiny.encoder(x))
    print(f"CBR-Tiny: shipped, trained on {card.card['images']:,} made eyes for {card.card['epochs_run']} epochs")
except checkpoints.CheckpointError:
    print("no shipped weights: a short training now (python -m course_utils pretrain cbr_tiny fundus --epochs 12)")
    torch.manual_seed(0)
    tiny = Supervised(encoders.cbr("tiny"), 2).to(course.device)
    fit(tiny, eyes, epochs=course.pick(smoke=1, laptop=6, gpu=12), batch_size=64, lr=0.05, weight_decay=1e-4)

# %% slideshow={"slide_type": "-"}
pooled = lambda data: nn.functional.adaptive_avg_pool2d(data.float_images(), 16).flatten(1)
bank = eyes[:course.pick(smoke=100, laptop=1_000, gpu=4_000)]
probes = {}
for name, f in (("pixels", pooled), ("ImageNet features", imagenet_features)):
    z_bank = f(bank)
    probes[name] = (f, linear_probe(z_bank, bank.labels, z_bank, bank.labels, l2=0.3))
models = {name: (lambda data, f=f, probe=probe: probe.scores(f(data)).diff(dim=1)[:, 0])
          for name, (f, probe) in probes.items()}
models["CBR-Tiny"] = lambda data: score(tiny, data)
seen = {name: model(eyes_test) for name, model in models.items()}
healthy = {name: s[eyes_test.labels == 0] for name, s in seen.items()}
for name, s in seen.items():
    report(f"{name:<18}", s, eyes_test.labels)

# %% slideshow={"slide_type": "-"} tags=["claim"]
for name, s in seen.items():
    percentile = torch.stack([(healthy[name] < v).double().mean() + (healthy[name] == v).double().mean() / 2
                              for v in s[eyes_test.labels == 1]])
    assert abs(percentile.mean().item() - auc(s, eyes_test.labels)) < 1e-6
if course.profile != "smoke":
    assert auc(seen["pixels"], eyes_test.labels) < 0.65 < auc(seen["CBR-Tiny"], eyes_test.labels)
print("The mean share of healthy eyes below an ill one is the AUC.")

# %% slideshow={"slide_type": "-"}
def look(lesion_size=1.0, lesion_contrast=0.6, eye=4):
    data = fundus.generate("val", n=1, prevalence=1.0, seed=eye, lesion_size=lesion_size,
                           lesion_contrast=lesion_contrast)
    share = [(healthy[name] < model(data)).float().mean().item() for name, model in models.items()]
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(3.2, 4.4), height_ratios=(2, 1))
    top.imshow(data.images[0].permute(1, 2, 0), interpolation="nearest")
    top.axis("off")
    top.set_title(f"size {lesion_size:.1f}, contrast {lesion_contrast:.1f}", fontsize=13)
    bottom.barh(list(models), share, color=[plots.SKY, plots.ORANGE, plots.BLUE])
    bottom.axvline(0.5, color=plots.BLACK, ls=":", lw=1)
    bottom.set(xlim=(0, 1), xlabel="share of healthy eyes below")
    bottom.invert_yaxis()
    return figure

plots.show(widgets.small_multiples(look, lesion_contrast=[0.2, 0.8], lesion_size=[0.5, 1.0, 2.0]),
           alt="One made eye with lesions of three sizes and two contrasts, and under each the share of healthy eyes "
               "with a lower score, for pixels, ImageNet features and CBR-Tiny.")

# %% slideshow={"slide_type": "skip"}
widgets.panel(look, lesion_size=widgets.slider(0.2, 3.0, 1.0, step=0.1),
              lesion_contrast=widgets.slider(0.0, 1.0, 0.6, step=0.05), eye=widgets.slider(0, 30, 4))

# %% [markdown] slideshow={"slide_type": "fragment"}
# Take the contrast to zero: now the eye *is* healthy, and what is left is what the model makes of its vessels and its pigment. Then bring size and contrast up, and see when each model notices. Try several eyes before you believe a story.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 12 · Scoreboard
#
# Nothing new joins the CIFAR-10 chart in this notebook: it asked whether the bars of notebook 02 carry over to other images. Here it is again, to compare with.

# %% slideshow={"slide_type": "-"}
board = scoreboard.table("scoreboard-cifar10")
plots.show(plots.scoreboard(board, notebook=3),
           alt="Bars of kNN, linear probe and ten-label accuracy on CIFAR-10 for pixels, a random network, a small "
               "supervised network and ImageNet features.")
print(scoreboard.caption(board))

# %% [markdown] slideshow={"slide_type": "fragment"}
# And the lecture's three images, under a network that has seen nothing but X-rays (section 5). It was never told about cats; a title that names the right pair would be luck, and one that names the wrong pair is no shame.

# %% slideshow={"slide_type": "-"}
plots.show(plots.three_images(lambda x: features(reader.encoder, x), name="trained on X-rays"),
           alt="Three pictures and their distances under a network that was trained on chest X-rays alone.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 13 · Discuss: not all images are labelled
#
# 1. *Can we still learn good image representations?* A hospital has a million photographs of eyes and a thousand grades. What would you do with the million?
# 2. Notebook 04 will turn images by a quarter and ask "by how much?". Would that teach a network anything about lesions?
# 3. SimCLR (notebook 06) teaches a network to ignore crops and colours. Which of these changes could remove the very thing that the label depends on?
# 4. Your network reaches an AUC of 0.97 on X-rays from one hospital. Name three reasons why it may fail in the next one.
# 5. The table compares networks on the *same* test cases. Why is that worth more than two intervals side by side?

# %% [markdown] slideshow={"slide_type": "notes"} tags=["instructor"]
# **Instructor notes.** (1) The bridge to notebook 04: a task whose answers come with the images. The loop is closed in notebook 07, with SimCLR on unlabelled `fundus` (`experiment fundus-ssl`). (2) Little: disc and macula answer it (shown in notebook 04, section 8). (3) Crops that cut lesions away, colour jitter that hides them, blur. (4) Another camera or scanner, another prevalence and
# another mix of severities, marks that only one hospital's images carry, other labels; children here, adults there. (5) Paired: hard cases are hard for both, and that part cancels. Minute plan for 80 minutes: section 1 8', 2 8', 3 15' (one exercise in class), 4 8', 5 7', 6 12', 7 10', 8 5', 9 and 10 5', 11 with the panel 8'. If a table says "not measured yet", run its command the night before: sections 6 and 8 take an hour each on one core.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 14 · Recap
#
# - Medical images are another kind of image: they huddle together in ImageNet's feature space, and a few pixels carry the label.
# - Measure with AUC, and say whether an interval is about cases or about seeds. Accuracy rewards silence where illness is rare; a good AUC does not yet make a useful test.
# - Size and first weights are separate questions, and each needs its own control. Read the answers off the tables of sections 6 and 8, ties included.
# - Part of what transfers is scale, not pictures: two numbers per layer are the control.
# - All of this needed labels. **Most medical images have none.**
#
# **Next:** notebook 04 learns from images without a single label.
#
# **References.** Raghu, Zhang, Kleinberg & Bengio 2019, *Transfusion: Understanding Transfer Learning for Medical Imaging*. Hanley & McNeil 1982, *The Meaning and Use of the Area under a ROC Curve*. Newcombe 2006, *Confidence intervals for an effect size measure based on the Mann–Whitney statistic*.
# Yang et al. 2023, *MedMNIST v2*. Kermany et al. 2018, *Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep Learning* (the pneumonia images). Irvin et al. 2019, *CheXpert*. Gulshan et al. 2016, *Development and Validation of a Deep Learning Algorithm for Detection of Diabetic Retinopathy in Retinal Fundus Photographs*. He, Girshick & Dollár 2019, *Rethinking ImageNet Pre-training*.
