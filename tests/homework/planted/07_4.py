# %% enqueued between the two terms
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    first = info_nce(q1, k2, queue, tau)
    queue = push(queue, k2)
    second = info_nce(q2, k1, queue, tau)
    return (first + second) / 2, push(queue, k1)

# %% enqueued before both terms: the own key is its own negative
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    queue = push(push(queue, k2), k1)
    return (info_nce(q1, k2, queue, tau) + info_nce(q2, k1, queue, tau)) / 2, queue

# %% each query looks for the key of its own view
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    loss = (info_nce(q1, k1, queue, tau) + info_nce(q2, k2, queue, tau)) / 2
    return loss, push(push(queue, k2), k1)

# %% the sum of the terms, not their mean
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    loss = info_nce(q1, k2, queue, tau) + info_nce(q2, k1, queue, tau)
    return loss, push(push(queue, k2), k1)

# %% one term only
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    return info_nce(q1, k2, queue, tau), push(push(queue, k2), k1)

# %% only one batch of keys enqueued
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    loss = (info_nce(q1, k2, queue, tau) + info_nce(q2, k1, queue, tau)) / 2
    return loss, push(queue, k2)

# %% one batch of keys enqueued twice
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    loss = (info_nce(q1, k2, queue, tau) + info_nce(q2, k1, queue, tau)) / 2
    return loss, push(push(queue, k2), k2)

# %% queries enqueued instead of keys
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    loss = (info_nce(q1, k2, queue, tau) + info_nce(q2, k1, queue, tau)) / 2
    return loss, push(push(queue, q2.detach()), q1.detach())

# %% the newest keys pushed out, the oldest kept
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    loss = (info_nce(q1, k2, queue, tau) + info_nce(q2, k1, queue, tau)) / 2
    return loss, torch.cat([queue[:-2 * len(k1)], k2, k1])

# %% the second queries detached
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    loss = (info_nce(q1, k2, queue, tau) + info_nce(q2.detach(), k1, queue, tau)) / 2
    return loss, push(push(queue, k2), k1)

# %% the temperature in one term only
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    loss = (info_nce(q1, k2, queue, tau) + info_nce(q2, k1, queue)) / 2
    return loss, push(push(queue, k2), k1)
