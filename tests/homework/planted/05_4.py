# %% the sign turned
def gradient_for_h(h, positive, negative, margin):
    length = h.norm(dim=1, keepdim=True)
    a = h / length
    excess = (a - positive).square().sum(1) - (a - negative).square().sum(1) + margin
    to_a = torch.where(excess[:, None] > 0, 2 * (positive - negative), 0) / len(h)
    return (to_a - (to_a * a).sum(dim=1, keepdim=True) * a) / length

# %% the factor 2 lost
def gradient_for_h(h, positive, negative, margin):
    length = h.norm(dim=1, keepdim=True)
    a = h / length
    excess = (a - positive).square().sum(1) - (a - negative).square().sum(1) + margin
    to_a = torch.where(excess[:, None] > 0, negative - positive, 0) / len(h)
    return (to_a - (to_a * a).sum(dim=1, keepdim=True) * a) / length

# %% not divided by the length of h
def gradient_for_h(h, positive, negative, margin):
    a = h / h.norm(dim=1, keepdim=True)
    excess = (a - positive).square().sum(1) - (a - negative).square().sum(1) + margin
    to_a = torch.where(excess[:, None] > 0, 2 * (negative - positive), 0) / len(h)
    return to_a - (to_a * a).sum(dim=1, keepdim=True) * a

# %% no projection: normalisation treated as a constant
def gradient_for_h(h, positive, negative, margin):
    length = h.norm(dim=1, keepdim=True)
    a = h / length
    excess = (a - positive).square().sum(1) - (a - negative).square().sum(1) + margin
    return torch.where(excess[:, None] > 0, 2 * (negative - positive), 0) / len(h) / length

# %% projected along h, which is not of length one
def gradient_for_h(h, positive, negative, margin):
    length = h.norm(dim=1, keepdim=True)
    a = h / length
    excess = (a - positive).square().sum(1) - (a - negative).square().sum(1) + margin
    to_a = torch.where(excess[:, None] > 0, 2 * (negative - positive), 0) / len(h)
    return (to_a - (to_a * h).sum(dim=1, keepdim=True) * h) / length

# %% the sum over the batch, not the mean
def gradient_for_h(h, positive, negative, margin):
    length = h.norm(dim=1, keepdim=True)
    a = h / length
    excess = (a - positive).square().sum(1) - (a - negative).square().sum(1) + margin
    to_a = torch.where(excess[:, None] > 0, 2 * (negative - positive), 0)
    return (to_a - (to_a * a).sum(dim=1, keepdim=True) * a) / length

# %% the mean over the active triplets only
def gradient_for_h(h, positive, negative, margin):
    length = h.norm(dim=1, keepdim=True)
    a = h / length
    active = (a - positive).square().sum(1) - (a - negative).square().sum(1) + margin > 0
    to_a = torch.where(active[:, None], 2 * (negative - positive), 0) / active.sum().clamp(min=1)
    return (to_a - (to_a * a).sum(dim=1, keepdim=True) * a) / length

# %% triplets that are done still pull
def gradient_for_h(h, positive, negative, margin):
    length = h.norm(dim=1, keepdim=True)
    a = h / length
    to_a = 2 * (negative - positive) / len(h)
    return (to_a - (to_a * a).sum(dim=1, keepdim=True) * a) / length

# %% active or not decided with h instead of a
def gradient_for_h(h, positive, negative, margin):
    length = h.norm(dim=1, keepdim=True)
    a = h / length
    excess = (h - positive).square().sum(1) - (h - negative).square().sum(1) + margin
    to_a = torch.where(excess[:, None] > 0, 2 * (negative - positive), 0) / len(h)
    return (to_a - (to_a * a).sum(dim=1, keepdim=True) * a) / length
