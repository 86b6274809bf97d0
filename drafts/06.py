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
# # 06 · SimCLR
#
# **Which function $f(x)$ puts images of the same thing close together?** Notebook 05 asked for it directly, three images at a time, and had to dig for hard negatives. SimCLR asks *every* view of a batch at once: **which of all these is the other view of my image?**
#
# | | |
# |---|---|
# | You will | write NT-Xent from Algorithm 1, compare it with the losses it beat, turn its temperature, grow its batch, throw its head away, and see what its features are worth |
# | You need | notebook 05 (views, positives, negatives, margin); cross-entropy |
# | Slides | *SimCLR: A Simple Contrastive Learning Framework* · *Augmentations* · *Loss* · *Algorithm* · *Comparison of Loss Functions* · *Results* · *Effect of Projection Head* · *Impact of Loss Function* · *Impact of Batch Size* |
# | Time to run | about three minutes on a laptop; to work through, about 90 minutes with the exercises |
#
# Helpers come from `course_utils`. What this notebook is about (views, the loss, its gradient, the temperature) is written out here.

# %% slideshow={"slide_type": "skip"} tags=["setup"]
import itertools
import math

import pandas
import skimage.data
import torch
from matplotlib import pyplot as plt
from torch import nn
from torch.nn import functional as F

from course_utils import augment, checkpoints, datasets, encoders, losses, methods, plots, scoreboard, setup, widgets
from course_utils.evaluation import (alignment, contrastive_statistics, features, frozen, knn_accuracy, linear_probe,
                                     nearest_neighbors, uniformity)
from course_utils.training import fit

course = setup(seed=0)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1 · Two views of one image
#
# Take an image and change it at random, twice. The two results are **views** of it: other pixels, same thing. Two views of one image are a **positive pair**. Views of different images are **negatives**.
# (Two different photographs of cats are negatives, too. Without labels nobody can tell.)

# %% slideshow={"slide_type": "-"}
train = course.natural_images("train", limit=course.pick(smoke=600, laptop=5_000, gpu=10_000))
test = course.natural_images("test", limit=course.pick(smoke=300, laptop=2_000, gpu=10_000))
print(f"images: {train.source}; {len(train):,} to train probes on, {len(test):,} to test")
size = train.images.shape[-1]
make_view = nn.Sequential(augment.RandomResizedCrop(size, scale=(0.2, 1.0)), augment.RandomHorizontalFlip(),
                          augment.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8), augment.RandomGrayscale(0.2))

# %% slideshow={"slide_type": "-"}
some = test[torch.stack([(test.labels == c).nonzero()[i, 0] for c, i in
                         ((1, 3), (5, 1), (7, 8), (8, 2), (3, 4), (0, 5), (6, 2), (9, 1))])]
images = some.float_images()                                                    # [8, 3, 32, 32]
torch.manual_seed(2)
rows = {"image": images, "one view": make_view(images), "the other": make_view(images)}
figure, axis = plt.subplots(figsize=(11, 4.4))
centres = plots.montage(axis, torch.cat(list(rows.values())), columns=8).reshape(3, 8, 2)
for name, row in zip(rows, centres):
    axis.text(-2, row[0, 1], name, ha="right", va="center", fontsize=13)
axis.set_title("Eight images, and two views of each", fontsize=14)
plots.show(figure, alt="Eight photographs in a row; below each, two random views of it: cropped, mirrored, in "
                       "other colours, some grey.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2 · Ten pictures of one cat
#
# The slide's figure shows the operations that SimCLR's authors tried. Here they are on a photograph: (a) the original, (b) crop and resize, (c) the same with a mirror, (d) colours dropped, (e) colours jittered, (f) a quarter turn, (g) cutout,
# (h) noise, (i) blur, (j) the edges that a Sobel filter finds.

# %% slideshow={"slide_type": "-"}
photo = torch.tensor(skimage.data.chelsea()).permute(2, 0, 1)[None]             # [1, 3, 300, 451] uint8
photo = datasets.resize_square(photo, 96).float() / 255                        # [1, 3, 96, 96]

def crop(x, s):
    return augment.RandomResizedCrop(96, scale=(1 - 0.92 * s, 1.0))(x)

operations = {  # each at strength s in [0, 1], with random parameters
    "crop, resize": crop,
    "crop, resize, flip": lambda x, s: augment.RandomHorizontalFlip()(crop(x, s)),
    "colours dropped": lambda x, s: torch.lerp(x, augment.to_grayscale(x, True), s),
    "colours jittered": lambda x, s: augment.ColorJitter(0.8 * s, 0.8 * s, 0.8 * s, 0.2 * s)(x),
    "quarter turns": lambda x, s: augment.RandomRotation90()(x),
    "cutout": lambda x, s: augment.Cutout(s)(x),
    "Gaussian noise": lambda x, s: augment.GaussianNoise((0.4 * s, 0.4 * s))(x),
    "Gaussian blur": lambda x, s: augment.gaussian_blur(x, 0.1 + 4 * s),
    "Sobel filter": lambda x, s: torch.lerp(x, augment.sobel(x), s),
    "all of SimCLR": lambda x, s: augment.simclr_augment(96, strength=s)(x)}

# %% slideshow={"slide_type": "-"}
torch.manual_seed(5)
nine = list(operations)[:9]
strengths = dict.fromkeys(nine, 0.6) | {"colours dropped": 1.0, "Sobel filter": 1.0, "cutout": 0.4}
pictures = torch.cat([photo] + [operations[name](photo, strengths[name]) for name in nine])
titles = [f"({letter}) {name}" for letter, name in zip("abcdefghij", ["original", *nine])]
plots.show(plots.image_row(pictures, titles, columns=5, size=1.8),
           alt="A photograph of a cat and nine changed versions of it: cropped, mirrored, grey, in false colours, "
               "turned, with a black square, noisy, blurred, and as edges.")

# %% [markdown] slideshow={"slide_type": "fragment"}
# > **Predict before you run.** You may use two of these operations to make views, and a network must learn *what is in the picture* from them. Which two? Write them down; section 12 has the measured answer.
#
# Explore: every operation with its strength, and the probability with which it is applied to each of two views.

# %% slideshow={"slide_type": "-"}
def explore(operation="all of SimCLR", strength=0.6, probability=1.0, draw=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw)
        both = photo.repeat(2, 1, 1, 1)                                         # one row for each view
        changed = operations[operation](both, strength)
        applied = (torch.rand(2, 1, 1, 1) < probability)
        views = torch.where(applied, changed, both)
    distance = (views[0] - views[1]).square().mean().sqrt()
    figure = plots.image_row(torch.cat([photo, views]), ["image", "view 1", "view 2"], size=1.5)
    figure.suptitle(f"{operation}, strength {strength:.1f}: pixels differ by {distance:.2f}", fontsize=12)
    return figure

plots.show(widgets.small_multiples(explore, strength=[0.3, 0.9]),
           alt="The cat and two views of it by SimCLR's recipe, weak in the first row, strong in the second.")

# %% slideshow={"slide_type": "skip"}
widgets.panel(explore, operation=widgets.choice(list(operations), "all of SimCLR"),
              strength=widgets.slider(0.0, 1.0, 0.6, 0.1), probability=widgets.slider(0.0, 1.0, 1.0, 0.1),
              draw=widgets.slider(0, 20, 0))

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3 · Encoder and projection head
#
# $$x \;\xrightarrow{\;t \sim \mathcal{T}\;}\; \tilde{x} \;\xrightarrow{\;f\;}\; h \;\xrightarrow{\;g\;}\; z$$
#
# $t$ is a random augmentation, $f$ the **encoder** (any network), $h = f(\tilde{x})$ the feature vector that we are after. $g$ is the **projection head**, a small network, and $z = g(h)$ its output. The loss sees only $z$. After training $g$ is thrown away. (Why train something
# to throw it away? Section 11.)

# %% slideshow={"slide_type": "-"} tags=["nbval-check-output"]
torch.manual_seed(0)
f = encoders.resnet10("fast")                                # a small ResNet
g = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 128))
h = f(make_view(images))
z = g(h)
print(f"views {list(images.shape)}  →  h {list(h.shape)}  →  z {list(z.shape)}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4 · Algorithm 1
#
# The loss compares by **cosine similarity** $s_{i,j} = z_i^\top z_j / (\lVert z_i \rVert \lVert z_j \rVert)$. A batch of $N$ images gives $2N$ views. Each view $i$ asks: which of the other $2N - 1$ is my partner $j$? The answer is scored by cross-entropy,
# sharpened by a **temperature** $\tau$:
#
# $$\ell(i, j) = -\log \frac{\exp(s_{i,j} / \tau)}{\sum_{k \neq i} \exp(s_{i,k} / \tau)}, \qquad \mathcal{L} = \frac{1}{2N} \sum_{k=1}^{N} \big[\ell(2k-1, 2k) + \ell(2k, 2k-1)\big].$$
#
# This is **NT-Xent**, *normalised temperature-scaled cross-entropy*. First exactly as the slide has it, loops and all. (Python counts from 0, so the pairs are $2k$ and $2k + 1$.)

# %% slideshow={"slide_type": "-"}
def algorithm_1(z, temperature):
    """The loss of the slide. z: [2N, D]; rows 2k and 2k + 1 are the two views of image k"""
    n = len(z) // 2
    s = [[z[i] @ z[j] / (z[i].norm() * z[j].norm()) for j in range(2 * n)] for i in range(2 * n)]

    def l(i, j):
        numerator = torch.exp(s[i][j] / temperature)
        denominator = sum(torch.exp(s[i][k] / temperature) for k in range(2 * n) if k != i)
        return -torch.log(numerator / denominator)

    return sum(l(2 * k, 2 * k + 1) + l(2 * k + 1, 2 * k) for k in range(n)) / (2 * n)

# %% [markdown] slideshow={"slide_type": "fragment"}
# The course's `losses.nt_xent(z1, z2)` takes the first views and the second views separately. Same value, same gradient:

# %% slideshow={"slide_type": "-"} tags=["nbval-check-output"]
torch.manual_seed(0)
z1, z2 = torch.randn(2, 6, 16, dtype=torch.float64, requires_grad=True).unbind()        # six images
alternating = torch.stack([z1, z2], dim=1).flatten(0, 1)                                # 1st, 1st, 2nd, 2nd, …
for temperature in (0.1, 0.5, 1.0):
    slow, fast = algorithm_1(alternating, temperature), losses.nt_xent(z1, z2, temperature)
    torch.testing.assert_close(slow, fast)
    for ours, theirs in zip(*(torch.autograd.grad(loss, (z1, z2), retain_graph=True) for loss in (slow, fast))):
        torch.testing.assert_close(ours, theirs)
print("Algorithm 1 and losses.nt_xent agree, in value and gradient")

# %% [markdown] slideshow={"slide_type": "slide"}
# Why not train with Algorithm 1 as it stands? It has $4N^2$ turns of a Python loop. And it is fragile: `exp` overflows.

# %% slideshow={"slide_type": "-"} tags=["nbval-check-output"]
twins = torch.eye(4).repeat_interleave(2, dim=0)                    # float32, both views of an image alike
for temperature in (0.5, 0.05, 0.01):
    print(f"τ = {temperature}: Algorithm 1 {algorithm_1(twins, temperature).item():.4f}, "
          f"losses.nt_xent {losses.nt_xent(torch.eye(4), torch.eye(4), temperature).item():.4f}")

# %% [markdown] slideshow={"slide_type": "fragment"}
# $e^{1/0.01} = e^{100}$ is more than float32 can hold, and infinity divided by infinity is *not a number*. `F.cross_entropy` computes the same thing by `logsumexp`, which takes the largest term out first and never overflows.
#
# To use it, see the loss for what it is: **a classification problem with $2N$ rows, in which the right class of a row is a column number.** Lay all first views above all second views. Then the partner of row $i$ is row $i + N$, and the other way round.

# %% slideshow={"slide_type": "-"}
def similarity_matrix(z1, z2):
    """Cosine of every view with every view, [2N, 2N]: first views, then second views."""
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    return z @ z.T

torch.manual_seed(1)
anchor = torch.randn(6, 16)
s = similarity_matrix(anchor, anchor + 0.6 * torch.randn(6, 16))
figure, axis = plt.subplots(figsize=(5.6, 4.8))
picture = axis.imshow(s, cmap="cividis", vmin=-1, vmax=1)
for i in range(12):
    axis.text(i, i, "×", ha="center", va="center", fontsize=13)
    axis.add_patch(plt.Rectangle(((i + 6) % 12 - 0.5, i - 0.5), 1, 1, fill=False, lw=3, ec=plots.VERMILION))
figure.colorbar(picture, label="cosine similarity")
axis.set(title="Six images: × is never asked, framed is right", xlabel="candidate (column)", ylabel="view (row)",
         xticks=range(12), yticks=range(12))
plots.show(figure, alt="A twelve by twelve matrix of similarities. The diagonal is crossed out; in each row the "
                       "column of the other view, six to the right or left, is framed and brighter than the rest.")

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6.1 · NT-Xent in five lines
# *Difficulty ●●○ · about 15 minutes · 3 points.* **Why it matters:** this is the loss of half of all self-supervised papers. With index targets it is short, fast and safe; with `exp` and `log` by hand it is none of these.
#
# Write NT-Xent with `F.cross_entropy`. No loop, no `exp`, no `log`. It must work at τ = 0.01 in float32.

# %% nbgrader={"grade": false, "grade_id": "nt-xent-solution", "locked": false, "schema_version": 3, "solution": true, "task": false} slideshow={"slide_type": "skip"}
def my_nt_xent(z1, z2, temperature=0.5):
    """SimCLR's loss, a scalar. z1, z2: [N, D], row i of both belongs to image i; not normalised"""
    ### BEGIN SOLUTION
    z = F.normalize(torch.cat([z1, z2]), dim=1)                                 # [2N, D]
    logits = z @ z.T / temperature                                              # [2N, 2N]
    logits = logits.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -math.inf)
    partner = torch.arange(len(z), device=z.device).roll(len(z1))
    return F.cross_entropy(logits, partner)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "nt-xent-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} slideshow={"slide_type": "skip"}
