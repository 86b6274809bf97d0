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
# # 07 · MoCo
#
# **Which function $f(x)$ puts images of the same thing close together?** Last candidate: contrastive learning that keeps its negatives in a **queue**, so that it can have thousands of them with a small batch.
#
# | | |
# |---|---|
# | You will | build the queue and the momentum encoder in ten lines, see why MoCo's loss first *rises*, measure what momentum, queue length and BatchNorm do, and close the course's chart of all $f(x)$ |
# | You need | notebook 06 (views, projection head, NT-Xent, temperature); basic PyTorch training |
# | Slides | *Impact of Batch Size* · *Momentum Contrast (MoCo)* · *MoCo v2* (Tables 2 and 3) · *Recap* |
# | Time to run | about three minutes on a laptop; to work through, about 90 minutes with the exercises |
#
# Helpers come from `course_utils`. What this notebook is about (the queue, the momentum encoder, the loss) is written out here.

# %% slideshow={"slide_type": "skip"} tags=["setup"]
import copy
import math

import torch
from matplotlib import pyplot as plt
from torch import nn
from torch.nn import functional as F

from course_utils import augment, checkpoints, datasets, encoders, methods, plots, scoreboard, setup, widgets
from course_utils.evaluation import features, knn_accuracy, linear_probe, nearest_neighbors
from course_utils.losses import info_nce
from course_utils.training import fit

course = setup(seed=0)

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 1 · A dictionary to look things up in
#
# SimCLR's negatives are the other images of the batch. More negatives means a larger batch, and a larger batch means more memory: every image goes through the encoder *with gradient*, and all
# that backward will need is kept. The slide *Impact of Batch Size* says "requires large batches". Does it?
#
# Look at the loss from one query's side. A view $q$ must find the other view of its image, the key $k_+$, among many keys. This is **looking something up in a dictionary**. Who says that the keys of the dictionary
# must have been made in this very step? Or that a gradient must flow into them?
#
# $$\ell_q = -\log \frac{\exp(q \cdot k_+ / \tau)}{\exp(q \cdot k_+ / \tau) + \sum_{i=1}^{K} \exp(q \cdot k_i / \tau)}$$
#
# Here $q$ is the query, $k_+$ the key of the other view of the same image, $k_1, \dots, k_K$ are keys of *other* images, all of length one, and $\tau$ is the temperature. The name of this loss is **InfoNCE**. MoCo (He et al. 2020)
# takes the $K$ keys from **earlier batches**. They cost a few numbers each; nothing else of those batches is kept.

# %% slideshow={"slide_type": "-"}
def equation_1(q, k, queue, tau=0.2):
    """InfoNCE as the paper writes it. q, k: unit vectors [B, D]; queue: unit vectors [K, D]"""
    positive = ((q * k).sum(1) / tau).exp()                       # [B]
    negatives = (q @ queue.T / tau).exp().sum(1)                  # [B]
    return -(positive / (positive + negatives)).log().mean()

# %% slideshow={"slide_type": "-"} tags=["nbval-check-output"]
torch.manual_seed(0)
q, k, keys = (F.normalize(torch.randn(n, 16), dim=1) for n in (5, 5, 40))
q.requires_grad_()
values = equation_1(q, k, keys), info_nce(q, k, keys, temperature=0.2)
torch.testing.assert_close(*values)
# info_nce brings q to length one itself, so its gradient has no part along q; ours has: take it out
slopes = [torch.autograd.grad(value, q)[0] for value in values]
slopes = [slope - (slope * q).sum(1, keepdim=True) * q for slope in slopes]
torch.testing.assert_close(*slopes)
print("the loss above and losses.info_nce agree, in value and gradient")

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 7.1 · The answer is always number 0
# *Difficulty ●●○ · about 15 minutes · 3 points.* **Why it matters:** written with `exp` and `log`, the loss overflows at small temperatures. As a cross-entropy it does not. And a gradient that leaks into the keys trains the wrong network, without any error message.
#
# InfoNCE is a classification: of $1 + K$ keys, which one is mine? Build the scores `[B, 1 + K]` with the image's own key **in column 0**; the right class is then 0 for every row. `F.cross_entropy` does the rest. `q` and `k`
# come straight from the heads, so bring them to length one; the queue holds unit vectors already. Neither `k` nor `queue` may receive a gradient.

# %% nbgrader={"grade": false, "grade_id": "infonce-solution", "locked": false, "schema_version": 3, "solution": true, "task": false} slideshow={"slide_type": "skip"}
def contrast(q, k, queue, tau=0.2):
    """InfoNCE, a scalar. q, k: [B, D], of any length; queue: unit vectors [K, D]"""
    ### BEGIN SOLUTION
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    own = (q * k).sum(1, keepdim=True)                            # [B, 1]
    scores = torch.cat([own, q @ queue.detach().T], dim=1) / tau  # [B, 1 + K]
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long, device=q.device))
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "infonce-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} slideshow={"slide_type": "skip"}
torch.manual_seed(1)
a, b = (torch.randn(6, 8, requires_grad=True) for _ in range(2))
memory = F.normalize(torch.randn(20, 8), dim=1)
mine, expected = contrast(a, b, memory, 0.3), equation_1(F.normalize(a), F.normalize(b), memory, 0.3)
assert mine.shape == (), f"the loss is one number, got shape {list(mine.shape)}"
assert abs(mine.item() - expected.item()) < 1e-5, (
    f"expected {expected.item():.4f}, got {mine.item():.4f}: is the own key in column 0, and q and k of length one?")
assert mine.requires_grad, "the loss has no gradient: only k and queue are cut off, not q"
### BEGIN HIDDEN TESTS
slope_a, slope_b = torch.autograd.grad(mine, (a, b), allow_unused=True)
theirs, = torch.autograd.grad(expected, a)
torch.testing.assert_close(slope_a, theirs, rtol=1e-4, atol=1e-6, msg="the gradient of q is wrong")
assert slope_b is None or slope_b.abs().sum() == 0, "a gradient flows into k: the keys must be cut off (detach)"
learning = memory.clone().requires_grad_()
slope, = torch.autograd.grad(contrast(a, b, learning), learning, allow_unused=True)
assert slope is None or slope.abs().sum() == 0, "a gradient flows into the queue"
torch.testing.assert_close(contrast(a, b, memory), info_nce(a, b, memory), msg="wrong with the default tau, 0.2")
cold, reference = contrast(a, -a.detach(), memory, 0.005), info_nce(a, -a, memory, 0.005)
assert torch.isfinite(cold), f"at tau = 0.005 the loss became {cold.item()}: exp overflows in float32"
torch.testing.assert_close(cold, reference, msg="tau = 0.005 makes no difference: do you use it?")
### END HIDDEN TESTS

# %% [markdown] slideshow={"slide_type": "skip"}
# <details><summary>Hint: the value is wrong, and it changes when you shuffle the batch's keys</summary>
#
# In SimCLR the right answer of row $i$ was another row of the batch, so the targets were `arange`. Here every query has its *own* first column: `(q * k).sum(1, keepdim=True)`, shape `[B, 1]`, and not `q @ k.T`. Put the queue's scores behind
# it with `torch.cat(…, dim=1)`, divide by τ once, and let all targets be zero.
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 2 · The queue
#
# *Cache negative samples from earlier batches as you train.* First in, first out: new keys come in at one end, and as many old ones leave at the other.

