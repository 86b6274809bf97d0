# %% distances not squared
def loss_of_all_triplets(z, image, margin):
    distance = (z[:, None] - z).norm(dim=2)
    same, itself = image[:, None] == image, torch.eye(len(z), dtype=torch.bool)
    excess = distance[:, :, None] - distance[:, None, :] + margin
    valid = (same & ~itself)[:, :, None] & ~same[:, None, :]
    return torch.where(valid, torch.relu(excess), 0).sum() / valid.sum()

# %% the margin outside of max(0, ...)
def loss_of_all_triplets(z, image, margin):
    distance = (z[:, None] - z).square().sum(dim=2)
    same, itself = image[:, None] == image, torch.eye(len(z), dtype=torch.bool)
    excess = distance[:, :, None] - distance[:, None, :]
    valid = (same & ~itself)[:, :, None] & ~same[:, None, :]
    return torch.where(valid, torch.relu(excess) + margin, 0).sum() / valid.sum()

# %% the mean over the active triplets only
def loss_of_all_triplets(z, image, margin):
    distance = (z[:, None] - z).square().sum(dim=2)
    same, itself = image[:, None] == image, torch.eye(len(z), dtype=torch.bool)
    excess = distance[:, :, None] - distance[:, None, :] + margin
    valid = (same & ~itself)[:, :, None] & ~same[:, None, :]
    loss = torch.where(valid, torch.relu(excess), 0)
    return loss.sum() / (loss > 0).sum().clamp(min=1)

# %% each anchor its own positive, too
def loss_of_all_triplets(z, image, margin):
    distance = (z[:, None] - z).square().sum(dim=2)
    same = image[:, None] == image
    excess = distance[:, :, None] - distance[:, None, :] + margin
    valid = same[:, :, None] & ~same[:, None, :]
    return torch.where(valid, torch.relu(excess), 0).sum() / valid.sum()

# %% positive and negative exchanged
def loss_of_all_triplets(z, image, margin):
    distance = (z[:, None] - z).square().sum(dim=2)
    same, itself = image[:, None] == image, torch.eye(len(z), dtype=torch.bool)
    excess = distance[:, None, :] - distance[:, :, None] + margin
    valid = (same & ~itself)[:, :, None] & ~same[:, None, :]
    return torch.where(valid, torch.relu(excess), 0).sum() / valid.sum()

# %% the hardest positive and negative of each anchor only
def loss_of_all_triplets(z, image, margin):
    distance = (z[:, None] - z).square().sum(dim=2)
    same = image[:, None] == image
    to_positive = torch.where(same, distance, 0).amax(dim=1)
    to_negative = torch.where(same, torch.inf, distance).amin(dim=1)
    return torch.relu(to_positive - to_negative + margin).mean()

# %% the negatives detached
def loss_of_all_triplets(z, image, margin):
    distance = (z[:, None] - z).square().sum(dim=2)
    to_negative = (z[:, None] - z.detach()).square().sum(dim=2)
    same, itself = image[:, None] == image, torch.eye(len(z), dtype=torch.bool)
    excess = distance[:, :, None] - to_negative[:, None, :] + margin
    valid = (same & ~itself)[:, :, None] & ~same[:, None, :]
    return torch.where(valid, torch.relu(excess), 0).sum() / valid.sum()

# %% a root, squared again: its gradient at 0 is not a number
def loss_of_all_triplets(z, image, margin):
    distance = (z[:, None] - z).square().sum(dim=2).sqrt()
    same, itself = image[:, None] == image, torch.eye(len(z), dtype=torch.bool)
    excess = distance[:, :, None].square() - distance[:, None, :].square() + margin
    valid = (same & ~itself)[:, :, None] & ~same[:, None, :]
    return torch.where(valid, torch.relu(excess), 0).sum() / valid.sum()

# %% where nothing is active, a zero without a gradient
def loss_of_all_triplets(z, image, margin):
    distance = (z[:, None] - z).square().sum(dim=2)
    same, itself = image[:, None] == image, torch.eye(len(z), dtype=torch.bool)
    excess = distance[:, :, None] - distance[:, None, :] + margin
    valid = (same & ~itself)[:, :, None] & ~same[:, None, :]
    active = excess[valid & (excess > 0)]
    return active.sum() / valid.sum() if len(active) else torch.tensor(0.0)

# %% two views of each image taken for granted
def loss_of_all_triplets(z, image, margin):
    distance = (z[:, None] - z).square().sum(dim=2)
    same, itself = image[:, None] == image, torch.eye(len(z), dtype=torch.bool)
    to_positive = torch.where(same & ~itself, distance, 0).sum(dim=1)
    excess = to_positive[:, None] - distance + margin
    return torch.where(same, 0, torch.relu(excess)).sum() / (~same).sum()