torch.manual_seed(0)
z1, z2 = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True).unbind()
mine, slow = my_nt_xent(z1, z2, 0.3), algorithm_1(torch.stack([z1, z2], dim=1).flatten(0, 1), 0.3)
assert mine.shape == (), f"the loss is one number, got shape {list(mine.shape)}"
assert abs(mine - slow) < 1e-6, (
    f"{mine.item():.4f} is not Algorithm 1's {slow.item():.4f}. Normalised each row? Diagonal out of the sum? "
    "Both directions? Divided by τ?")
gradients = [torch.autograd.grad(loss, (z1, z2), retain_graph=True, allow_unused=True) for loss in (mine, slow)]
assert all(m is not None for m in gradients[0]), "both views need a gradient: nothing may be detached"
for m, s in zip(*gradients):
    torch.testing.assert_close(m, s, msg="the value is right, the gradient is not: is something detached?")
### BEGIN HIDDEN TESTS
for n, temperature in ((2, 0.5), (9, 0.05), (33, 1.0)):
    a, b = torch.randn(2, n, 4).unbind()
    torch.testing.assert_close(my_nt_xent(a, b, temperature), losses.nt_xent(a, b, temperature))
sharp = torch.eye(6, requires_grad=True)
cold = my_nt_xent(sharp, torch.eye(6), 0.01)
assert torch.isfinite(cold), f"{cold.item()} at τ = 0.01: exp(100) does not fit into float32"
assert torch.isfinite(torch.autograd.grad(cold, sharp)[0]).all(), "the gradient at τ = 0.01 is not finite"
kept = z1.detach().clone()
my_nt_xent(kept, z2.detach())
assert torch.equal(kept, z1.detach()), "the caller's tensors were changed"
### END HIDDEN TESTS

# %% [markdown] slideshow={"slide_type": "skip"}
# <details><summary>Hint: the value is a little too large</summary>
#
# Is the diagonal still in the sum? A view is perfectly similar to itself, $e^{1/\tau}$ in the denominator. Set those entries to $-\infty$ *before* the cross-entropy: $e^{-\infty} = 0$. (Zero will not do: $e^0 = 1$.)
# </details>

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6.2 · Why are all labels zero?
# *Difficulty ●●○ · about 10 minutes · 2 points.* **Why it matters:** that is what students ask most about contrastive code. Many programs sort the positive into column 0 of every row, so that every "label" is 0. Nothing is wrong with that, but it hides the idea:
# **a target says in which column the partner stands**, and where that is depends only on how the views were laid out.
#
# `image[i]` says from which image view `i` was made; every image occurs exactly twice, in any order. Return for each view the position of its partner.

# %% nbgrader={"grade": false, "grade_id": "partner-solution", "locked": false, "schema_version": 3, "solution": true, "task": false} slideshow={"slide_type": "skip"}
def partner(image):
    """int64 [M]: the position of the other view of the same image. image: int64 [M]"""
    ### BEGIN SOLUTION
    same = image[:, None] == image                                              # [M, M]
    same.fill_diagonal_(False)                                                  # nobody is his own partner
    return same.int().argmax(dim=1)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "partner-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} slideshow={"slide_type": "skip"}
stacked, alternate = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 0, 1, 1, 2, 2])
found = partner(stacked)
assert found.shape == (6,) and found.dtype == torch.int64, "one whole number (int64) for each view"
assert found.tolist() == [3, 4, 5, 0, 1, 2], f"first views above second views: got {found.tolist()}"
assert partner(alternate).tolist() == [1, 0, 3, 2, 5, 4], f"pairs side by side: got {partner(alternate).tolist()}"
### BEGIN HIDDEN TESTS
for seed in range(5):
    mixed = torch.randperm(40, generator=torch.Generator().manual_seed(seed)) // 2 - 3
    j = partner(mixed)
    assert torch.equal(mixed[j], mixed), "a partner comes from the same image"
    assert not (j == torch.arange(40)).any(), "a view is not its own partner"
order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
views, names = torch.randn(10, 4), torch.arange(5).repeat(2)
logits = (F.normalize(views) @ F.normalize(views).T / 0.2).fill_diagonal_(-math.inf)
shuffled = logits[order][:, order]
torch.testing.assert_close(F.cross_entropy(shuffled, partner(names[order])), F.cross_entropy(logits, partner(names)))
### END HIDDEN TESTS

# %% [markdown] slideshow={"slide_type": "skip"}
# <details><summary>Hint: every view is its own partner</summary>
#
# `image[:, None] == image` is true on the diagonal as well, and `argmax` returns the *first* of several largest values. Set the diagonal to `False`.
# </details>

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6.3 · Two numbers to know before you train
# *Difficulty ●○○ · about 10 minutes · 2 points.* **Why it matters:** a loss curve means little without landmarks. One number says *collapsed*, another says *about as good as it gets*.
#
# Give the value of NT-Xent for a batch of $N$ images, by a formula and without a tensor, when
#
# 1. the network has **collapsed**: all $2N$ embeddings are equal;
# 2. the embedding is **orthogonal**: partners are equal (cosine 1), and any two views of different images are orthogonal (cosine 0).

# %% nbgrader={"grade": false, "grade_id": "landmarks-solution", "locked": false, "schema_version": 3, "solution": true, "task": false} slideshow={"slide_type": "skip"}
def landmarks(n, temperature):
    """(collapsed, orthogonal): NT-Xent's value in the two cases, floats. n: images in the batch"""
    ### BEGIN SOLUTION
    collapsed = math.log(2 * n - 1)                                  # a guess among 2n - 1 equal candidates
    orthogonal = math.log1p((2 * n - 2) * math.exp(-1 / temperature))
    return collapsed, orthogonal
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "landmarks-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} slideshow={"slide_type": "skip"}
collapsed, orthogonal = landmarks(8, 0.5)
equal = losses.nt_xent(torch.ones(8, 3), torch.ones(8, 3), 0.5).item()
assert abs(collapsed - equal) < 1e-4, (
    f"collapsed: {collapsed:.3f}, but eight images with equal embeddings have loss {equal:.3f}. How many candidates?")
