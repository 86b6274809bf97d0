# %% the factor 2 of the middle term is forgotten
def pairwise_squared_distances(a, b):
    squares = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)[None, :]
    return (squares - a @ b.T).clamp(min=0)

# %% the square root is taken: distances, not squared ones
def pairwise_squared_distances(a, b):
    return torch.cdist(a, b)

# %% clamp(max=0) in place of clamp(min=0)
def pairwise_squared_distances(a, b):
    squares = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)[None, :]
    return (squares - 2 * a @ b.T).clamp(max=0)

# %% no clamp: rounding goes below zero
def pairwise_squared_distances(a, b):
    return a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)[None, :] - 2 * a @ b.T

# %% root of a negative by rounding, squared again: NaN
def pairwise_squared_distances(a, b):
    squares = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)[None, :]
    return (squares - 2 * a @ b.T).sqrt().square()

# %% all differences at once: a tensor of shape [N, M, D]
def pairwise_squared_distances(a, b):
    return (a[:, None, :] - b[None, :, :]).square().sum(dim=2)

# %% a Python loop over the rows of a
def pairwise_squared_distances(a, b):
    return torch.stack([(row - b).square().sum(dim=1) for row in a])

# %% a Python loop over the D pixels
def pairwise_squared_distances(a, b):
    total = torch.zeros(len(a), len(b))
    for i in range(a.shape[1]):
        total = total + (a[:, i][:, None] - b[:, i][None, :]).square()
    return total

# %% through NumPy, so that no gradient flows
from scipy.spatial.distance import cdist

def pairwise_squared_distances(a, b):
    return torch.from_numpy(cdist(a.detach().numpy(), b.detach().numpy(), "sqeuclidean")).float()
