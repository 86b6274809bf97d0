# %% nothing is normalised
def nearest_prototype(train_z, train_y, test_z, num_classes):
    prototypes = torch.stack([train_z[train_y == c].mean(dim=0) for c in range(num_classes)])
    return (test_z @ prototypes.T).argmax(dim=1)

# %% the features are not normalised before the mean, so long vectors own their class
def nearest_prototype(train_z, train_y, test_z, num_classes):
    prototypes = torch.stack([train_z[train_y == c].mean(dim=0) for c in range(num_classes)])
    return (nn.functional.normalize(test_z) @ nn.functional.normalize(prototypes).T).argmax(dim=1)

# %% the prototypes are not normalised after the mean, so scattered classes lose
def nearest_prototype(train_z, train_y, test_z, num_classes):
    train_z, test_z = nn.functional.normalize(train_z), nn.functional.normalize(test_z)
    prototypes = torch.stack([train_z[train_y == c].mean(dim=0) for c in range(num_classes)])
    return (test_z @ prototypes.T).argmax(dim=1)

# %% normalised along the wrong axis: over the images, not over the features
def nearest_prototype(train_z, train_y, test_z, num_classes):
    train_z, test_z = nn.functional.normalize(train_z, dim=0), nn.functional.normalize(test_z, dim=0)
    prototypes = torch.stack([train_z[train_y == c].mean(dim=0) for c in range(num_classes)])
    return (test_z @ nn.functional.normalize(prototypes).T).argmax(dim=1)

# %% the nearest training image decides, not the prototype
def nearest_prototype(train_z, train_y, test_z, num_classes):
    train_z, test_z = nn.functional.normalize(train_z), nn.functional.normalize(test_z)
    return train_y[(test_z @ train_z.T).argmax(dim=1)]

# %% Euclidean distance between raw features and raw means
def nearest_prototype(train_z, train_y, test_z, num_classes):
    prototypes = torch.stack([train_z[train_y == c].mean(dim=0) for c in range(num_classes)])
    return torch.cdist(test_z, prototypes).argmin(dim=1)

# %% argmin of a similarity
def nearest_prototype(train_z, train_y, test_z, num_classes):
    train_z, test_z = nn.functional.normalize(train_z), nn.functional.normalize(test_z)
    prototypes = torch.stack([train_z[train_y == c].mean(dim=0) for c in range(num_classes)])
    return (test_z @ nn.functional.normalize(prototypes).T).argmin(dim=1)

# %% one prototype for everybody: the mean over all classes
def nearest_prototype(train_z, train_y, test_z, num_classes):
    train_z, test_z = nn.functional.normalize(train_z), nn.functional.normalize(test_z)
    prototypes = train_z.mean(dim=0).expand(num_classes, -1)
    return (test_z @ nn.functional.normalize(prototypes).T).argmax(dim=1)