apart = losses.nt_xent(torch.eye(8), torch.eye(8), 0.5).item()
assert abs(orthogonal - apart) < 1e-4, (
    f"orthogonal: {orthogonal:.3f}, but eight orthogonal pairs have loss {apart:.3f}. One candidate has cosine 1, "
    "how many have cosine 0?")
### BEGIN HIDDEN TESTS
for n, temperature in ((2, 1.0), (64, 0.2), (256, 0.1)):
    collapsed, orthogonal = landmarks(n, temperature)
    right = [losses.nt_xent(z, z, temperature).item() for z in (torch.ones(n, 2), torch.eye(n))]
    assert abs(collapsed - right[0]) < 1e-3, f"{n} images, τ = {temperature}: collapsed is {right[0]:.3f}"
    assert abs(orthogonal - right[1]) < 1e-3, f"{n} images, τ = {temperature}: orthogonal is {right[1]:.3f}"
assert landmarks(8, 0.001)[1] < 1e-6, "at τ = 0.001 the second number is practically 0"
assert landmarks(8, 0.1)[0] == landmarks(8, 1.0)[0], "the temperature cannot tell equal candidates apart"
### END HIDDEN TESTS

# %% [markdown] slideshow={"slide_type": "skip"}
# <details><summary>Hint: OverflowError at τ = 0.001</summary>
#
# Divide numerator and denominator by $e^{1/\tau}$ first: $-\log \frac{1}{1 + (2N - 2)\, e^{-1/\tau}}$. Now the exponent is negative, and the worst that can happen is 0.
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5 · Watch it learn
#
# SimCLR is now four lines. Here they are, on `scenes` (pictures made by code), for a minute. Class labels stay in the drawer until afterwards.

# %% slideshow={"slide_type": "-"}
class TinySimCLR(nn.Module):
    def __init__(self, encoder, head, make_view, temperature):
        super().__init__()
        self.encoder, self.head, self.make_view, self.temperature = encoder, head, make_view, temperature

    def forward(self, images, labels=None):                        # labels are not looked at
        views = torch.cat([self.make_view(images), self.make_view(images)])     # [2N, 3, H, W]
        z1, z2 = self.head(self.encoder(views)).chunk(2)                        # [N, D] each
        return losses.nt_xent(z1, z2, self.temperature)

# %% slideshow={"slide_type": "-"} tags=["nbval-check-output"]
parts = encoders.resnet10("fast", width=8), encoders.projection_head(64, 32)
ours, course_version = TinySimCLR(*parts, make_view, 0.2), methods.SimCLR(
    parts[0], augment=make_view, head=parts[1], temperature=0.2)
results = []
for method in (ours, course_version):
    torch.manual_seed(0)                                           # the same views
    loss = method(images)
    results.append((loss, *torch.autograd.grad(loss, list(method.parameters()))))
for mine, theirs in zip(*results):
    torch.testing.assert_close(mine, theirs)
print("the class above and methods.SimCLR agree, in value and gradient")

# %% slideshow={"slide_type": "-"}
scenes = datasets.load("scenes", "train", limit=course.pick(smoke=1_000, laptop=10_000, gpu=10_000))
scenes_test = datasets.load("scenes", "test", limit=course.pick(smoke=300, laptop=1_000, gpu=2_000))
torch.manual_seed(0)
untrained = encoders.resnet10("fast").to(course.device).eval()
torch.manual_seed(0)
encoder = encoders.resnet10("fast")
live = TinySimCLR(encoder, encoders.projection_head(encoder.feature_dim), make_view, 0.2).to(course.device)
batch = course.pick(smoke=64, laptop=128, gpu=256)
history = fit(live, scenes, epochs=course.pick(smoke=2, laptop=6, gpu=40), batch_size=batch, lr=0.15,
              max_minutes=course.pick(smoke=None, laptop=1.2, gpu=2))
print(history)

# %% slideshow={"slide_type": "-"}
equal, apart = torch.ones(batch, 2), torch.eye(batch)
collapsed, orthogonal = (losses.nt_xent(z, z, 0.2).item() for z in (equal, apart))          # as in exercise 6.3
figure, axis = plt.subplots(figsize=(7, 3.6))
axis.plot(range(1, len(history.loss) + 1), history.loss, "o-", label="NT-Xent, mean of the epoch")
for value, name, style in ((collapsed, "collapsed: log(2N − 1)", ":"), (orthogonal, "orthogonal", "--")):
    axis.axhline(value, color=plots.BLACK, ls=style, lw=1.5, label=f"{name} = {value:.2f}")
axis.set(title=f"The loss between its landmarks (scenes, N = {batch}, τ = 0.2)", xlabel="epoch", ylabel="loss",
         ylim=(0, 1.1 * collapsed), xticks=range(1, len(history.loss) + 1))
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plots.show(figure, alt="The loss falls from below the collapsed value towards the orthogonal one, epoch by epoch.")

# %% [markdown] slideshow={"slide_type": "fragment"}
# A loss that sits at $\log(2N - 1)$ says: nothing can be told from anything. Now the labels come out of the drawer.

# %% slideshow={"slide_type": "-"}
bank = scenes[:course.pick(smoke=1_000, laptop=5_000, gpu=5_000)]
spaces = {"raw pixels": lambda data: data.float_images().flatten(1),
          "random network": lambda data: features(untrained, data).cpu(),
          "SimCLR": lambda data: features(live.encoder, data).cpu()}
probes = {name: linear_probe(f(bank), bank.labels, f(scenes_test), scenes_test.labels)
          for name, f in spaces.items()}
plots.show(plots.bars(list(probes), [probe.accuracy for probe in probes.values()],
                      [probe.interval for probe in probes.values()], chance=0.1,
                      title="Linear probe for the class on scenes (pictures made by code)",
                      xlabel="test accuracy (top-1)"),
           alt="Bars of linear-probe accuracy on scenes for raw pixels, the random network and SimCLR.")

# %% slideshow={"slide_type": "-"} tags=["claim"]
assert history.loss[-1] < history.loss[0] < collapsed, (history.loss, collapsed)
if course.profile != "smoke":       # a smoke run trains for seconds; section 6 asserts this for the shipped network
    assert probes["SimCLR"].accuracy > probes["random network"].accuracy + 0.1
    print("A linear probe on SimCLR's features beats the same probe on the network it started from.")

# %% [markdown] slideshow={"slide_type": "fragment"}
# The lecture's picture, under this minute of SimCLR: $x_1$ and $x_2$ are the same thing on different backgrounds, $x_3$ is something else on $x_1$'s background.

