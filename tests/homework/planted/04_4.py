# %% averaged over all pixels, seen ones too
def masked_error(guess, images, hidden):
    return (guess - images).square().mean()

# %% hidden values summed, but divided by the number of all values
def masked_error(guess, images, hidden):
    return torch.where(hidden, guess - images, 0).square().mean()

# %% the channels not counted below the line
def masked_error(guess, images, hidden):
    return torch.where(hidden, guess - images, 0).square().sum() / hidden.sum().clamp(min=1)

# %% the mask the wrong way round
def masked_error(guess, images, hidden):
    error = torch.where(hidden, 0, guess - images).square()
    return error.sum() / ((~hidden).sum() * images.shape[1]).clamp(min=1)

# %% no square
def masked_error(guess, images, hidden):
    error = torch.where(hidden, guess - images, 0).abs()
    return error.sum() / (hidden.sum() * images.shape[1]).clamp(min=1)

# %% the mean of each image's own mean
def masked_error(guess, images, hidden):
    error = torch.where(hidden, guess - images, 0).square().sum(dim=(1, 2, 3))
    return (error / (hidden.sum(dim=(1, 2, 3)) * images.shape[1]).clamp(min=1)).mean()

# %% the guess detached
def masked_error(guess, images, hidden):
    error = torch.where(hidden, guess.detach() - images, 0).square()
    return error.sum() / (hidden.sum() * images.shape[1]).clamp(min=1)

# %% multiplied by the mask: zero times infinity
def masked_error(guess, images, hidden):
    error = hidden * (guess - images).square()
    return error.sum() / (hidden.sum() * images.shape[1]).clamp(min=1)

# %% masked after squaring: the value is right, the gradient at infinity is not a number
def masked_error(guess, images, hidden):
    error = torch.where(hidden, (guess - images).square(), 0)
    return error.sum() / (hidden.sum() * images.shape[1]).clamp(min=1)

# %% the mean of nothing
def masked_error(guess, images, hidden):
    return (guess - images)[hidden.expand_as(images)].square().mean()

# %% three channels taken for granted
def masked_error(guess, images, hidden):
    return torch.where(hidden, guess - images, 0).square().sum() / (3 * hidden.sum()).clamp(min=1)
