# %% only the norm repaired
def repaired_nt_xent(z1, z2, temperature=0.5):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    logits = (z @ z.T / temperature).fill_diagonal_(0)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))

# %% only the diagonal repaired
def repaired_nt_xent(z1, z2, temperature=0.5):
    z = F.normalize(torch.cat([z1, z2]), dim=0)
    logits = (z @ z.T / temperature).fill_diagonal_(-math.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))

# %% the diagonal at the smallest cosine, -1, still a candidate
def repaired_nt_xent(z1, z2, temperature=0.5):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    logits = (z @ z.T).fill_diagonal_(-1) / temperature
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))

# %% the temperature lost in the repair
def repaired_nt_xent(z1, z2, temperature=0.5):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    logits = (z @ z.T / 0.5).fill_diagonal_(-math.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))

# %% the targets "repaired", which were right: off by one now
def repaired_nt_xent(z1, z2, temperature=0.5):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    logits = (z @ z.T / temperature).fill_diagonal_(-math.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1) + 1))

# %% a softmax in front of cross_entropy, which has its own
def repaired_nt_xent(z1, z2, temperature=0.5):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    shares = (z @ z.T / temperature).fill_diagonal_(-math.inf).softmax(dim=1)
    return F.cross_entropy(shares, torch.arange(len(z)).roll(len(z1)))

# %% negatives from the first views thrown out together with the diagonal
def repaired_nt_xent(z1, z2, temperature=0.5):
    logits = F.normalize(z1, dim=1) @ F.normalize(z2, dim=1).T / temperature
    return F.cross_entropy(logits, torch.arange(len(z1)))

# %% the lengths taken for constants: no gradient through the norm
def repaired_nt_xent(z1, z2, temperature=0.5):
    z = torch.cat([z1, z2])
    z = z / z.norm(dim=1, keepdim=True).detach()
    logits = (z @ z.T / temperature).fill_diagonal_(-math.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))

# %% the candidates detached
def repaired_nt_xent(z1, z2, temperature=0.5):
    z = F.normalize(torch.cat([z1, z2]), dim=1)
    logits = (z @ z.detach().T / temperature).fill_diagonal_(-math.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))

# %% everything detached
def repaired_nt_xent(z1, z2, temperature=0.5):
    z = F.normalize(torch.cat([z1, z2]), dim=1).detach()
    logits = (z @ z.T / temperature).fill_diagonal_(-math.inf)
    return F.cross_entropy(logits, torch.arange(len(z)).roll(len(z1)))