# %% slideshow={"slide_type": "-"}
plots.show(plots.three_images(lambda x: features(live.encoder, x), name="SimCLR, a minute"),
           alt="Three pictures and their distances under a network trained by SimCLR for a minute.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6 · Real photographs
#
# The course ships a network that SimCLR trained on 45,000 CIFAR-10 images (`python -m course_utils pretrain simclr cifar10` repeats it; it is the laptop's small ResNet, not the paper's ResNet-50). Neighbours first: left raw pixels, right SimCLR.

# %% slideshow={"slide_type": "-"}
shipped = checkpoints.load(f"simclr-{train.name}")
encoder, head = shipped.encoder.to(course.device), shipped.head.to(course.device)
card = shipped.card
print(f"{card['images']:,} images, {card['epochs_run']} epochs, batch {card['config']['batch_size']}, τ = 0.2")
train_z, test_z = features(encoder, train).cpu(), features(encoder, test).cpu()        # [N, 256]

# %% slideshow={"slide_type": "-"}
queries = torch.cat([(test.labels == c).nonzero()[2:3, 0] for c in (0, 1, 3, 5, 7, 8)])
figure, axes = plt.subplots(1, 2, figsize=(13, 5))
for axis, name, query, memory in (
        (axes[0], "raw pixels", test.float_images().flatten(1), train.float_images().flatten(1)),
        (axes[1], "SimCLR", test_z, train_z)):
    _, index = nearest_neighbors(query[queries], memory, k=7)
    plots.neighbor_grid(test[queries], train, index, title=f"f(x) = {name}", axis=axis)
plots.show(figure, alt="Six queries with their seven nearest neighbours under raw pixels, left, and under SimCLR's "
                       "features, right; neighbours of the query's class are framed.")

# %% slideshow={"slide_type": "-"} tags=["claim"]
def knn_of(f):
    return knn_accuracy(f(train), train.labels, f(test), test.labels)

rotation = checkpoints.load(f"rotation-{train.name}").encoder.to(course.device)
ladder = {"raw pixels": knn_of(lambda data: data.float_images().flatten(1)),
          "rotation prediction": knn_of(lambda data: features(rotation, data).cpu()),
          "SimCLR": knn_accuracy(train_z, train.labels, test_z, test.labels)}
from_simclr = linear_probe(train_z, train.labels, test_z, test.labels)
from_random = linear_probe(features(untrained, train).cpu(), train.labels, features(untrained, test).cpu(), test.labels)
if train.name == "cifar10":         # on `scenes`, where every object has a clear "up", rotation is hard to beat
    assert ladder["SimCLR"] > ladder["rotation prediction"] > ladder["raw pixels"], ladder
assert from_simclr.accuracy > from_random.accuracy + 0.05, (from_simclr.accuracy, from_random.accuracy)
for name, value in ladder.items():
    print(f"kNN on {train.name}, {name}: {value:.3f} (bank {len(train):,}, n = {len(test):,})")
print(f"linear probe: SimCLR {from_simclr.accuracy:.3f}, random weights {from_random.accuracy:.3f}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 7 · Watch space take shape
#
# Checkpoints were kept on the way. Below, test images of five classes in the feature space $h$ after so many epochs, drawn in the plane of the two directions in which they vary most (PCA; each picture turned to match the last one).
# The network has never heard of these classes.

# %% slideshow={"slide_type": "-"}
moments = {int(name.split("@epoch")[1]): checkpoints.load(name) for name in checkpoints.available()
           if name.startswith(f"simclr-{train.name}@epoch")}
torch.manual_seed(0)
epochs = {0: (untrained, encoders.projection_head(untrained.feature_dim).to(course.device))}
epochs |= {epoch: (c.encoder.to(course.device), c.head.to(course.device)) for epoch, c in moments.items()}
epochs[card["epochs_run"]] = encoder, head
kept = test[(test.labels[:, None] == torch.tensor([1, 4, 6, 8, 9])).any(dim=1)][:600]
spaces, history_of = {}, {}
for epoch, (network, _) in epochs.items():
    spaces[epoch] = F.normalize(features(network, kept).cpu(), dim=1)                           # [600, 256]
    bank_z, cases_z = features(network, train[:3_000]).cpu(), features(network, test[:1_000]).cpu()
    history_of[epoch] = knn_accuracy(bank_z, train.labels[:3_000], cases_z, test.labels[:1_000])

# %% slideshow={"slide_type": "-"}
def plane(z, like=None):
    """The two main directions of z [N, D], scaled; turned and mirrored to lie as `like` [N, 2] does."""
    z = z - z.mean(dim=0)
    u, values, _ = torch.linalg.svd(z, full_matrices=False)
    flat = u[:, :2] * values[:2] / values[:2].square().sum().sqrt() * len(z)**0.5
    if like is None:
        return flat
    left, _, right = torch.linalg.svd(flat.T @ like)
    return flat @ left @ right

last = plane(spaces[max(spaces)])
planes = {epoch: plane(z, like=last) for epoch, z in spaces.items()}

def embedding(epoch=0):
    figure, axis = plt.subplots(figsize=(4.2, 4.2))
    for c, color, marker in zip(kept.labels.unique(), plots.COLORS, "os^Dv"):
        mine = planes[epoch][kept.labels == c]
        axis.scatter(*mine.T, s=12, color=color, marker=marker, label=kept.classes[c])
    axis.set(title=f"epoch {epoch}: kNN {history_of[epoch]:.2f}", xticks=[], yticks=[], xlim=(-2.4, 2.4), ylim=(-2.4, 2.8),
             xlabel="first direction", ylabel="second direction")
    axis.legend(fontsize=8, loc="upper right", markerscale=1.5, handletextpad=0.1)
    return figure

plots.show(widgets.small_multiples(embedding, epoch=list(epochs)),
           alt="The feature space of test images at several epochs, one colour for each class: mixed at first, "
               "classes further apart later.")

# %% slideshow={"slide_type": "skip"}
widgets.panel(embedding, epoch=widgets.choice(list(epochs), max(epochs)))

# %% [markdown] slideshow={"slide_type": "slide"}
# Two numbers describe what the loss does (Wang & Isola 2020), both on the sphere where $z$ lives. **Alignment**: the mean squared distance between the two views of an image; 0 is perfect. **Uniformity**: the logarithm of the mean of
# $e^{-2 \lVert u - v \rVert^2}$ over all pairs of images; 0 for a collapsed embedding, lower the more evenly it fills the sphere. NT-Xent wants both: its positive term asks for alignment, its negatives for uniformity.
#
# > **Predict before you run.** Collapse gives perfect alignment. So does training make alignment *better* or *worse* than that of a random network?

# %% slideshow={"slide_type": "-"}
torch.manual_seed(0)
x = test.float_images()[:course.pick(smoke=100, laptop=500, gpu=2_000)]
x1, x2 = make_view(x), make_view(x)
described = []
for epoch, (network, its_head) in epochs.items():
    z1, z2 = (features(nn.Sequential(network, its_head), views) for views in (x1, x2))          # [N, 128] each
    described.append({"epoch": epoch, "alignment": alignment(z1, z2), "uniformity": uniformity(z1)})
described = pandas.DataFrame(described).set_index("epoch")
described.round(2)

# %% [markdown] slideshow={"slide_type": "fragment"}
# A network with random weights squeezes everything into one narrow cone: views lie close together, **and so does everything else.** Training spreads the images out first, and brings partners together again within that larger space. Alignment alone is worth nothing.

# %% slideshow={"slide_type": "-"} tags=["claim"]
first, final = described.iloc[0], described.iloc[-1]
assert final["uniformity"] < first["uniformity"] - 0.5, described
assert ((described["uniformity"] <= 0) & (described["uniformity"] >= -8) & (described["alignment"] <= 4)).all()
print(f"uniformity from {first['uniformity']:.2f} to {final['uniformity']:.2f}: the embedding spread out")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 8 · Why this loss and not another?
#
# The slide compares three losses by their **gradient** with respect to one anchor $u$ (all vectors of length one, $v^+$ its partner, $v^-$ the negatives, $Z(u)$ the denominator of NT-Xent). It tells what each negative *does*:
#
# | name | negative loss | gradient with respect to $u$ |
# |---|---|---|
# | NT-Xent | $u^\top v^+/\tau - \log \sum_{v \in \{v^+, v^-\}} \exp(u^\top v/\tau)$ | $\big(1 - \frac{\exp(u^\top v^+/\tau)}{Z(u)}\big)/\tau \; v^+ - \sum_{v^-} \frac{\exp(u^\top v^-/\tau)}{Z(u)}/\tau \; v^-$ |
# | NT-Logistic | $\log \sigma(u^\top v^+/\tau) + \log \sigma(-u^\top v^-/\tau)$ | $\sigma(-u^\top v^+/\tau)/\tau \; v^+ - \sigma(u^\top v^-/\tau)/\tau \; v^-$ |
# | Margin triplet | $-\max(u^\top v^- - u^\top v^+ + m, 0)$ | $v^+ - v^-$ if $u^\top v^+ - u^\top v^- < m$, else $0$ |
#
# Both columns in code, for many negatives (the last two are then sums over them):

# %% slideshow={"slide_type": "-"}
def xent(u, p, n, tau=0.5):
    return u @ p / tau - torch.logsumexp(torch.cat([p[None], n]) @ u / tau, dim=0)

def xent_gradient(u, p, n, tau=0.5):
    share = (torch.cat([p[None], n]) @ u / tau).softmax(dim=0)                 # exp(…) / Z, the partner first
    return (1 - share[0]) / tau * p - share[1:] / tau @ n

def logistic(u, p, n, tau=0.5):
    return (F.logsigmoid(u @ p / tau) + F.logsigmoid(-(n @ u) / tau)).sum()

def logistic_gradient(u, p, n, tau=0.5):
    return (torch.sigmoid(-(u @ p) / tau) / tau * p - torch.sigmoid(n @ u / tau)[:, None] / tau * n).sum(dim=0)

def margin(u, p, n, m=0.5):
    return -F.relu(n @ u - u @ p + m).sum()

def margin_gradient(u, p, n, m=0.5):
    return torch.where((u @ p - n @ u < m)[:, None], p - n, 0).sum(dim=0)

# %% slideshow={"slide_type": "-"} tags=["nbval-check-output"]
torch.manual_seed(0)
for name, value, gradient in (("NT-Xent", xent, xent_gradient), ("NT-Logistic", logistic, logistic_gradient),
                              ("margin triplet", margin, margin_gradient)):
    for _ in range(20):
        u, p, *n = F.normalize(torch.randn(12, 8, dtype=torch.float64), dim=1)
        u.requires_grad_()
        n = torch.stack(n)                                                     # [10, 8]
        torch.testing.assert_close(gradient(u, p, n).detach(), torch.autograd.grad(value(u, p, n), u)[0])
    print(f"{name}: the slide's gradient equals autograd's")

# %% [markdown] slideshow={"slide_type": "fragment"}
# In all three the gradient pulls $u$ towards $v^+$ and pushes it away from each $v^-$, **with a weight**. The weight as a function of how similar the negative is, that is the whole difference:
#
# > **Predict before you run.** Sketch the three weights against similarity from −1 to 1. Which loss cares most for the hardest negatives, without being told?

# %% slideshow={"slide_type": "-"}
similarity, positive = torch.linspace(-1, 1, 201), 0.7
def weights_of(tau):
    return {"NT-Xent": ((similarity - 1) / tau).exp(), "NT-Logistic": torch.sigmoid(similarity / tau),
            "margin triplet, m = 0.5": (positive - similarity < 0.5).float()}

figure, axes = plt.subplots(1, 2, figsize=(12, 3.8), sharey=True)
for axis, tau in zip(axes, (0.5, 0.1)):
    for (name, weight), color, style in zip(weights_of(tau).items(), plots.COLORS, ("-", "--", ":")):
        axis.plot(similarity, weight / weight.max(), style, color=color, label=name)
    axis.axvline(positive, color=plots.BLACK, lw=1)
    axis.text(positive - 0.02, 0.04, "the positive", rotation=90, ha="right", va="bottom", fontsize=10)
    axis.set(title=f"τ = {tau}", xlabel="similarity of the negative, $u^\\top v^-$")
axes[0].set_ylabel("weight (hardest = 1)")
axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
plots.show(figure, alt="Weight of a negative against its similarity. For NT-Xent it rises exponentially, more steeply "
                       "at the lower temperature. For NT-Logistic it is a sigmoid that is flat among similar "
                       "negatives. For the margin loss it is a step from zero to one.")

# %% [markdown] slideshow={"slide_type": "fragment"}
# - **Margin triplet**: on or off. All active negatives weigh the same, however hard, so somebody has to *mine* the useful ones (notebook 05).
# - **NT-Logistic**: a soft step, by *absolute* similarity. At a low $\tau$ all negatives right of zero weigh nearly the same, and how hard the others are does not matter.
# - **NT-Xent**: the weight grows as $e^{s/\tau}$, and the shares are *relative*: a negative weighs much if it is harder **than the others**. The loss does its own mining, and $\tau$ says how sharply.
#
# Does it matter? The same network, views, images and budget; margin or $\tau$, and the learning rate, chosen on the validation split for each loss; three seeds. Beside it Table 4 of the paper (ResNet-50, ImageNet).

# %% slideshow={"slide_type": "-"}
def percent(row):
    interval = f" ({100 * row['low']:.1f}–{100 * row['high']:.1f})" if row["low"] == row["low"] else ""
    return f"{100 * row['value']:.1f}{interval}"

def ranking(rows, name):
    """Best first; each is above the next one only where their intervals do not touch."""
    rows = rows.sort_values("value", ascending=False)
    for (_, first), (_, second) in itertools.pairwise(rows.iterrows()):
        verdict = "above" if first["low"] > second["high"] else "a tie with"
        print(f"{first[name]} ({100 * first['value']:.1f}): {verdict} {second[name]} ({100 * second['value']:.1f})")

def ours(results, **where):
    """The shipped rows of a table in which these columns have these values."""
    rows = results[~results["own"]]
    for key, value in where.items():
        rows = rows[rows[key] == value]
    return rows

# %% slideshow={"slide_type": "-"}
by_loss = scoreboard.table("simclr-losses")
paper = {"margin": 50.9, "NT-Logistic": 51.6, "margin (semi-hard)": 57.5, "NT-Logistic (semi-hard)": 57.9,
         "NT-Xent": 63.9}                                        # SimCLR, Table 4: linear evaluation, top-1
linear = ours(by_loss, quantity="linear probe").set_index("loss")
print(scoreboard.caption(by_loss))
pandas.DataFrame({"paper (ImageNet)": paper, "ours (CIFAR-10)": {name: percent(linear.loc[name]) for name in paper},
                  "chosen on val": linear["setting"].to_dict()})

# %% slideshow={"slide_type": "-"}
ranking(linear.reset_index(), "loss")
print(f"highest in the paper: {max(paper, key=paper.get)}; highest here: {linear['value'].idxmax()}")

# %% [markdown] slideshow={"slide_type": "fragment"}
# Read ranks and ties, not levels: the paper's classes are a thousand, its network is twenty times ours, its batch has thousands of negatives. A small batch has few really hard negatives, so there is less for any loss to find among them; where our order differs from the paper's, this is the first suspect.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 9 · The temperature
#
# Take real embeddings: two views of test images through the shipped network. One view asks; all views of other images are its negatives. Negative $k$ gets the share
#
# $$w_k = \frac{\exp(s_k / \tau)}{\sum_{k'} \exp(s_{k'} / \tau)}$$
#
# of the push. What do the shares look like when $\tau$ is small, what when it is large?

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6.4 · The limits of the temperature
# *Difficulty ●●○ · about 15 minutes · 3 points.* **Why it matters:** $\tau$ is the one number of SimCLR that you will have to set. It decides **how many** negatives do the work.
#
# For similarities $s$ compute the shares $w$ above, and the **effective number** of negatives $\exp(H)$, where $H = -\sum_k w_k \log w_k$ is the entropy (and $0 \log 0 = 0$). Both for each row of a batch, and finite down to $\tau = 0.0001$.

# %% nbgrader={"grade": false, "grade_id": "shares-solution", "locked": false, "schema_version": 3, "solution": true, "task": false} slideshow={"slide_type": "skip"}
def shares(s, temperature):
    """(w, effective): shares [B, K] and effective number of negatives [B]. s: similarities [B, K]"""
    ### BEGIN SOLUTION
    w = (s / temperature).softmax(dim=1)
    return w, torch.special.entr(w).sum(dim=1).exp()
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "shares-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} slideshow={"slide_type": "skip"}
s = torch.tensor([[0.9, 0.9, 0.1, -0.5], [0.3, 0.2, 0.1, 0.0]])
w, effective = shares(s, 0.5)
assert w.shape == (2, 4) and effective.shape == (2,), f"shapes {list(w.shape)} and {list(effective.shape)}"
torch.testing.assert_close(w.sum(dim=1), torch.ones(2), msg="the shares of a row sum to one")
assert abs(w[1, 0] / w[1, 2] - math.exp(0.2 / 0.5)) < 1e-4, "the ratio of two shares is exp(difference / τ)"
hot = shares(s, 1e4)[1]
assert torch.allclose(hot, torch.full((2,), 4.0), atol=1e-3), f"τ → ∞: all four alike, effective 4, got {hot.tolist()}"
cold = shares(s, 0.005)[1]
assert torch.isfinite(cold).all(), "not a number at τ = 0.005: exp overflowed, or 0 · log 0 (see the hint)"
assert torch.allclose(cold, torch.tensor([2.0, 1.0]), atol=1e-3), (
    f"τ → 0: only the hardest count, two in row 1 and one in row 2; got {cold.tolist()}")
### BEGIN HIDDEN TESTS
w, effective = shares(s, 1e-4)
assert torch.isfinite(w).all() and torch.isfinite(effective).all(), "at τ = 0.0001: exp overflowed, or 0 · log 0"
assert torch.allclose(effective, torch.tensor([2.0, 1.0]), atol=1e-3)
random = torch.rand(7, 50) * 2 - 1
for tau in (0.1, 1.0):
    w, effective = shares(random, tau)
    p = torch.exp(random.double() / tau) / torch.exp(random.double() / tau).sum(dim=1, keepdim=True)
    torch.testing.assert_close(w, p.float())
    torch.testing.assert_close(effective, torch.exp(-(p * p.log()).sum(dim=1)).float())
### END HIDDEN TESTS

# %% [markdown] slideshow={"slide_type": "skip"}
# <details><summary>Hint: nan at τ = 0.0001</summary>
#
# `torch.exp(s / temperature)` overflows; `softmax` takes the largest value out first. And some shares are then exactly 0: `0 * log(0)` is *nan* in floating point. `torch.special.entr(w)` is $-w \log w$ with the right value at 0.
# </details>

# %% slideshow={"slide_type": "-"}
crowd = test[:course.pick(smoke=100, laptop=500, gpu=1_000)]
torch.manual_seed(0)
views = torch.cat([make_view(crowd.float_images()), make_view(crowd.float_images())])           # [2N, 3, 32, 32]
z = F.normalize(features(nn.Sequential(encoder, head), views).cpu(), dim=1)                      # [2N, 128]
n = len(crowd)
similar = z @ z.T                                                                                # [2N, 2N]

def who_pushes(temperature=0.2, image=4):
    others = torch.arange(2 * n) % n != image
    w, effective = shares(similar[image, others][None], temperature)
    order = w[0].argsort(descending=True)
    hardest = others.nonzero()[order[:6], 0]
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.2, 4.2), height_ratios=(1, 1.4))
    shown = torch.cat([views[image:image + 1], views[image + n:image + n + 1], views[hardest]])
    centres = plots.montage(top, shown, columns=8, frames=[plots.BLACK, plots.BLUE] + [None] * 6)
    names = ["view", "partner"] + [f"{w[0, k]:.1%}" for k in order[:6]]
    for centre, name in zip(centres, names):
        top.text(centre[0], -1, name, ha="center", va="bottom", fontsize=10)
    bottom.plot(range(1, len(order) + 1), w[0, order], color=plots.BLUE)
    bottom.set(xscale="log", ylim=(0, None), xlabel="negatives, hardest first (logarithmic)", ylabel="share")
    bottom.set_title(f"τ = {temperature:.2f}: as if {effective.item():.0f} of {len(order)} negatives pushed",
                     fontsize=12)
    return figure

