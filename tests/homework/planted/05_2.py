# %% the sign turned: nearer than the positive (hard negatives)
def semi_hard_mask(distance, positive, image, margin):
    to_positive = distance.gather(1, positive[:, None])
    is_negative = image[:, None] != image
    return is_negative & (distance < to_positive) & (distance > to_positive - margin)

# %% the margin forgotten: everything farther than the positive
def semi_hard_mask(distance, positive, image, margin):
    to_positive = distance.gather(1, positive[:, None])
    return (image[:, None] != image) & (distance > to_positive)

# %% all active negatives, hard ones too
def semi_hard_mask(distance, positive, image, margin):
    to_positive = distance.gather(1, positive[:, None])
    return (image[:, None] != image) & (distance < to_positive + margin)

# %% bounds not strict
def semi_hard_mask(distance, positive, image, margin):
    to_positive = distance.gather(1, positive[:, None])
    is_negative = image[:, None] != image
    return is_negative & (distance >= to_positive) & (distance <= to_positive + margin)

# %% each column's distance to its positive instead of each row's
def semi_hard_mask(distance, positive, image, margin):
    to_positive = distance[torch.arange(len(distance)), positive]
    is_negative = image[:, None] != image
    return is_negative & (distance > to_positive) & (distance < to_positive + margin)

# %% the positive's row instead of the distance to it
def semi_hard_mask(distance, positive, image, margin):
    to_positive = distance[positive]
    is_negative = image[:, None] != image
    return is_negative & (distance > to_positive) & (distance < to_positive + margin)

# %% other views of the same image not left out
def semi_hard_mask(distance, positive, image, margin):
    to_positive = distance.gather(1, positive[:, None])
    return (distance > to_positive) & (distance < to_positive + margin)

# %% only the positive left out, not the other views of the image
def semi_hard_mask(distance, positive, image, margin):
    to_positive = distance.gather(1, positive[:, None])
    others = torch.arange(len(distance)) != positive[:, None]
    return others & (distance > to_positive) & (distance < to_positive + margin)

# %% the margin in plain distance, not squared
def semi_hard_mask(distance, positive, image, margin):
    plain = distance.sqrt()
    to_positive = plain.gather(1, positive[:, None])
    return (image[:, None] != image) & (plain > to_positive) & (plain < to_positive + margin)

# %% the caller's distances overwritten
def semi_hard_mask(distance, positive, image, margin):
    to_positive = distance.gather(1, positive[:, None])
    distance[image[:, None] == image] = torch.inf
    return (distance > to_positive) & (distance < to_positive + margin)