# %% slideshow={"slide_type": "-"}
def push(queue, keys):
    """The queue [K, D] after the keys [B, D] came in at the end and the oldest left at the front."""
    return torch.cat([queue, keys])[-len(queue):]

# %% [markdown] slideshow={"slide_type": "fragment"}
# One line, and obviously right. It also copies the whole queue in every step. Real code writes the new keys *over the oldest ones* and remembers where to go on. Watch `methods.MoCo` do that, with a queue of $K = 10$ places and batches
# of $B = 4$, so that a batch now and then runs over the end. (Each key holds the number of its step, and nothing else.)

# %% slideshow={"slide_type": "-"}
small = encoders.resnet10("fast", width=4)
toy = methods.MoCo(small, augment=nn.Identity(), head=encoders.projection_head(small.feature_dim, 1), queue_length=10)
toy.queue.fill_(math.nan)
slots = []
for step in range(1, 9):
    toy.enqueue(torch.full((4, 1), float(step)))
    slots.append(step - toy.queue[:, 0])                                       # age of each key, in steps
figure, axis = plt.subplots(figsize=(8, 3.6))
axis.imshow(torch.stack(slots), cmap="Blues", vmin=-1, vmax=4, aspect="auto")
for (step, slot), age in [((i, j), slots[i][j].item()) for i in range(8) for j in range(10)]:
    axis.text(slot, step, "·" if math.isnan(age) else f"{age:.0f}", ha="center", va="center",
              color="white" if age == 2 else "black")
axis.set(title="Age of the key in each place (0: just written)", xlabel="place in the queue", ylabel="after step",
         xticks=range(10), yticks=range(8), yticklabels=range(1, 9))
plots.show(figure, alt="A table of eight steps by ten places. In each step four places are written, going on where "
                       "the step before stopped and starting again at the front; no key is older than two steps.")

# %% [markdown] slideshow={"slide_type": "fragment"}
# The age tells how many steps ago a key was made. With $K$ places and $B$ keys a step, the oldest key is about $K / B$ steps old. That number will matter.

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 7.2 · A queue that goes round
# *Difficulty ●●○ · about 15 minutes · 3 points.* **Why it matters:** well-known code demands that $K$ be a multiple of $B$, or silently drops keys at the end of the queue.
#
# Write the keys into `queue` **in place**, from `position` on, and go on at the front where the end is reached. Return the position of the next key, between 0 and $K - 1$. $K$ need not be a multiple of $B$. Should a batch have more than $K$ keys, the last $K$ stay.

# %% nbgrader={"grade": false, "grade_id": "enqueue-solution", "locked": false, "schema_version": 3, "solution": true, "task": false} slideshow={"slide_type": "skip"}
def enqueue(queue, position, keys):
    """Write keys [B, D] over the oldest rows of queue [K, D], in place; returns the next position."""
    ### BEGIN SOLUTION
    length = len(queue)
    places = (position + torch.arange(len(keys), device=queue.device)) % length
    queue[places[-length:]] = keys[-length:]
    return (position + len(keys)) % length
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "enqueue-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} slideshow={"slide_type": "skip"}
ring, line, position, number = torch.zeros(10, 2), torch.zeros(10, 2), 0, 1
address = ring.data_ptr()
for step in range(7):
    batch = torch.arange(number, number + 8.0).view(4, 2)
    position, line, number = enqueue(ring, position, batch), push(line, batch), number + 8
    assert 0 <= position < 10, f"after step {step + 1} the position is {position}, outside the queue"
    assert torch.equal(ring.roll(-position, 0), line), (
        f"after step {step + 1} the queue should hold the last 10 keys; a key was lost or is in the wrong place")
assert ring.data_ptr() == address, "write into the queue you were given, do not make a new one"
### BEGIN HIDDEN TESTS
for length, size in ((8, 4), (7, 3), (5, 5), (4, 9), (1, 3), (3, 6)):
    ring, line, position = torch.full((length, 1), -1.0), torch.full((length, 1), -1.0), 0
    for step in range(9):
        batch = torch.arange(100.0 * step, 100 * step + size)[:, None]
        position, line = enqueue(ring, position, batch), push(line, batch)
        assert torch.equal(ring.roll(-int(position), 0), line), f"wrong with K = {length}, B = {size}"
### END HIDDEN TESTS

# %% [markdown] slideshow={"slide_type": "skip"}
# <details><summary>Hint: "The expanded size of the tensor (2) must match the existing size (4)"</summary>
#
# `queue[position:position + B] = keys` stops at the end of the queue. Compute the places one by one instead, `position, position + 1, …`, take them modulo $K$, and index with that tensor: `queue[places] = keys`.
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 3 · The momentum encoder
#
# The keys in the queue were made by the encoder as it was some steps ago, and the encoder moves. If it moves fast, the dictionary mixes languages: a query of today is compared with keys in yesterday's code. So MoCo lets a second encoder make the keys, one that
# moves **slowly**:
#
# $$\theta_k \leftarrow m\,\theta_k + (1 - m)\,\theta_q$$
#
# $\theta_q$ are the weights of the **query encoder**, which learns by gradient. $\theta_k$ are those of the **key encoder**, which never sees a gradient. $m$ is the momentum; the paper takes 0.999.

# %% slideshow={"slide_type": "-"}
def follow(keys_state, query_state, m):
    """θk ← m θk + (1 - m) θq, tensor by tensor; whole numbers (BatchNorm's counters) are taken over."""
    return {name: m * old + (1 - m) * query_state[name] if old.is_floating_point() else query_state[name]
            for name, old in keys_state.items()}

# %% [markdown] slideshow={"slide_type": "fragment"}
# Unroll the formula and you see an average over the past: the query encoder of $a$ steps ago has the weight $(1 - m)\,m^a$. Its mean age is $m / (1 - m)$ steps.

# %% slideshow={"slide_type": "-"}
ages = torch.arange(0, 2_000)
figure, axis = plt.subplots(figsize=(8, 3.4))
for m, color, style in ((0.9, plots.ORANGE, "-"), (0.99, plots.BLUE, "--"), (0.999, plots.GREEN, "-.")):
    axis.plot(ages + 1, (1 - m) * m**ages, color=color, ls=style, label=f"m = {m}: mean age {m / (1 - m):.0f} steps")
axis.set(xscale="log", yscale="log", ylim=(1e-6, 1), xlabel="1 + age of the query encoder, in steps (logarithmic)",
         ylabel="its weight", title="What the key encoder is made of")
axis.legend()
plots.show(figure, alt="Weight against age on logarithmic axes for three momenta. The larger m, the lower the curve "
                       "starts and the farther back it reaches.")

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 7.3 · Follow in place
# *Difficulty ●●○ · about 20 minutes · 3 points.* **Why it matters:** BatchNorm's running mean and variance are part of an encoder, and they are not parameters. A key encoder that keeps its first statistics is another network than the one you think.
#
# Move `key_net` towards `query_net`, **in place** (the same tensors, new values): all parameters, and all BatchNorm statistics as well. Counters (whole numbers) are copied. Nothing of this may be recorded for a gradient, and the two networks must not share memory afterwards, not even for $m = 0$.

# %% nbgrader={"grade": false, "grade_id": "ema-solution", "locked": false, "schema_version": 3, "solution": true, "task": false} slideshow={"slide_type": "skip"}
def move_towards(key_net, query_net, m):
    """key_net ← m · key_net + (1 - m) · query_net, for parameters and buffers; returns nothing."""
    ### BEGIN SOLUTION
    with torch.no_grad():
        for old, new in zip(key_net.state_dict().values(), query_net.state_dict().values()):
            if old.is_floating_point():
                old.mul_(m).add_(new, alpha=1 - m)
            else:
                old.copy_(new)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "ema-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} slideshow={"slide_type": "skip"}
