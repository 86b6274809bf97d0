# %% softmax over the batch, not over the negatives
def shares(s, temperature):
    w = (s / temperature).softmax(dim=0)
    return w, torch.special.entr(w).sum(dim=1).exp()

# %% multiplied by the temperature
def shares(s, temperature):
    w = (s * temperature).softmax(dim=1)
    return w, torch.special.entr(w).sum(dim=1).exp()

# %% exp by hand: infinity over infinity
def shares(s, temperature):
    e = (s / temperature).exp()
    w = e / e.sum(dim=1, keepdim=True)
    return w, torch.special.entr(w).sum(dim=1).exp()

# %% zero times log of zero
def shares(s, temperature):
    w = (s / temperature).softmax(dim=1)
    return w, (-(w * w.log()).sum(dim=1)).exp()

# %% the entropy itself, without exp
def shares(s, temperature):
    w = (s / temperature).softmax(dim=1)
    return w, torch.special.entr(w).sum(dim=1)

# %% entropy in bits, but exp to the base e
def shares(s, temperature):
    w = (s / temperature).softmax(dim=1)
    return w, (torch.special.entr(w).sum(dim=1) / math.log(2)).exp()

# %% another effective number: one over the sum of squares
def shares(s, temperature):
    w = (s / temperature).softmax(dim=1)
    return w, 1 / w.square().sum(dim=1)

# %% one over the largest share
def shares(s, temperature):
    w = (s / temperature).softmax(dim=1)
    return w, 1 / w.amax(dim=1)

# %% the temperature kept from getting very small
def shares(s, temperature):
    w = (s / max(temperature, 0.05)).softmax(dim=1)
    return w, torch.special.entr(w).sum(dim=1).exp()
