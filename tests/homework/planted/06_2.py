# %% every view its own partner
def partner(image):
    return (image[:, None] == image).int().argmax(dim=1)

# %% first views above second views taken for granted
def partner(image):
    return torch.arange(len(image)).roll(len(image) // 2)

# %% pairs side by side taken for granted
def partner(image):
    return torch.arange(len(image)) ^ 1

# %% the image's number instead of a position
def partner(image):
    return image.clone()

# %% always the image's last view
def partner(image):
    same = (image[:, None] == image).int()
    return len(image) - 1 - same.flip(1).argmax(dim=1)

# %% positions in the sorted list, not brought back
def partner(image):
    order = image.argsort(stable=True)
    return order.view(-1, 2).flip(1).flatten()

# %% only the first view of each pair gets a partner
def partner(image):
    first, second = image.argsort(stable=True).view(-1, 2).T
    found = torch.zeros_like(image)
    found[first] = second
    return found

# %% a guess between the two usual layouts
def partner(image):
    if image[0] == image[1]:
        return torch.arange(len(image)) ^ 1
    return torch.arange(len(image)).roll(len(image) // 2)