torch.manual_seed(0)
slow, quick = (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)) for _ in range(2))
quick(torch.randn(20, 4) + 5)                                                # gives quick other statistics
slow.requires_grad_(False)
before, places = copy.deepcopy(slow.state_dict()), [t.data_ptr() for t in slow.state_dict().values()]
expected = follow(before, quick.state_dict(), 0.9)
move_towards(slow, quick, 0.9)
for name, value in slow.state_dict().items():
    stayed = " (it did not move at all)" if torch.equal(value, before[name]) else ""
    assert torch.allclose(value.float(), expected[name].float(), atol=1e-6), f"{name} is not what it should be{stayed}"
assert [t.data_ptr() for t in slow.state_dict().values()] == places, "change the tensors that are there: in place"
### BEGIN HIDDEN TESTS
assert all(p.grad_fn is None and not p.requires_grad for p in slow.parameters()), "this must not be recorded"
assert all(p.requires_grad for p in quick.parameters()), "the query network must go on learning"
move_towards(slow, quick, 0.0)
for name, value in slow.state_dict().items():
    assert torch.equal(value, quick.state_dict()[name]), f"with m = 0, {name} should equal the query network's"
with torch.no_grad():
    quick[0].weight.add_(1)
assert not torch.equal(slow[0].weight, quick[0].weight), "with m = 0 the two networks share memory: copy values"
learning = nn.Linear(2, 2)                                                   # still asks for gradients
move_towards(learning, nn.Linear(2, 2), 0.5)
assert learning.weight.is_leaf and learning.weight.requires_grad, "work under torch.no_grad()"
untouched = copy.deepcopy(quick.state_dict())
move_towards(slow, quick, 1.0)
assert all(torch.equal(v, untouched[n]) for n, v in quick.state_dict().items()), "the query network moved"
### END HIDDEN TESTS

# %% [markdown] slideshow={"slide_type": "skip"}
# <details><summary>Hint: "1.running_mean is not what it should be (it did not move at all)"</summary>
#
# `parameters()` leaves the buffers out. `state_dict()` has both, and its tensors share memory with the module: changing them in place changes the module. `num_batches_tracked` is a whole number, which cannot be averaged: copy it.
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ### The whole algorithm
#
# All of MoCo (Algorithm 1 of the paper) fits in one short function:

# %% slideshow={"slide_type": "-"}
def moco_step(f_q, f_k, queue, x1, x2, m, tau):
    """The loss of one batch of views x1, x2 [B, 3, H, W], and the queue for the next."""
    f_k.load_state_dict(follow(f_k.state_dict(), f_q.state_dict(), m))
    q = F.normalize(f_q(x1), dim=1)                               # queries learn …
    with torch.no_grad():
        k = F.normalize(f_k(x2), dim=1)                           # … keys do not
    loss = equation_1(q, k, queue, tau)
    return loss, push(queue, k)                                   # only now: no key is its own negative

# %% [markdown] slideshow={"slide_type": "fragment"}
# Against `methods.MoCo`, step after step, with a queue whose length (10) is no multiple of the batch (4): same losses, same weights, same queue. The keys are collected on the way, so that we can also look at *what* is in the queue.

# %% slideshow={"slide_type": "-"}
torch.manual_seed(0)
small = encoders.resnet10("fast", width=8)
method = methods.MoCo(small, augment=augment.moco_v2_augment(32), head=encoders.projection_head(small.feature_dim, 16),
                      queue_length=10, momentum=0.9, temperature=0.2)
f_q = copy.deepcopy(nn.Sequential(method.encoder, method.head))
f_k = copy.deepcopy(f_q).requires_grad_(False)
queue, all_keys = method.queue.clone(), []
for step in range(7):
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(step))
    torch.manual_seed(step)                                       # both draw the same views
    theirs = method(images)
    torch.manual_seed(step)
    ours, queue = moco_step(f_q, f_k, queue, method.augment(images), method.augment(images), m=0.9, tau=0.2)
    all_keys.append(queue[-4:])
    for loss, weights in ((theirs, [*method.encoder.parameters(), *method.head.parameters()]),
                          (ours, list(f_q.parameters()))):
        for p, gradient in zip(weights, torch.autograd.grad(loss, weights)):
            p.data.sub_(gradient, alpha=0.01)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)

# %% slideshow={"slide_type": "-"} tags=["claim", "nbval-check-output"]
theirs = method.queue.roll(-int(method.position), 0)              # oldest first
torch.testing.assert_close(theirs, queue, rtol=1e-3, atol=1e-3)
torch.testing.assert_close(theirs, torch.cat(all_keys)[-10:], rtol=1e-3, atol=1e-3)
for ours, other in zip(f_q.parameters(), [*method.encoder.parameters(), *method.head.parameters()]):
    torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-3)
assert not method.queue.requires_grad and not any(p.requires_grad for p in method.key_encoder.parameters())
print(f"{7 * 4} keys were made; the queue of {len(queue)} holds the last {len(queue)}, and none of them has a gradient")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 4 · Why the loss first rises
#
# > **Predict before you run.** A loss is supposed to fall. This one starts with a queue of *random* vectors. What will it do while the queue fills with real keys? And where is the loss of a network that maps all images to one point?

# %% slideshow={"slide_type": "-"}
scenes = datasets.load("scenes", "train", limit=course.pick(smoke=640, laptop=10_000, gpu=10_000))
scenes_test = datasets.load("scenes", "test", limit=course.pick(smoke=300, laptop=1_000, gpu=2_000))
length, batch, tau = course.pick(smoke=(256, 32, 0.2), laptop=(4096, 128, 0.2), gpu=(4096, 128, 0.2))
torch.manual_seed(0)
random_network = encoders.resnet10("fast").to(course.device).eval()
torch.manual_seed(0)
encoder = encoders.resnet10("fast")
moco = methods.MoCo(encoder, augment=augment.moco_v2_augment(32), head=encoders.projection_head(encoder.feature_dim),
                    queue_length=length, momentum=0.99, temperature=tau).to(course.device)

# %% [markdown] slideshow={"slide_type": "fragment"}
# Before the training, two numbers of the *untrained* network: how alike are two views of one image, and how alike are two different images?

# %% slideshow={"slide_type": "-"}
with torch.no_grad():
    some = scenes.float_images()[:batch].to(course.device)
    probe_me = copy.deepcopy(moco)                                # train mode: BatchNorm as in the first step
    q = F.normalize(probe_me.queries(moco.augment(some)), dim=1)
    alike = (q @ probe_me.keys(moco.augment(some)).T).cpu()       # [B, B]
same = alike.diag().mean().item()
other = (alike.sum() - alike.trace()).item() / (batch * (batch - 1))
print(f"mean cosine before training: same image {same:.3f}, other images {other:.3f}, random vectors 0")

# %% [markdown] slideshow={"slide_type": "fragment"}
# An untrained network maps everything to nearly the same place. So a real key looks almost like the right answer, while a random vector of the first queue does not. Put these cosines into the loss. If the network stood still, then after $t$ steps, with
# $n = \min(tB, K)$ real keys in the queue,
#
# $$\ell_t \approx \log\!\Big(1 + (K - n)\, e^{(0 - s_+)/\tau + 1/(2 D \tau^2)} + n\, e^{(s_- - s_+)/\tau}\Big),$$
#
# where $s_+$ and $s_-$ are the two cosines from above, $D$ is the size of a key, and $1/(2D\tau^2)$ comes from the spread of random vectors. When all cosines are equal, this is $\log(1 + K)$: pure guessing.