plots.show(widgets.small_multiples(who_pushes, temperature=[0.05, 0.2, 1.0]),
           alt="For one image and three temperatures: the view, its partner, its six hardest negatives with their "
               "shares, and the curve of all shares. At the low temperature a few negatives take all.")

# %% slideshow={"slide_type": "skip"}
widgets.panel(who_pushes, temperature=widgets.slider(0.02, 2.0, 0.2, 0.02), image=widgets.slider(0, 99, 4))

# %% [markdown] slideshow={"slide_type": "fragment"}
# Look at *who* pushes at a low temperature: images of the same kind, often of the same class. The hardest negatives are the likeliest **false** negatives. That is the bargain: a low $\tau$ learns fine differences, and pays for it by tearing apart what belongs together.

# %% slideshow={"slide_type": "-"} tags=["claim"]
of_others = similar[:n, :n].clone().fill_diagonal_(-1)
hard, labels = of_others.topk(5, dim=1).indices, crowd.labels
false = (labels[hard] == labels[:, None]).float().mean().item()
chance = ((labels[:, None] == labels).float().sum() - n).item() / (n * (n - 1))
print(f"of the five hardest negatives {false:.0%} have the view's own class; of all negatives {chance:.0%}")
assert false > chance + 0.1, (false, chance)

# %% slideshow={"slide_type": "-"} tags=["claim"]
taus = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
found = [contrastive_statistics(z[:n], z[n:], tau) for tau in taus]
for tau, (entropy, accuracy) in zip(taus, found):
    print(f"τ = {tau:<5} entropy {entropy:.2f} (at most {math.log(2 * n - 1):.2f}), "
          f"contrastive accuracy {accuracy:.3f}")
assert all(a[0] < b[0] for a, b in itertools.pairwise(found)), "entropy grows with the temperature"
assert max(a for _, a in found) - min(a for _, a in found) < 0.01, "which candidate is likeliest does not depend on τ"

# %% [markdown] slideshow={"slide_type": "slide"}
# For *fixed* features the temperature changes the entropy and not the accuracy: softmax keeps the order. What Table 5 shows is another thing, the effect of **training** with that temperature. Its columns: entropy of the distribution over candidates, *contrastive accuracy* (how often the partner is the
# likeliest candidate), and linear evaluation. "No norm" means plain dot products instead of cosines.
#
# > **Predict before you run.** Which row has the best contrastive accuracy? Will it have the best features?

