# %% a distance is compared with squared distances
def rank_of_original(changed, original, bank):
    own = (changed - original).norm(dim=1)
    return (pairwise_squared_distances(changed, bank) < own[:, None]).sum(dim=1)

# %% <= in place of <: the original counts as a stranger
def rank_of_original(changed, original, bank):
    own = (changed - original).square().sum(dim=1)
    return (pairwise_squared_distances(changed, bank) <= own[:, None]).sum(dim=1)

# %% the strangers are counted around the original, not around the changed image
def rank_of_original(changed, original, bank):
    own = (changed - original).square().sum(dim=1)
    return (pairwise_squared_distances(original, bank) < own[:, None]).sum(dim=1)

# %% counts those that are farther
def rank_of_original(changed, original, bank):
    own = (changed - original).square().sum(dim=1)
    return (pairwise_squared_distances(changed, bank) > own[:, None]).sum(dim=1)

# %% one distance for all: the mean over the batch
def rank_of_original(changed, original, bank):
    own = (changed - original).square().sum(dim=1).mean()
    return (pairwise_squared_distances(changed, bank) < own).sum(dim=1)

# %% takes row i of the bank for the original of image i
def rank_of_original(changed, original, bank):
    distance = pairwise_squared_distances(changed, bank)
    return (distance < distance.diagonal()[:, None]).sum(dim=1)

# %% the position in the sorted bank of the image nearest to the original
def rank_of_original(changed, original, bank):
    nearest = pairwise_squared_distances(original, bank).argmin(dim=1)
    return nearest

# %% sums over the wrong axis: one number per bank image
def rank_of_original(changed, original, bank):
    own = (changed - original).square().sum(dim=1)
    return (pairwise_squared_distances(changed, bank) < own[:, None]).sum(dim=0)