# %% slideshow={"slide_type": "-"}
losses = []
hook = moco.register_forward_hook(lambda *call: losses.append(call[-1].detach()))
history = fit(moco, scenes, epochs=course.pick(smoke=2, laptop=10, gpu=20), batch_size=batch, lr=0.1,
              warmup_epochs=1, max_minutes=course.pick(smoke=None, laptop=1, gpu=2))
hook.remove()
losses = torch.stack(losses).cpu()
print(history)

# %% slideshow={"slide_type": "-"}
def standing_still(t):
    n = (t * batch).clamp(max=length)
    noise = 1 / (2 * moco.queue.shape[1] * tau**2)
    return torch.log(1 + (length - n) * math.exp(-same / tau + noise) + n * math.exp((other - same) / tau))

full = math.ceil(length / batch)                                  # steps until the queue is full of real keys
shown = min(len(losses), 6 * full)
figure, axis = plt.subplots(figsize=(8, 3.8))
axis.plot(losses[:shown], color=plots.BLUE, label="measured")
axis.plot(standing_still(torch.arange(shown)), color=plots.ORANGE, ls="--", label="formula: network stands still")
axis.axhline(math.log(1 + length), color=plots.BLACK, ls=":", label="guessing, log(1 + K)")
axis.axvline(full, color=plots.GREEN, ls="-.", label=f"queue full ({full} steps)")
axis.set(title=f"The first {shown} steps of MoCo on scenes, K = {length:,}", xlabel="step", ylabel="loss")
axis.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=11)
plots.show(figure, alt="The loss rises while the queue fills with real keys, close to the formula's curve, and falls "
                       "afterwards.")

# %% slideshow={"slide_type": "-"} tags=["claim"]
peak = int(losses[:3 * full].argmax())
assert losses[peak] > losses[0] and peak > 0, (losses[0], losses[peak])
print(f"the loss rose from {losses[0]:.2f} to {losses[peak]:.2f} at step {peak}; guessing would cost "
      f"{math.log(1 + length):.2f}; the last steps: {losses[-10:].mean():.2f}")

# %% [markdown] slideshow={"slide_type": "fragment"}
# **A rising loss is no bug here.** The task is being made harder: easy negatives (noise) are replaced by real ones. It also follows that MoCo's losses cannot be compared across $K$ or $\tau$, and that a loss says little about features. So look at those:

# %% slideshow={"slide_type": "-"}
bank = scenes[:course.pick(smoke=600, laptop=5_000, gpu=5_000)]
live = {}
for name, network in (("random network", random_network), ("MoCo", moco.encoder)):
    z, z_test = features(network, bank).cpu(), features(network, scenes_test).cpu()
    live[name] = linear_probe(z, bank.labels, z_test, scenes_test.labels)
plots.show(plots.bars(list(live), [probe.accuracy for probe in live.values()],
                      [probe.interval for probe in live.values()], chance=0.1, xlabel="test accuracy (top-1)",
                      title="Linear probe for the class on scenes (pictures made by code)"),
           alt="Bars of linear-probe accuracy on scenes for the random network and for MoCo after this training.")
if len(losses) > 300:       # after fewer steps nothing is promised; section 5 asserts it for the shipped network
    assert live["MoCo"].accuracy > live["random network"].accuracy, live

# %% slideshow={"slide_type": "-"}
plots.show(plots.three_images(lambda x: features(moco.encoder, x), name="MoCo"),
           alt="Three pictures and their distances under the network trained with MoCo.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 5 · Real photographs
#
# The course ships a network that MoCo trained on 45,000 CIFAR-10 images, without labels (`python -m course_utils pretrain moco cifar10` repeats it).

# %% slideshow={"slide_type": "-"}
train = course.natural_images("train", limit=course.pick(smoke=600, laptop=5_000, gpu=10_000))
test = course.natural_images("test", limit=course.pick(smoke=300, laptop=2_000, gpu=10_000))
print(f"images: {train.source}; {len(train):,} to train probes on, {len(test):,} to test")
shipped = checkpoints.load(f"moco-{train.name}")
card = shipped.card
print(f"MoCo saw {card['images']:,} images in {card['epochs_run']} epochs")
shipped_encoder = shipped.encoder.to(course.device)
train_z, test_z = (features(shipped_encoder, data).cpu() for data in (train, test))

# %% slideshow={"slide_type": "-"}
queries = torch.cat([(test.labels == c).nonzero()[2:3, 0] for c in (0, 1, 3, 5, 7, 8)])
figure, axes = plt.subplots(1, 2, figsize=(13, 5))
for axis, name, query, memory in (
        (axes[0], "raw pixels", test.float_images().flatten(1), train.float_images().flatten(1)),
        (axes[1], "MoCo", test_z, train_z)):
    _, index = nearest_neighbors(query[queries], memory, k=7)
    plots.neighbor_grid(test[queries], train, index, title=f"f(x) = {name}", axis=axis)
plots.show(figure, alt="Six queries with their seven nearest neighbours under raw pixels, left, and under MoCo "
                       "features, right; neighbours of the query's class are framed.")

# %% slideshow={"slide_type": "-"} tags=["claim"]
start_z, start_test_z = (features(random_network, data).cpu() for data in (train, test))
from_moco = linear_probe(train_z, train.labels, test_z, test.labels)
from_random = linear_probe(start_z, train.labels, start_test_z, test.labels)
assert from_moco.accuracy > from_random.accuracy + 0.05, (from_moco.accuracy, from_random.accuracy)
print(f"linear probe on {train.name}: MoCo {from_moco.accuracy:.3f}, random weights {from_random.accuracy:.3f}; "
      f"kNN with MoCo: {knn_accuracy(train_z, train.labels, test_z, test.labels):.3f} "
      f"({len(train):,} labels, n = {len(test):,})")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 6 · Young keys, consistent keys
#
# Two knobs, and both pull on the same thing. A long queue (large $K$) holds **old** keys. A fast key encoder (small $m$) makes old keys **wrong**. But a very slow one lags far behind what the query encoder has learned.
#
# To see it, let an encoder have just two weights, a dot in the plane that learns its way along a curve, with the jitter of stochastic gradients. The key encoder follows. Left, the query encoder's path is grey (the star: where it is now) and the key encoder's is blue. Each dot marks where the key encoder stood when a batch of the queue's keys was made; the dots run
# from dark (new) to yellow (old). Right, how far the key encoder has moved since (*drift*). *Lag* is its distance from the star.

# %% slideshow={"slide_type": "-"}
steps, per_step = 800, 128
along = torch.linspace(0, 4.2, steps)
course_of_q = torch.stack([along.cos() * (1 + 0.3 * along), along.sin()], dim=1)
course_of_q = course_of_q + 0.12 * torch.randn(steps, 2, generator=torch.Generator().manual_seed(0))

def follower(m):
    """Where the key encoder stood in each step: [steps, 2]"""
    at, path = course_of_q[0], []
    for theta in course_of_q:
        at = m * at + (1 - m) * theta
        path.append(at)
    return torch.stack(path)

# %% slideshow={"slide_type": "-"}
def dictionary(m=0.99, K=4096):
    path = follower(m)
    oldest = min(steps, math.ceil(K / per_step))
    made = path[-oldest:].flip(0)                                 # youngest first
    drift = (made - path[-1]).norm(dim=1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.6, 3.2), width_ratios=(1.4, 1))
    left.plot(*course_of_q.T, color="lightgrey", lw=0.8)
    left.plot(*path.T, color=plots.SKY, lw=1.5)
    left.scatter(*made.flip(0).T, c=-torch.arange(oldest).flip(0), cmap="cividis_r", s=18, zorder=3)
    left.plot(*course_of_q[-40:].mean(0), "*", ms=14, color=plots.BLACK)
    left.set(title=f"m = {m}, K = {K:,}", xlabel="weight 1", ylabel="weight 2", aspect="equal")
    right.fill_between(torch.arange(oldest), drift, color=plots.SKY)
    lag = (path[-1] - course_of_q[-40:].mean(0)).norm()
    right.set(title=f"oldest key: {oldest} steps\ndrift {drift.mean():.2f}, lag {lag:.2f}", ylim=(0, 2.5),
              xlim=(0, max(2, oldest)), xlabel="age of the key, in steps", ylabel="drift since then")
    return figure