# %% slideshow={"slide_type": "-"}
by_tau = scoreboard.table("simclr-temperature")
paper = {(True, 0.05): (1.0, 90.5, 59.7), (True, 0.1): (4.5, 87.8, 64.4), (True, 0.5): (8.2, 68.2, 60.7),
         (True, 1.0): (8.3, 59.1, 58.0), (False, 10.0): (0.5, 91.7, 57.2), (False, 100.0): (0.5, 92.1, 57.0)}
lines = []
for normalize, tau in ours(by_tau)[["normalize", "temperature"]].drop_duplicates().itertuples(index=False):
    rows = ours(by_tau, normalize=normalize, temperature=tau).set_index("quantity")
    p = paper.get((normalize, tau), ("", "", ""))
    lines.append({"ℓ2 norm": "yes" if normalize else "no", "τ": tau, "entropy, paper": p[0],
                  "ours": f"{rows.loc['entropy', 'value']:.1f}", "contrastive acc., paper": p[1],
                  "ours ": f"{100 * rows.loc['contrastive accuracy', 'value']:.1f}", "top-1, paper": p[2],
                  "ours  ": percent(rows.loc["linear probe"])})
print(scoreboard.caption(by_tau))
pandas.DataFrame(lines).set_index(["ℓ2 norm", "τ"])

# %% slideshow={"slide_type": "-"}
wide = ours(by_tau).pivot_table(index=["normalize", "temperature"], columns="quantity", values="value")
top = {name: wide[name].idxmax() for name in ("contrastive accuracy", "linear probe")}
for name, (normalize, tau) in top.items():
    print(f"highest {name}: τ = {tau}, {'with' if normalize else 'without'} ℓ2 norm")
probe_rows = ours(by_tau, quantity="linear probe")
ranking(probe_rows.assign(row=[f"{'cosine' if a else 'dot product'}, τ = {b}" for a, b in zip(
    probe_rows["normalize"], probe_rows["temperature"])]), "row")

# %% [markdown] slideshow={"slide_type": "fragment"}
# In the paper the best contrastive accuracy (dot products) goes with the worst features. Without the norm, once the partner ranks first, a network can win the rest of the game by making vectors *longer*: logits grow, the loss falls, and no picture has moved to a better place. The contrastive task is a pretext, too; its accuracy is not the goal (notebook 04 said the same of rotations).

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 10 · Batch size
#
# The negatives come from the batch: $N$ images make $2N - 2$ of them. More negatives means *harder* ones: the hardest of many is harder than the hardest of few. On the real embeddings from above:

# %% slideshow={"slide_type": "-"}
generator = torch.Generator().manual_seed(0)
sizes = [size for size in (8, 16, 32, 64, 128, 256, 512) if size <= n]
hardest = []
for size_ in sizes:
    draws = []
    for _ in range(20):
        chosen = torch.randperm(n, generator=generator)[:size_]
        block = similar[chosen][:, chosen].clone().fill_diagonal_(-1)          # [N, N], first views
        draws.append(block.max(dim=1).values.mean().item())
    hardest.append(sum(draws) / len(draws))
partners = similar.diagonal(offset=n)[:n].mean().item()
figure, axis = plt.subplots(figsize=(7, 3.4))
axis.plot(sizes, hardest, "o-", label="hardest negative of the batch")
axis.axhline(partners, color=plots.BLACK, ls="--", lw=1.5, label="partner")
axis.set(xscale="log", title="Larger batches hold harder negatives", xlabel="images in the batch (logarithmic)",
         ylabel="mean similarity", ylim=(0, 1))
axis.set_xticks(sizes, sizes)
axis.minorticks_off()
axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plots.show(figure, alt="The mean similarity of the hardest negative grows with the batch size and approaches that of "
                       "the partner.")
assert all(a < b for a, b in itertools.pairwise(hardest)), hardest

# %% [markdown] slideshow={"slide_type": "slide"}
# The paper's usual batch has 4,096 images, spread over 128 TPU cores. What a laptop lacks is not time but **memory**: for the backward pass autograd keeps every layer's output for all $2N$ views.
#
# There is a way out. Let the encoder see the batch in pieces and *forget* its activations; keep only the $h$, which are small. The loss sees all $2N$ of them. In the backward pass each piece is computed once more when its turn comes. It costs a third more time, and the gradients are the same
# (with BatchNorm nearly: each piece has its own statistics). `methods.SimCLR(micro_batch=…)` does it with `torch.utils.checkpoint`:

# %% slideshow={"slide_type": "-"} tags=["nbval-check-output"]
torch.manual_seed(0)
plain = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())    # no BatchNorm
tiny_head, found = nn.Linear(32, 16), []
for micro_batch in (None, 5):
    method = methods.SimCLR(plain, augment=make_view, head=tiny_head, micro_batch=micro_batch)
    torch.manual_seed(1)
    found.append(torch.autograd.grad(method(test.float_images()[:24]), list(method.parameters())))
for whole, pieces in zip(*found):
    torch.testing.assert_close(whole, pieces, rtol=1e-4, atol=1e-6)
print("48 views at once and in pieces of 5: the same gradients")

# %% slideshow={"slide_type": "-"}
def kept_bytes(compute):
    """Bytes that autograd keeps for the backward pass of compute()."""
    kept = {}
    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = compute()                                                     # noqa: F841  alive while we count
    return sum(kept.values())

def step_memory(n, micro_batch):
    """MiB for one step with n images: what is kept, and with pieces the views and one piece's activations."""
    network = encoders.resnet10("fast")
    method = methods.SimCLR(network, augment=nn.Identity(), head=encoders.projection_head(256), micro_batch=micro_batch)
    x = torch.rand(n, 3, 32, 32)
    total = kept_bytes(lambda: method(x))
    if micro_batch:
        total += 2 * x.nbytes + kept_bytes(lambda: network(x[:micro_batch]))
    return total / 2**20

at_once = {n: step_memory(n, None) for n in course.pick(smoke=(16, 64), laptop=(32, 128, 512), gpu=(32, 128, 512))}
pieces = {n: step_memory(n, 64) for n in course.pick(smoke=(64, 256), laptop=(64, 256, 1_024, 4_096),
                                                     gpu=(64, 256, 1_024, 4_096))}

# %% slideshow={"slide_type": "-"}
figure, axis = plt.subplots(figsize=(7, 3.6))
axis.plot(list(at_once), list(at_once.values()), "s-", color=plots.ORANGE, label="all views at once")
axis.plot(list(pieces), list(pieces.values()), "o-", color=plots.BLUE, label="pieces of 64 views")
axis.set(xscale="log", yscale="log", title="Memory kept for the backward pass (small ResNet, 32 px)",
         xlabel="images in the batch (logarithmic)", ylabel="MiB (logarithmic)")
ticks = sorted({*at_once, *pieces})
axis.set_xticks(ticks, [f"{n_:,}" for n_ in ticks])
axis.minorticks_off()
axis.legend()
plots.show(figure, alt="Memory against batch size on logarithmic axes: proportional to the batch when all views go "
                       "through at once, far lower and first flat with pieces.")
n_most, n_plain = max(pieces), max(at_once)
print(f"{n_most:,} images in pieces: {pieces[n_most]:,.0f} MiB; {n_plain:,} at once: {at_once[n_plain]:,.0f} MiB")

# %% [markdown] slideshow={"slide_type": "fragment"}
# What grows at the right end of the lower curve is the loss itself: $2N \times 2N$ similarities.
#
# Now the figure of the slide: batch size against epochs. The learning rate of each batch size was chosen on the validation split, three seeds each.

# %% slideshow={"slide_type": "-"}
by_batch = scoreboard.table("simclr-batch")
linear = ours(by_batch, quantity="linear probe")
lengths, batches = sorted(linear["epochs"].unique()), sorted(linear["batch_size"].unique())
figure, axis = plt.subplots(figsize=(7.5, 3.8))
for i, (size_, color) in enumerate(zip(batches, plots.COLORS)):
    rows = linear[linear["batch_size"] == size_].sort_values("epochs")
    places = [k + (i - (len(batches) - 1) / 2) * 0.25 for k in range(len(rows))]
    axis.bar(places, rows["value"], width=0.23, color=color, label=f"{size_:,}")
    axis.errorbar(places, rows["value"], yerr=[rows["value"] - rows["low"], rows["high"] - rows["value"]], fmt="none",
                  ecolor=plots.BLACK, capsize=4, lw=1.5)
axis.set(title="Linear probe after training with different batches", xlabel="epochs", ylabel="test accuracy (top-1)",
         xticks=range(len(lengths)), xticklabels=lengths, ylim=(max(0, linear["value"].min() - 0.15), None))
axis.legend(title="batch size", loc="upper left", bbox_to_anchor=(1, 1))
plots.show(figure, alt="Groups of bars, one group for each number of epochs, one bar for each batch size, with "
                       "intervals.")
print(scoreboard.caption(by_batch))

# %% slideshow={"slide_type": "-"}
for length in lengths:
    rows = linear[linear["epochs"] == length]
    spread = rows["value"].max() - rows["value"].min()
    print(f"\n{length} epochs: {100 * spread:.1f} points between the best and the worst batch size "
          f"({rows['steps'].max():,} steps with the smallest batch, {rows['steps'].min():,} with the largest)")
    ranking(rows.assign(batch=[f"batch {size_:,}" for size_ in rows["batch_size"]]), "batch")

# %% [markdown] slideshow={"slide_type": "fragment"}
# The paper's Figure 9 (ResNet-50 on ImageNet, batches from 256 to 8,192, 100 to 1,000 epochs) says: **large batches win when training is short, and the gap closes with longer training.** Two forces pull against each other, and our figure holds both. A larger batch has harder negatives. But with the number of epochs fixed it also
# takes **fewer steps**, and on a small set that is a handful. The paper's shortest run takes more than fifteen thousand steps. So where small batches win here, this does not contradict the paper; it shows the other force. Notebook 07 gets many negatives from *small* batches.

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 6.5 · Find the bugs in someone's loss
# *Difficulty ●●● · about 15 minutes · 3 points.* **Why it matters:** a wrong contrastive loss rarely crashes. It runs, it goes down, the features are a little worse, and nobody notices. The landmarks of exercise 6.3 are what finds it.
#
# A colleague sends you this. It runs without an error, and its value falls when one trains with it. It has **two** bugs.

