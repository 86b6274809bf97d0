# %% turned clockwise
def rotate_each(images, turns):
    turns = (turns % 4)[:, None, None, None]
    result = images
    for k in (1, 2, 3):
        result = torch.where(turns == k, images.rot90(-k, dims=(2, 3)), result)
    return result

# %% height and width swapped: transposed, not turned
def rotate_each(images, turns):
    turns = (turns % 4)[:, None, None, None]
    quarter = images.transpose(2, 3)
    half = images.flip(2, 3)
    result = torch.where(turns == 1, quarter, images)
    result = torch.where(turns == 2, half, result)
    return torch.where(turns == 3, quarter.flip(2, 3), result)

# %% the whole batch turned by the first image's angle
def rotate_each(images, turns):
    return images.rot90(int(turns[0]), dims=(2, 3))

# %% each turn put on top of the one before
def rotate_each(images, turns):
    turns = (turns % 4)[:, None, None, None]
    result = images
    for k in (1, 2, 3):
        result = torch.where(turns >= k, result.rot90(k, dims=(2, 3)), result)
    return result

# %% not taken modulo four
def rotate_each(images, turns):
    turns = turns[:, None, None, None]
    result = images
    for k in (1, 2, 3):
        result = torch.where(turns == k, images.rot90(k, dims=(2, 3)), result)
    return result

# %% remainder with the sign of the dividend, as in C
def rotate_each(images, turns):
    turns = torch.fmod(turns, 4)[:, None, None, None]
    result = images
    for k in (1, 2, 3):
        result = torch.where(turns == k, images.rot90(k, dims=(2, 3)), result)
    return result

# %% the caller's images overwritten
def rotate_each(images, turns):
    for k in (1, 2, 3):
        images[turns % 4 == k] = images[turns % 4 == k].rot90(k, dims=(2, 3))
    return images

# %% a loop over the images
def rotate_each(images, turns):
    return torch.stack([image.rot90(int(k), dims=(1, 2)) for image, k in zip(images, turns)])