plots.show(widgets.small_multiples(dictionary, m=[0.0, 0.99, 0.999], K=[1024, 16384]),
           alt="Paths of a made-up query encoder and its follower for three momenta and two queue lengths. Without "
               "momentum the queue's keys are scattered by jitter; with large momentum they lie along a smooth path, "
               "which lags behind; a longer queue reaches farther back.")

# %% slideshow={"slide_type": "skip"}
widgets.panel(dictionary, m=widgets.choice([0.0, 0.5, 0.9, 0.97, 0.99, 0.995, 0.999], 0.99),
              K=widgets.slider(128, 65_536, 4096, step=128))

# %% [markdown] slideshow={"slide_type": "fragment"}
# **Drift** (are the keys consistent with each other?) falls with $m$, and grows with $K$. **Lag** (does the key encoder know what the query encoder knows?) grows with $m$. How much of either is too much? That has to be measured.
#
# First the staleness of real keys. During training the keys of 128 unseen images were written down after every step. How close is a key of age $a$ to the key that the *present* key encoder gives the same image?

# %% slideshow={"slide_type": "-"}
stale = scoreboard.table("moco-staleness")
ours = stale[~stale["own"]]
looks = ((plots.VERMILION, "v"), (plots.ORANGE, "o"), (plots.BLUE, "s"), (plots.GREEN, "D"))
figure, axes = plt.subplots(1, 2, figsize=(12, 4))
for axis, quantity in zip(axes, ("cosine to the present key", "found among present keys")):
    for (m, rows), (color, marker) in zip(ours[ours["quantity"] == quantity].groupby("momentum"), looks):
        axis.plot(rows["age"] + 1, rows["value"], color=color, marker=marker, label=f"m = {m:g}")
        axis.fill_between(rows["age"] + 1, rows["low"], rows["high"], color=color, alpha=0.2, lw=0)
    axis.axvline(1 + 4096 / stale.attrs["settings"]["batch_size"], color=plots.BLACK, ls=":", lw=1.5)
    axis.set(xscale="log", ylim=(0, 1.05), title=quantity, xlabel="1 + age of the key, in steps (logarithmic)")
axes[0].set_ylabel("mean over 128 images")
axes[1].legend(title="dotted: oldest\nkey at K = 4,096", loc="upper left", bbox_to_anchor=(1, 1), fontsize=11)
plots.show(figure, alt="Cosine between an old key and the present key of the same image, and how often the present key "
                       "is the nearest one, against age, for four momenta.")
print(scoreboard.caption(stale))

# %% slideshow={"slide_type": "-"}
oldest = max(age for age in ours["age"].unique() if age <= 4096 / stale.attrs["settings"]["batch_size"])
for m in sorted(ours["momentum"].unique()):
    close, found, far = (scoreboard.select(stale, momentum=m, age=oldest, quantity=quantity)["value"] for quantity in (
        "cosine to the present key", "found among present keys", "cosine to other images' keys"))
    print(f"m = {m:<6g} a key of age {oldest}: cosine to its own present key {close:.3f}, to other images' keys "
          f"{far:.3f}; its own is the nearest in {found:.0%}")

# %% [markdown] slideshow={"slide_type": "slide"}
# ### The momentum sweep
#
# > **Predict before you run.** In the paper $m = 0$ fails (the loss oscillates), and 0.999 is best. Our runs are about a thousand steps long, theirs a million. Which $m$ will be best here?

# %% slideshow={"slide_type": "-"}
sweep = scoreboard.table("moco-momentum")
ours = sweep[~sweep["own"]]
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.8), width_ratios=(1.2, 1))
probes = ours[ours["quantity"] == "linear probe"]
plots.bars([f"m = {m:g}" for m in probes["momentum"]], probes["value"], list(zip(probes["low"], probes["high"])),
           title="Linear probe, CIFAR-10", xlabel="test accuracy (top-1)", chance=0.1, axis=left)
curves = ours[ours["quantity"] == "epoch loss"]
for (m, rows), (color, marker) in zip(curves.groupby("momentum"), looks):
    right.plot(rows["step"], rows["value"], color=color, marker=marker, label=f"m = {m:g}")
right.set(title="Training loss", xlabel="epoch", ylabel="loss, mean of the epoch")
right.legend(loc="upper left", bbox_to_anchor=(1, 1))
plots.show(figure, alt="Left, linear-probe accuracy with intervals for four momenta. Right, their training losses by "
                       "epoch.")
print(scoreboard.caption(sweep[sweep["quantity"] == "linear probe"]))

# %% slideshow={"slide_type": "-"}
def against_the_best(rows, name):
    """One line for each row: apart from the best one, or a tie with it, by 95 % intervals."""
    best = rows.loc[rows["value"].idxmax()]
    for _, row in rows.iterrows():
        verdict = "the best" if row["value"] == best["value"] else (
            "below the best" if row["high"] < best["low"] else "a tie with the best")
        paper = f"   (paper, ImageNet: {row['paper']:.1f})" if "paper" in row and row["paper"] == row["paper"] else ""
        print(f"{name} {row[name]}: {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}), {verdict}{paper}")

against_the_best(probes, "momentum")
total = sweep.attrs["settings"]["steps"]
print(f"a run has {total} steps; with m = 0.999 the key encoder's own first weights still count "
      f"{0.999**total:.0%} after the last one")

# %% [markdown] slideshow={"slide_type": "fragment"}
# **Paper versus ours.** The paper's figures are for ResNet-50 on ImageNet (its ablation of $m$, with $K = 4{,}096$ as here; for $m = 0$ it reports failure, and no number). Two things differ. Its runs are a thousand times longer, so that the memory of $1/(1-m)$ steps is short beside them; the right $m$
# goes with the length of the run. And its network is deep where ours is shallow: whatever happens here at $m = 0$ does not say what a ResNet-50 does. What our runs say stands in the lines above, ties included: read the intervals before you call a winner.
#
# The same runs, step by step at the start. The rise of section 4 is there for every $m$, since the queue is filled with real keys whoever makes them:

# %% slideshow={"slide_type": "-"}
figure, axis = plt.subplots(figsize=(8, 3.4))
first = ours[ours["quantity"] == "loss"]
for (m, rows), (color, _) in zip(first.groupby("momentum"), looks):
    axis.plot(rows["step"], rows["value"], color=color, label=f"m = {m:g}", lw=1.5)