# %% slideshow={"slide_type": "skip"}
def someones_nt_xent(z1, z2, temperature=0.5):
    z = F.normalize(torch.cat([z1, z2]), dim=0)
    logits = (z @ z.T / temperature).fill_diagonal_(0)
    partner = torch.arange(len(z), device=z.device).roll(len(z1))
    return F.cross_entropy(logits, partner)

free = torch.randn(2, 16, 8, requires_grad=True)
before = someones_nt_xent(*free).item()
for _ in range(100):
    loss = someones_nt_xent(*free)
    free.data -= 5 * torch.autograd.grad(loss, free)[0]
print(f"it falls from {before:.2f} to {loss.item():.2f}")

# %% [markdown] slideshow={"slide_type": "skip"}
# Test it: collapsed embeddings; one embedding made ten times as long (cosines do not change). Then write the repaired version.

# %% nbgrader={"grade": false, "grade_id": "repair-solution", "locked": false, "schema_version": 3, "solution": true, "task": false} slideshow={"slide_type": "skip"}
def repaired_nt_xent(z1, z2, temperature=0.5):
    """The colleague's loss without its two bugs."""
    ### BEGIN SOLUTION
    z = F.normalize(torch.cat([z1, z2]), dim=1)                       # each row, not each column
    logits = (z @ z.T / temperature).fill_diagonal_(-math.inf)        # exp(-inf) = 0, but exp(0) = 1
    partner = torch.arange(len(z), device=z.device).roll(len(z1))
    return F.cross_entropy(logits, partner)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "repair-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} slideshow={"slide_type": "skip"}
torch.manual_seed(0)
z1, z2 = torch.randn(2, 6, 4)
longer = z1.clone()
longer[2] *= 10
drift = abs(repaired_nt_xent(longer, z2) - repaired_nt_xent(z1, z2)).item()
assert drift < 1e-5, f"one vector became longer, and the loss moved by {drift:.4f}: cosines do not see lengths"
value = repaired_nt_xent(torch.ones(6, 3), torch.ones(6, 3)).item()
assert abs(value - math.log(11)) < 1e-4, (
    f"collapsed embeddings should cost log(11) = {math.log(11):.3f}, not {value:.3f}: who is still a candidate?")
### BEGIN HIDDEN TESTS
for n_, temperature in ((2, 0.5), (7, 0.1), (20, 1.0)):
    a = torch.randn(2, n_, 5, requires_grad=True)
    mine, right = repaired_nt_xent(*a, temperature), losses.nt_xent(*a, temperature)
    torch.testing.assert_close(mine, right)
    torch.testing.assert_close(torch.autograd.grad(mine, a)[0], torch.autograd.grad(right, a)[0],
                               msg="the value is right, the gradient is not")
kept_z = z1.clone()
repaired_nt_xent(z1, z2)
assert torch.equal(kept_z, z1), "the caller's tensors were changed"
### END HIDDEN TESTS

# %% [markdown] slideshow={"slide_type": "skip"}
# <details><summary>Hint: collapsed embeddings cost more than log(11)</summary>
#
# Eleven candidates have similarity 1, and one still stands there with 0. What does the softmax make of a logit 0? And of $-\infty$?
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 11 · Train a head to throw it away
#
# The loss works on $z = g(h)$, and we keep $h$. Why not put the loss on $h$ itself?
#
# > **Predict before you run.** Three kinds of head: none, one linear layer, an MLP. Rank the features $h$ behind them. And will $g(h)$ be better or worse than $h$?

# %% slideshow={"slide_type": "-"}
by_head = scoreboard.table("simclr-heads")
figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), sharey=True)
for axis, where in zip(axes, ("h", "g(h)")):
    for kind, name, color, marker in (("mlp", "MLP", plots.BLUE, "s"), ("linear", "linear", plots.ORANGE, "o"),
                                      ("identity", "none", plots.BLACK, "D")):
        rows = ours(by_head, quantity=where, kind=kind).sort_values("dimension")
        around = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
        axis.errorbar(rows["dimension"], rows["value"], yerr=around, marker=marker, color=color, capsize=4, label=name)
    axis.set(xscale="log", title=f"probe on {where}", xlabel="dimension of z (logarithmic)")
    axis.set_xticks(sorted(by_head["dimension"].unique()), sorted(by_head["dimension"].unique()))
    axis.minorticks_off()
axes[0].set_ylabel("test accuracy (top-1)")
axes[1].legend(title="head", loc="upper left", bbox_to_anchor=(1, 1))
plots.show(figure, alt="Linear-probe accuracy against the dimension of z for no head, a linear head and an MLP head; "
                       "left on h, right on g(h).")
print(scoreboard.caption(by_head))

# %% slideshow={"slide_type": "-"}
at_128 = ours(by_head)[(by_head["dimension"] == 128) | (by_head["kind"] == "identity")]
at_128 = at_128[~((at_128["kind"] == "identity") & (at_128["quantity"] == "g(h)"))]         # the same thing twice
kinds = {"mlp": "MLP head", "linear": "linear head", "identity": "no head"}
ranking(at_128.assign(what=[f"{where} behind {kinds[kind]}" if where == "h" else f"{where} of {kinds[kind]}"
                            for kind, where in zip(at_128["kind"], at_128["quantity"])]), "what")

# %% [markdown] slideshow={"slide_type": "fragment"}
# The paper's Figure 8 (ResNet-50, ImageNet): the MLP head is 3 points above a linear one and more than 10 above none, whatever the dimension; and $h$ is more than 10 points better than $g(h)$. (Our points at dimensions other than 128 are single runs, and their interval is only that of the test sample.)
#
# **Why?** The loss rewards $z$ for being the same under every augmentation. So whatever the augmentations change, colour say, $z$ must *forget*. But colour may be just what a later task needs. The head takes the forgetting upon itself, and $h$ in front of it may remember.
#
# That can be tested. Change an image (or do not), and let a small probe find out from $h$, or from $g(h)$, whether it was changed. As in the paper's Table 3, each operation was among the random views in training, so that the loss asked for its forgetting. Chance is the "random guess".

# %% slideshow={"slide_type": "-"}
knowledge = scoreboard.table("simclr-knowledge")
paper = {"colour or grey": (80, 99.3, 97.4), "rotation": (25, 67.6, 25.6), "original or noisy": (50, 99.5, 59.6),
         "original or Sobel": (50, 96.6, 56.3)}                                # SimCLR, Table 3
lines = {}
for task, (guess, h_paper, g_paper) in paper.items():
    rows = ours(knowledge, task=task, **{"among the views": True}).set_index("quantity")
    lines[task] = {"random guess": guess, "h, paper": h_paper, "h, ours": percent(rows.loc["h"]),
                   "g(h), paper": g_paper, "g(h), ours": percent(rows.loc["g(h)"])}
print(scoreboard.caption(knowledge))
pandas.DataFrame(lines).T

# %% slideshow={"slide_type": "-"}
for task in paper:
    rows = ours(knowledge, task=task, **{"among the views": True}).set_index("quantity")
    lost = 100 * (rows.loc["h", "value"] - rows.loc["g(h)", "value"])
    line = f"{task}: the head loses {lost:.1f} points"
    without = ours(knowledge, task=task, **{"among the views": False}).set_index("quantity")
    if len(without):
        lost = 100 * (without.loc["h", "value"] - without.loc["g(h)", "value"])
        line += f"; where the views never did this, {lost:.1f}"
    print(line)

# %% [markdown] slideshow={"slide_type": "fragment"}
# The second figure in each line is the control: networks whose views never contained this operation. Nothing asked them to forget it.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 12 · Which augmentations?
#
# Back to your prediction from section 2. Views made by one operation (diagonal) or by two; both views by the same recipe; a linear probe afterwards.

# %% slideshow={"slide_type": "-"}
by_pair = scoreboard.table("simclr-augmentations")
linear = ours(by_pair, quantity="linear probe")
names = list(dict.fromkeys(linear["first"]))
grid = torch.full((len(names), len(names)), math.nan)
for row in linear.itertuples():
    i, j = names.index(row.first), names.index(row.second)
    grid[i, j] = grid[j, i] = 100 * row.value
figure, axis = plt.subplots(figsize=(6, 4.8))
picture = axis.imshow(grid, cmap="cividis")
for i, j in itertools.product(range(len(names)), repeat=2):
    bright = grid[i, j] > (grid.min() + grid.max()) / 2
    axis.text(j, i, f"{grid[i, j]:.1f}", ha="center", va="center", color="black" if bright else "white", fontsize=12)
axis.set(title="Linear probe after views by one or two operations", xticks=range(len(names)), xticklabels=names,
         yticks=range(len(names)), yticklabels=names, xlabel="and", ylabel="views by")
figure.colorbar(picture, label="test accuracy (top-1), percent")
plots.show(figure, alt="Symmetric table of linear-probe accuracy for pairs of operations: crop, colour, cutout, "
                       "rotation and noise, each alone on the diagonal.")
print(scoreboard.caption(by_pair))

# %% slideshow={"slide_type": "-"}
best = linear.loc[linear["value"].idxmax()]
print(f"best pair: {best['first']} and {best['second']}, {percent(best)}")
alone = linear[linear["first"] == linear["second"]]
print(f"best alone: {alone.loc[alone['value'].idxmax(), 'first']}, {percent(alone.loc[alone['value'].idxmax()])}")
argument = linear[linear["seeds"] > 1]
ranking(argument.assign(views=[a if a == b else f"{a} and {b}" for a, b in zip(argument["first"], argument["second"])]),
        "views")

