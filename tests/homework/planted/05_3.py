# %% the margin forgotten: only hard triplets counted
def active_fraction(z, anchor, positive, negative, valid, margin):
    to_positive = (z[anchor] - z[positive]).square().sum(dim=1)
    to_negative = (z[anchor] - z[negative]).square().sum(dim=1)
    return ((to_positive > to_negative) & valid).sum().item() / max(1, valid.sum().item())

# %% a loss of 0 counted as active
def active_fraction(z, anchor, positive, negative, valid, margin):
    to_positive = (z[anchor] - z[positive]).square().sum(dim=1)
    to_negative = (z[anchor] - z[negative]).square().sum(dim=1)
    active = torch.relu(to_positive - to_negative + margin) >= 0
    return (active & valid).sum().item() / max(1, valid.sum().item())

# %% the border counted as active
def active_fraction(z, anchor, positive, negative, valid, margin):
    to_positive = (z[anchor] - z[positive]).square().sum(dim=1)
    to_negative = (z[anchor] - z[negative]).square().sum(dim=1)
    active = to_positive - to_negative + margin >= 0
    return (active & valid).sum().item() / max(1, valid.sum().item())

# %% distances not squared
def active_fraction(z, anchor, positive, negative, valid, margin):
    to_positive = (z[anchor] - z[positive]).norm(dim=1)
    to_negative = (z[anchor] - z[negative]).norm(dim=1)
    active = to_positive - to_negative + margin > 0
    return (active & valid).sum().item() / max(1, valid.sum().item())

# %% the distance from the positive to the negative
def active_fraction(z, anchor, positive, negative, valid, margin):
    to_positive = (z[anchor] - z[positive]).square().sum(dim=1)
    to_negative = (z[positive] - z[negative]).square().sum(dim=1)
    active = to_positive - to_negative + margin > 0
    return (active & valid).sum().item() / max(1, valid.sum().item())

# %% divided by all triplets, not by the valid ones
def active_fraction(z, anchor, positive, negative, valid, margin):
    to_positive = (z[anchor] - z[positive]).square().sum(dim=1)
    to_negative = (z[anchor] - z[negative]).square().sum(dim=1)
    active = to_positive - to_negative + margin > 0
    return (active & valid).float().mean().item()

# %% all active triplets over the number of valid ones
def active_fraction(z, anchor, positive, negative, valid, margin):
    to_positive = (z[anchor] - z[positive]).square().sum(dim=1)
    to_negative = (z[anchor] - z[negative]).square().sum(dim=1)
    active = to_positive - to_negative + margin > 0
    return active.sum().item() / max(1, valid.sum().item())

# %% the mean of nothing where no triplet is valid
def active_fraction(z, anchor, positive, negative, valid, margin):
    to_positive = (z[anchor] - z[positive]).square().sum(dim=1)
    to_negative = (z[anchor] - z[negative]).square().sum(dim=1)
    active = to_positive - to_negative + margin > 0
    return active[valid].float().mean().item()