axis.axhline(math.log(1 + 4096), color=plots.BLACK, ls=":", lw=1.5, label="guessing, log(1 + K)")
axis.set(title="The first steps on CIFAR-10, mean over seeds", xlabel="step", ylabel="loss")
axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
plots.show(figure, alt="Loss against step for four momenta: it rises while the queue fills and then falls.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 7 · How long a queue?
#
# The paper's queue has 65,536 keys, and accuracy grows with $K$. But 65,536 is 5 % of ImageNet's 1.28 million images. What if the data set is small? Then the queue holds keys **of the query's own image**, from earlier epochs, and calls them negatives: *false negatives*, the very thing that the loss should pull close.

# %% slideshow={"slide_type": "-"}
def own_keys(K, N=1_000, B=50):
    """Mean number of keys of a query's own image in the queue; each epoch visits N images in a new order."""
    generator = torch.Generator().manual_seed(0)
    stream = torch.cat([torch.randperm(N, generator=generator) for _ in range(4 + K // N)])     # keys, as they come
    return torch.stack([(stream[t:t + B, None] == stream[t - K:t]).sum(1).float().mean()
                        for t in range(len(stream) - 2 * N, len(stream), B)]).mean().item()

for share in (0.05, 0.4, 1, 2, 4):
    found = own_keys(int(share * 1_000))
    print(f"K = {share:g} × the data set: {found:.3f} keys of the query's own image in the queue, on average")

# %% [markdown] slideshow={"slide_type": "fragment"}
# A small queue is nearly free of them, since within an epoch no image comes twice. From $K = N$ on, each image is there about half a time, and then once more for every $N$ keys.
#
# > **Predict before you run.** CIFAR-10, 10,000 images; queues from 128 keys (one batch) to 40,000 (four keys for each image). Where will accuracy be best? Is the harm at the long end large?

# %% slideshow={"slide_type": "-"}
lengths = scoreboard.table("moco-queue")
ours = lengths[~lengths["own"]]
figure, axis = plt.subplots(figsize=(8, 3.8))
for quantity, color, marker in (("linear probe", plots.BLUE, "s"), ("kNN", plots.ORANGE, "o")):
    rows = ours[ours["quantity"] == quantity]
    axis.errorbar(rows["queue_length"], rows["value"], yerr=[rows["value"] - rows["low"], rows["high"] - rows["value"]],
                  color=color, marker=marker, capsize=3, label=quantity)
images = lengths.attrs["settings"]["images"]
axis.axvline(images, color=plots.BLACK, ls=":", lw=1.5, label=f"size of the data set, {images:,}")
axis.set(xscale="log", title="Queue length against accuracy, CIFAR-10", xlabel="K, keys in the queue (logarithmic)",
         ylabel="test accuracy (top-1)")
axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
plots.show(figure, alt="Accuracy of linear probe and kNN with intervals against the length of the queue; a dotted line "
                       "marks the size of the data set.")
against_the_best(ours[ours["quantity"] == "linear probe"], "queue_length")
print(scoreboard.caption(lengths))

# %% [markdown] slideshow={"slide_type": "fragment"}
# Two forces are at work. More keys make the task harder and the estimate of "everything else" better. More keys of one's own image, and (with ten classes) a tenth of *all* keys being of the query's class whatever $K$, push apart what belongs together. One false negative among thousands has little weight in
# the softmax, unless it is the nearest of all; and an old key of one's own image is just that. Which force wins, and whether the difference is more than noise, is what the lines above say.

# %% [markdown] slideshow={"slide_type": "skip"}
# ### Exercise 7.4 · The key that is its own negative
# *Difficulty ●●● · about 20 minutes · 3 points.* **Why it matters:** this bug was in widely used code. It runs, the loss looks healthy, and the features get worse.
#
# In the symmetric form each view is query once and key once: the loss is the **mean** of the terms ($q_1$ finds $k_2$) and ($q_2$ finds $k_1$). Both batches of keys then enter the queue. Mind the order: at no time may a query's own key be among its negatives.

# %% nbgrader={"grade": false, "grade_id": "symmetric-solution", "locked": false, "schema_version": 3, "solution": true, "task": false} slideshow={"slide_type": "skip"}
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    """(loss, new queue). q1, k1: first views by query and key encoder, q2, k2: second views; unit vectors [B, D]"""
    ### BEGIN SOLUTION
    loss = (info_nce(q1, k2, queue, tau) + info_nce(q2, k1, queue, tau)) / 2
    return loss, push(push(queue, k2), k1)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "symmetric-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} slideshow={"slide_type": "skip"}
torch.manual_seed(2)
q1, q2, k1, k2 = (F.normalize(torch.randn(4, 8), dim=1) for _ in range(4))
memory = F.normalize(torch.randn(20, 8), dim=1)
loss, after = symmetric_step(q1, q2, k1, k2, memory.clone())
terms = [equation_1(q1, k2, memory).item(), equation_1(q2, k1, memory).item()]
assert abs(loss.item() - sum(terms) / 2) < 1e-5, (
    f"expected the mean of {terms[0]:.4f} and {terms[1]:.4f}, got {loss.item():.4f}: which keys were in the queue when "
    "each term was computed, and which view did each query look for?")
assert after.shape == memory.shape, "the queue keeps its length"
### BEGIN HIDDEN TESTS
rows = {tuple(row) for row in after.tolist()}
assert all(tuple(row) in rows for row in torch.cat([k1, k2]).tolist()), "both batches of keys belong in the queue"
assert torch.equal(after[:12], memory[8:]), "the oldest keys leave, the others stay in their order"
rising = q1.clone().requires_grad_()
slope, = torch.autograd.grad(symmetric_step(rising, q2, k1, k2, memory)[0], rising)
assert slope.abs().sum() > 0, "no gradient reaches the first queries"
one = symmetric_step(q1, q1, k2, k2, memory, 0.1)[0]
torch.testing.assert_close(one, equation_1(q1, k2, memory, 0.1), msg="tau is not used in both terms")
### END HIDDEN TESTS

# %% [markdown] slideshow={"slide_type": "skip"}
# <details><summary>Hint: the loss is a little too high</summary>
#
# You enqueue between the two terms. In the second term, $q_2$ looks for $k_1$, and $k_2$, the key of *the very same view*, is already in the queue as a negative: the strongest one there can be. Compute both terms first.
# </details>

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 8 · What BatchNorm gives away
#
# BatchNorm in train mode normalises with the statistics of the batch. So a key depends on **which other images were in its batch**. How much? The same 16 images, each time in other company:

# %% slideshow={"slide_type": "-"}
network = nn.Sequential(shipped.encoder, shipped.head).to(course.device)
guests, crowd = test.float_images()[:16], train.float_images()
moved = {}
for size in (32, 64, 128, 256):
    by_mode = {"train": [], "eval": []}
    for mode, keys in by_mode.items():
        twin = copy.deepcopy(network).train(mode == "train")
        for company in range(4):
            others = crowd[torch.randperm(len(crowd), generator=torch.Generator().manual_seed(company))[:size - 16]]
            with torch.no_grad():
                keys.append(F.normalize(twin(torch.cat([guests, others]).to(course.device)), dim=1)[:16].cpu())
    moved[size] = {mode: (1 - (keys[0] * torch.stack(keys[1:])).sum(2)).mean().item() for mode, keys in by_mode.items()}

# %% slideshow={"slide_type": "-"} tags=["claim"]
figure, axis = plt.subplots(figsize=(8, 3.2))
for mode, color, marker in (("train", plots.VERMILION, "o"), ("eval", plots.BLUE, "s")):
    axis.plot(list(moved), [found[mode] for found in moved.values()], color=color, marker=marker, label=f"{mode} mode")
axis.set(xscale="log", title="The same images in other company", ylabel="1 − cosine of the keys",
         xlabel="images normalised together (logarithmic)")
axis.set_xticks(list(moved), [str(size) for size in moved])
axis.minorticks_off()
axis.legend()
plots.show(figure, alt="How far a key moves with its company, against batch size: in train mode the more the smaller "
                       "the batch, in eval mode not at all.")
assert all(found["eval"] < 1e-4 < found["train"] for found in moved.values()), moved
assert moved[32]["train"] > moved[256]["train"], moved

# %% [markdown] slideshow={"slide_type": "fragment"}
# This is a **fingerprint of the batch** in every key. The positive key comes from the query's own batch, all negatives come from other batches. A network could find the right key by its fingerprint, without looking at the image. The paper saw just that: the pretext task became easy and the features bad (its appendix A.9).
#
# Its remedy on eight GPUs is **shuffle BN**: each GPU normalises its own piece of the batch, and keys are dealt out to the GPUs *in another order* than queries. Now query and key have different company. On one device we cut the batch into pieces ourselves:

# %% slideshow={"slide_type": "-"}
def keys_in_other_company(f_k, views, pieces):
    order = torch.randperm(len(views))                                        # shuffle
    k = torch.cat([f_k(piece) for piece in views[order].chunk(pieces)])       # each piece: its own statistics
    return k[order.argsort()]                                                 # unshuffle: row i is image i again

torch.manual_seed(0)
plain = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))                # without BatchNorm nothing may change
torch.testing.assert_close(keys_in_other_company(plain, guests, 4), plain(guests))

# %% [markdown] slideshow={"slide_type": "fragment"}
# Splitting without shuffling would make things *worse*: query and key would share a small piece, with a clear fingerprint. `methods.MoCo(split_bn=8)` splits and shuffles. What does it change here? We also ask how often a query finds its key among the whole queue, on unseen images, with BatchNorm as in training and as in evaluation. A network that uses the fingerprint
# does better in train mode.

# %% slideshow={"slide_type": "-"}
leak = scoreboard.table("moco-bn")
ours = leak[~leak["own"]]
figure, axes = plt.subplots(1, 2, figsize=(12, 3.6), sharey=True)
probes = ours[ours["quantity"] == "linear probe"]
plots.bars(list(probes["variant"]), probes["value"], list(zip(probes["low"], probes["high"])), chance=0.1,
           title="Linear probe, CIFAR-10", xlabel="test accuracy (top-1)", axis=axes[0])
for shift, (mode, color) in enumerate((("train", plots.VERMILION), ("eval", plots.BLUE))):
    rows = ours[ours["quantity"] == f"contrastive accuracy, {mode} mode"]
    axes[1].barh([i + 0.36 * shift - 0.18 for i in range(len(rows))], rows["value"], height=0.34, color=color,
                 label=f"BatchNorm in {mode} mode")
axes[1].set(title="Does the query find its key?", xlabel="share of unseen images", xlim=(0, 1))
axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=11)
plots.show(figure, alt="Left, linear-probe accuracy with intervals for BatchNorm in one piece and in pieces, shuffled "
                       "or not. Right, contrastive accuracy of each in train and in eval mode.")
against_the_best(probes, "variant")
print(scoreboard.caption(leak[leak["quantity"] == "linear probe"]))

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 9 · From v1 to v2
#
# Three months after MoCo came SimCLR, and a month later MoCo v2 took what was good in it: an **MLP head** instead of a linear layer (with $\tau$ 0.2 in place of 0.07), **stronger views**, and a **cosine schedule**. Which of them matters? One at a time:

# %% slideshow={"slide_type": "-"}
versions = scoreboard.table("moco-versions")
ours = versions[~versions["own"] & (versions["quantity"] == "linear probe")]
plots.show(plots.bars(list(ours["variant"]), ours["value"], list(zip(ours["low"], ours["high"])), chance=0.1,
                      title="MoCo by its parts, CIFAR-10", xlabel="test accuracy (top-1), linear probe"),
           alt="Bars with intervals: linear-probe accuracy of MoCo v1, of v1 with one part of v2 each, of MoCo v2 and "
               "of SimCLR with the same batch.")
against_the_best(ours, "variant")
print(scoreboard.caption(versions))

# %% [markdown] slideshow={"slide_type": "fragment"}
# **Paper versus ours.** In brackets stands the paper's linear top-1 on ImageNet (ResNet-50, 200 epochs, batch 256; MoCo v2, Tables 1 and 2). The two share the names of the variants, and little else: other images, another size, a network of 23 million weights against one of 1.2. Blur, part of the paper's "stronger views", is left
# out at 32 px. The cosine alone has no figure in the paper, where it comes last, on top of the others. In a run as short as ours a schedule matters for another reason: under v1's steps the last fifth runs at a hundredth of the rate.
#
# And the slide's point: at the *same small batch* the paper's MoCo v2 is ahead of SimCLR by several points, since its negatives do not come from the batch. Whether ours is, the last two lines say.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 10 · Memory and time
#
# Why is a queue cheap? Ask PyTorch: what does it keep between forward and backward?

# %% slideshow={"slide_type": "-"}
def kept_for_backward(method, images):
    """MiB of all tensors that wait for the backward pass; weights are there anyway, and not counted."""
    weights, kept = {p.untyped_storage().data_ptr() for p in method.parameters()}, {}

    def note(tensor):
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in weights:
            kept[memory.data_ptr()] = memory.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = method(images)                                     # holds on to all that was kept
    return sum(kept.values()) / 2**20 if loss.requires_grad else 0.0

# %% slideshow={"slide_type": "-"} tags=["claim"]
kept = {"end-to-end": {}, "MoCo, batch of 32": {}}
for negatives in (62, 126, 254):
    encoder = encoders.resnet10("fast")
    parts = dict(augment=augment.moco_v2_augment(32), head=encoders.projection_head(encoder.feature_dim))
    whole = methods.SimCLR(encoder, **parts, temperature=0.2)
    queued = methods.MoCo(encoder, **parts, queue_length=negatives)
    kept["end-to-end"][negatives] = kept_for_backward(whole, train.float_images()[:negatives // 2 + 1])
    kept["MoCo, batch of 32"][negatives] = kept_for_backward(queued, train.float_images()[:32])
for name, found in kept.items():
    print(f"{name:<18}" + "".join(f"   {n} negatives: {mib:6.1f} MiB" for n, mib in found.items()))
assert kept["MoCo, batch of 32"][254] < 1.1 * kept["MoCo, batch of 32"][62] + 1
assert kept["end-to-end"][254] > 3 * kept["end-to-end"][62]

# %% [markdown] slideshow={"slide_type": "fragment"}
# End-to-end, memory grows with the number of negatives, for each of them must be ready for its gradient. In MoCo a negative is $D = 128$ numbers, and only the queries are kept, half of the views. (Notebook 06 has a third way, `SimCLR(micro_batch=…)`: keep nothing and compute it again. It pays with time.)
#
# Now peak memory and speed of whole training steps, each measured in a process of its own:

# %% slideshow={"slide_type": "-"}
cost = scoreboard.table("moco-memory")
ours = cost[~cost["own"]]
figure, axes = plt.subplots(1, 2, figsize=(12, 3.8))
for axis, quantity in zip(axes, ("peak MiB", "images per second")):
    for (way, rows), (color, marker) in zip(ours[ours["quantity"] == quantity].groupby("way"), looks[1:]):
        axis.plot(rows["negatives"], rows["value"], color=color, marker=marker, label=way)
    axis.set(xscale="log", title=quantity, xlabel="negatives for each query (logarithmic)")
    axis.set_ylim(bottom=0)
axes[0].set_ylabel("MiB beyond the idle process")
axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
plots.show(figure, alt="Peak memory and images per second against the number of negatives, for MoCo, end-to-end "
                       "training and end-to-end training in micro-batches.")
about = cost.attrs
print(f"best of {ours['n'].max()} steps; {about['profile']} profile, {about['machine']}, {about['date']}")

# %% slideshow={"slide_type": "-"}
most = ours["negatives"].max()
value = lambda way, quantity, n=most: scoreboard.select(cost, way=way, quantity=quantity, negatives=n)["value"]
base_memory, base_speed = value("MoCo", "peak MiB"), value("MoCo", "images per second")
print(f"ours, at {most:,} negatives                memory     against MoCo   images/s   against MoCo")
for way in ("MoCo", "end-to-end", "end-to-end, micro-batches"):
    memory, speed = value(way, "peak MiB"), value(way, "images per second")
    print(f"{way:<34}{memory:9,.0f} MiB{memory / base_memory:13.1f} ×{speed:11,.0f}{speed / base_speed:13.2f} ×")
print("\nthe paper's Table 3 (ResNet-50, 8 GPUs)   memory     against MoCo   200 epochs  against MoCo")
table_3 = (("MoCo", 256, 5.0, 53), ("end-to-end", 256, 7.4, 65), ("end-to-end", 4096, 93.0, None))
for way, batch, memory, hours in table_3:
    time = f"{hours:8} hrs{53 / hours:13.2f} ×" if hours else "     n/a (its own estimate)"
    print(f"{way}, batch {batch:<{25 - len(way)}}{memory:9.1f} GB{memory / 5:14.1f} ×{time}")

# %% [markdown] slideshow={"slide_type": "fragment"}
# The paper compares at equal *batch* (256) and at SimCLR's usual batch (4,096). We compare at equal *numbers of negatives*, which is what the loss asks for. The mechanism is the same. MoCo runs two forward passes and one backward pass per image; end-to-end two and two, and keeps both.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 11 · Back to notebook 03
#
# Notebook 03 ended with a complaint: most medical images have no labels, and ImageNet features come from another world. Now you know what to do with images that have no labels: learn from *them*. The test: contrastive pre-training on the unlabelled `fundus` set, then few labels, against ImageNet transfer.

# %% slideshow={"slide_type": "-"}
if "ssl-fundus" in scoreboard.experiments():
    loop = scoreboard.table("ssl-fundus")
    print(loop.attrs["title"])
    print(loop[~loop["own"]].drop(columns=["own", "profile"]).to_string(index=False))
    print(scoreboard.caption(loop))
else:
    print("This comparison comes with notebook 03; its table, ssl-fundus, is not at hand yet.")

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 12 · Scoreboard: every f(x) of this course
#
# The chart that began with raw pixels is complete.

# %% slideshow={"slide_type": "-"}
board = scoreboard.table("scoreboard-cifar10")
plots.show(plots.scoreboard(board, notebook=7),
           alt="Bars of kNN, linear probe and ten-label accuracy on CIFAR-10 for every f(x) of the course, from raw "
               "pixels to MoCo.")
print(scoreboard.caption(board))

# %% slideshow={"slide_type": "-"}
final = board[~board["own"] & (board["metric"] == "linear probe")].sort_values("value", ascending=False)
for _, row in final.iterrows():
    labels = "with labels" if row["feature"].startswith("supervised") else "no labels"
    print(f"{row['feature']:<32}{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})   {labels}")
by_name = final.set_index("feature")["value"]
start, goal = by_name["pixels"], by_name["supervised (small, CIFAR-10)"]
for name in ("rotation", "triplet", "simclr", "moco"):
    if name in by_name:
        way = (by_name[name] - start) / (goal - start)
        print(f"{name}: {way:.0%} of the way from pixels to the small supervised network")

# %% [markdown] slideshow={"slide_type": "fragment"}
# Read it with care. The small networks were trained for different times; the supervised one saw 45,000 labels of the very classes that it is tested on, and the ImageNet one 1.2 million other labels, in a bigger network. What the chart does show is how far one gets **without a single label**, and each step of the way was
# an idea that you have built yourself.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 13 · Discuss
#
# 1. The queue holds keys of other images. What if the data set has many near-duplicates, like the frames of a video?
# 2. $m = 1$ freezes the key encoder at random weights. Would MoCo learn anything? (Predict, then try it with section 4's cell.)
# 3. SimCLR needs a large batch, MoCo a queue, both to have many negatives. Could one do without negatives? What would keep all images from falling onto one point?
# 4. Both methods call two views of one image "the same thing". Which augmentations would you *not* use for X-rays? For retina photographs?

# %% [markdown] slideshow={"slide_type": "notes"} tags=["instructor"]
# **Instructor notes.** (1) False negatives, worse than section 7's: the duplicates are all in one batch or in neighbouring ones. Sample frames from different videos. (2) Yes, somewhat: the targets of a random network still separate images, and the views must be mapped alike; BYOL's authors report such an experiment. (3) BYOL, SimSiam, DINO: a predictor, stopped gradients, centring; the momentum encoder stays. (4) Flips of
# X-rays (the heart is on the left), hue and strong colour jitter where colour is the finding, crops that cut a small lesion out of one of the two views (its label is then what the loss removes). Minute plan for 90 minutes: section 1 10', 2 10', 3 15' (exercise 7.3 at home), 4 10', 5 5', 6 with the panel 15', 7 8', 8 7', 9 5', 10 5'.

# %% [markdown] slideshow={"slide_type": "slide"}
# ## 14 · Recap
#
# The lecture's last slide:
#
# - Supervised image classification pre-training produces strong image representations. *They transfer* (notebooks 02, 03).
# - One can apply self-supervised learning to images. *Pretext tasks: rotation, jigsaw, masked patches* (notebook 04).
# - Contrastive learning explicitly enforces similarity in representation space. *Triplets, SimCLR, MoCo* (notebooks 05, 06, 07). *It requires defining image augmentations*: they say what "the same thing" means.
#
# And this notebook's:
#
# - A negative needs no gradient, so it can be kept: the queue separates the number of negatives from the batch.
# - Keys in one queue should speak one language: the key encoder follows slowly. How slowly depends on the length of the run.
# - A rising loss can be a task getting harder.
# - What shares a batch shares a fingerprint. What is called negative should not be one's own image.
#
# **References.** He, Fan, Wu, Xie & Girshick 2020, *Momentum Contrast for Unsupervised Visual Representation Learning*. Chen, Fan, Girshick & He 2020, *Improved Baselines with Momentum Contrastive Learning* (MoCo v2). Chen, Kornblith, Norouzi & Hinton 2020, *A Simple Framework for Contrastive Learning of Visual
# Representations* (SimCLR). Oord, Li & Vinyals 2018, *Representation Learning with Contrastive Predictive Coding* (InfoNCE). Wu, Xiong, Yu & Lin 2018, *Unsupervised Feature Learning via Non-Parametric Instance Discrimination*. Grill et al. 2020, *Bootstrap Your Own Latent* (BYOL).