# %% [markdown] slideshow={"slide_type": "fragment"}
# In the paper (Figure 5) crop and colour together stand out, and neither is enough alone. **The reason is a shortcut:** two crops of one photograph have nearly the same colour histogram, so a network can tell partners by colour without looking at shapes. Colour distortion shuts that door. Here it is, on our test images:

# %% slideshow={"slide_type": "-"}
crops = nn.Sequential(augment.RandomResizedCrop(size, scale=(0.2, 1.0)), augment.RandomHorizontalFlip())
colours = nn.Sequential(augment.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8), augment.RandomGrayscale(0.2))
torch.manual_seed(0)
x = test.float_images()[:course.pick(smoke=200, laptop=500, gpu=1_000)]

def colour_only(views):
    """Mean and deviation of each channel: six numbers that know nothing of shapes, standardised."""
    z = torch.cat([views.mean(dim=(2, 3)), views.std(dim=(2, 3))], dim=1)
    return (z - z.mean(dim=0)) / z.std(dim=0)

caught = {}
for name, recipe in (("crop", crops), ("crop and colour", nn.Sequential(crops, colours))):
    _, caught[name] = contrastive_statistics(colour_only(recipe(x)), colour_only(recipe(x)))
    print(f"partners found by colour alone, views by {name}: {caught[name]:.3f} (chance {1 / (2 * len(x) - 1):.4f})")

# %% slideshow={"slide_type": "-"} tags=["claim"]
assert caught["crop"] > 2 * caught["crop and colour"], caught
print("Six colour numbers find far more partners among plain crops than among crops with distorted colours.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 13 · What are the features worth elsewhere?
#
# The lecture's results: a linear classifier on SimCLR's features *approaches supervised performance* (on ImageNet 76.5 percent with a network four times as wide, as much as a supervised ResNet-50; ours is on the scoreboard below), and on twelve other sets they *often* beat supervised pre-training. The paper's figures (ResNet-50, wide, pre-trained on ImageNet):

# %% slideshow={"slide_type": "-"}
sets = "Food CIFAR10 CIFAR100 Birdsnap SUN397 Cars Aircraft VOC2007 DTD Pets Caltech-101 Flowers".split()
published = pandas.DataFrame({
    "SimCLR, linear": [76.9, 95.3, 80.2, 48.4, 65.9, 60.0, 61.2, 84.2, 78.9, 89.2, 93.9, 95.0],
    "supervised, linear": [75.2, 95.7, 81.2, 56.4, 64.9, 68.8, 63.8, 83.8, 78.7, 92.3, 94.1, 94.2],
    "SimCLR, tuned": [89.4, 98.6, 89.0, 78.2, 68.1, 92.1, 87.0, 86.6, 77.8, 92.1, 94.1, 97.6],
    "supervised, tuned": [88.7, 98.3, 88.7, 77.8, 67.0, 91.4, 88.0, 86.5, 78.8, 93.2, 94.2, 98.0],
    "random, tuned": [88.3, 96.0, 81.9, 77.0, 53.7, 91.3, 84.8, 69.4, 64.1, 82.7, 72.5, 92.5]}, index=sets)
for way in ("linear", "tuned"):
    ahead = (published[f"SimCLR, {way}"] > published[f"supervised, {way}"]).sum()
    print(f"{way}: SimCLR ahead of supervised on {ahead} of {len(sets)} sets")
published.T

# %% [markdown] slideshow={"slide_type": "fragment"}
# "Often" is a fair word: count the lines above. And look at the last row. With enough labels, random weights come close on several sets (Cars, Food, Birdsnap).
#
# Ours, small: both networks were pre-trained on CIFAR-10, the supervised one **with** its labels, and have 1,000 labels on each target. `scenes: place` asks in which quarter of the picture the object lies.
#
# > **Predict before you run.** On which target will SimCLR be *worse* than random weights, if on any? (Which question did its crops teach it to ignore?)

# %% slideshow={"slide_type": "-"}
transfer = scoreboard.table("simclr-transfer")
lines = []
for way, start in itertools.product(("linear", "fine-tuned"), ("SimCLR", "supervised", "random")):
    rows = ours(transfer, quantity=way, start=start).set_index("target")
    lines.append({"": f"{start}, {way}"} | {target: percent(row) for target, row in rows.iterrows()})
guess = ours(transfer).drop_duplicates("target").set_index("target")["majority"]
lines.append({"": "always the most common class"} | {target: f"{100 * share:.1f}" for target, share in guess.items()})
print(scoreboard.caption(transfer))
pandas.DataFrame(lines).set_index("")

# %% slideshow={"slide_type": "-"}
verdicts = {}
for way, target in itertools.product(("linear", "fine-tuned"), guess.index):
    rows = ours(transfer, quantity=way, target=target).set_index("start")
    a, b = rows.loc["SimCLR"], rows.loc["supervised"]
    verdict = "SimCLR" if a["low"] > b["high"] else "supervised" if b["low"] > a["high"] else "a tie"
    verdicts.setdefault((way, verdict), []).append(target)
for (way, verdict), targets in verdicts.items():
    print(f"{way}, {verdict}: {', '.join(targets)}")

# %% [markdown] slideshow={"slide_type": "fragment"}
# On CIFAR-10 itself the comparison is not fair to SimCLR: the supervised network has seen 45,000 of its labels. The other columns are transfer.
#
# **The published recipe.** One-file SimCLR for CIFAR-10 (ResNet-18 with a small stem, batch 512, τ = 0.5, 100 epochs) reports kNN 83.2 and linear evaluation 85.6 percent. The course's `gpu` profile runs that recipe; its column stays empty until somebody has measured it.

# %% slideshow={"slide_type": "-"}
metrics = card["metrics"]
measured = {profile: metrics if card["profile"] == profile else {} for profile in ("laptop", "gpu")}
pandas.DataFrame({"published, ResNet-18, 100 epochs": {"kNN": "83.2", "linear": "85.6"}} | {
    f"ours, {profile} profile": {name: f"{100 * found[key]:.1f}" if key in found else "" for name, key in
                                 (("kNN", "test_knn"), ("linear", "test_linear"))}
    for profile, found in measured.items()})

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 14 · Scoreboard

# %% slideshow={"slide_type": "-"}
board = scoreboard.table("scoreboard-cifar10")
plots.show(plots.scoreboard(board, notebook=6),
           alt="Bars of kNN, linear probe and ten-label accuracy on CIFAR-10 for every f(x) met so far, from pixels "
               "to SimCLR.")
print(scoreboard.caption(board))

# %% slideshow={"slide_type": "-"}
learned = [name for name in ("rotation", "triplet", "simclr") if name in set(board["feature"])]
for metric in ("kNN", "linear probe", "10 labels per class"):
    rows = ours(board, metric=metric)
    print(f"\n{metric}, without labels:")
    ranking(rows[rows["feature"].isin(learned)], "feature")
if "simclr" in learned:
    labelled, free_ = (scoreboard.select(board, feature=name, metric="linear probe")["value"]
                       for name in ("supervised (small, CIFAR-10)", "simclr"))
    print(f"\nlinear probe, points that 45,000 labels add to the same network: {100 * (labelled - free_):.1f}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 15 · Discuss
#
# 1. Two photographs of the same dog are negatives for SimCLR. When does that hurt, and what does $\tau$ have to do with it?
# 2. You want features for telling ripe from unripe fruit. Which augmentation do you leave out? Could you keep it and use $h$ all the same?
# 3. On X-rays: which of the ten operations make no sense, and which shortcut would you fear?
# 4. SimCLR needs no labels. Does it need no human knowledge? Who chose the augmentations, and by which yardstick?
# 5. More negatives without a larger batch: where could one get them?

# %% [markdown] slideshow={"slide_type": "notes"} tags=["instructor"]
# **Instructor notes.** (1) A low τ gives almost all of the push to the nearest negatives, and those are the likeliest false ones; with many images per class, and small classes, it hurts less than one fears. (2) Colour jitter and colour drop. $h$ keeps some of it (section 11), so try before you throw it away. (3) Hue, saturation and colour drop do nothing on grey images; mirrors put the heart on the wrong side;
# crops may cut the lesion out, and the two views then show different things. Shortcuts: burnt-in letters, tubes, the scanner's own look. (4) It needs a lot: the invariances are chosen by people, and were chosen by looking at ImageNet accuracy, that is, with labels. (5) Keep those of earlier batches: a queue. They go stale, since the encoder moves on: notebook 07.
# Minute plan for 90 minutes: sections 1–3 10', 4 15' (exercises 6.2 and 6.3 at home), 5 5', 6 5', 7 with the panel 8', 8 12', 9 with the panel 12', 10 8', 11 7', 12 5', 13 5'. Exercise 6.5 is good in pairs.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 16 · Recap
#
# - Two views of each image must find each other among all views of the batch: cross-entropy with a column number as the target.
# - NT-Xent weighs each negative by $e^{s/\tau}$ against the others. It mines hard negatives by itself, and $\tau$ says how sharply.
# - $\log(2N - 1)$ is the loss of a collapsed network. Know your landmarks.
# - Bigger batches hold harder negatives. Recomputing in pieces buys batch size with time.
# - The head takes the forgetting upon itself; $h$ in front of it remembers more.
# - Augmentations *are* the definition of "the same thing". Without colour distortion, colour is a shortcut.
#
# **Next:** notebook 07 keeps negatives from earlier batches in a queue, and needs a slow copy of the encoder to make that work.
#
# **References.** Chen, Kornblith, Norouzi & Hinton 2020, *A Simple Framework for Contrastive Learning of Visual Representations* (SimCLR). Wang & Isola 2020, *Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere*. Wang & Liu 2021, *Understanding the Behaviour of Contrastive Loss*. Sohn 2016, *Improved Deep Metric Learning with Multi-class N-pair Loss Objective*.
# van den Oord, Li & Vinyals 2018, *Representation Learning with Contrastive Predictive Coding*. Schroff, Kalenichenko & Philbin 2015, *FaceNet*. Gao et al. 2021, *Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup* (gradient caching).
