# %% drawn from all classes at once
def label_curve(train_z, train_y, test_z, test_y, counts, probe, seeds=3):
    curve = []
    for count in counts:
        found = []
        for seed in range(seeds):
            generator = torch.Generator().manual_seed(seed)
            chosen = torch.randperm(len(train_y), generator=generator)[:count * len(train_y.unique())]
            found.append(probe(train_z[chosen], train_y[chosen], test_z, test_y))
        curve.append((torch.tensor(found).mean().item(), torch.tensor(found).std().item()))
    return curve

# %% the first images of each class, whatever the seed
def label_curve(train_z, train_y, test_z, test_y, counts, probe, seeds=3):
    curve = []
    for count in counts:
        found = []
        for seed in range(seeds):
            chosen = torch.cat([(train_y == c).nonzero()[:count, 0] for c in train_y.unique()])
            found.append(probe(train_z[chosen], train_y[chosen], test_z, test_y))
        curve.append((torch.tensor(found).mean().item(), torch.tensor(found).std().item()))
    return curve

# %% the generator seeded anew for each class with the same number for every seed
def label_curve(train_z, train_y, test_z, test_y, counts, probe, seeds=3):
    curve = []
    for count in counts:
        found = []
        for seed in range(seeds):
            chosen = []
            for c in train_y.unique():
                of_class = (train_y == c).nonzero()[:, 0]
                generator = torch.Generator().manual_seed(0)
                chosen.append(of_class[torch.randperm(len(of_class), generator=generator)[:count]])
            chosen = torch.cat(chosen)
            found.append(probe(train_z[chosen], train_y[chosen], test_z, test_y))
        curve.append((torch.tensor(found).mean().item(), torch.tensor(found).std().item()))
    return curve

# %% standard deviation with n in the denominator
def label_curve(train_z, train_y, test_z, test_y, counts, probe, seeds=3):
    curve = []
    for count in counts:
        found = []
        for seed in range(seeds):
            generator, chosen = torch.Generator().manual_seed(seed), []
            for c in train_y.unique():
                of_class = (train_y == c).nonzero()[:, 0]
                chosen.append(of_class[torch.randperm(len(of_class), generator=generator)[:count]])
            chosen = torch.cat(chosen)
            found.append(probe(train_z[chosen], train_y[chosen], test_z, test_y))
        found = torch.tensor(found)
        curve.append((found.mean().item(), found.std(correction=0).item()))
    return curve

# %% the best of the seeds instead of their mean
def label_curve(train_z, train_y, test_z, test_y, counts, probe, seeds=3):
    curve = []
    for count in counts:
        found = []
        for seed in range(seeds):
            generator, chosen = torch.Generator().manual_seed(seed), []
            for c in train_y.unique():
                of_class = (train_y == c).nonzero()[:, 0]
                chosen.append(of_class[torch.randperm(len(of_class), generator=generator)[:count]])
            chosen = torch.cat(chosen)
            found.append(probe(train_z[chosen], train_y[chosen], test_z, test_y))
        found = torch.tensor(found)
        curve.append((found.max().item(), found.std().item()))
    return curve

# %% tested on the images it was trained on
def label_curve(train_z, train_y, test_z, test_y, counts, probe, seeds=3):
    curve = []
    for count in counts:
        found = []
        for seed in range(seeds):
            generator, chosen = torch.Generator().manual_seed(seed), []
            for c in train_y.unique():
                of_class = (train_y == c).nonzero()[:, 0]
                chosen.append(of_class[torch.randperm(len(of_class), generator=generator)[:count]])
            chosen = torch.cat(chosen)
            found.append(probe(train_z[chosen], train_y[chosen], train_z[chosen], train_y[chosen]))
        found = torch.tensor(found)
        curve.append((found.mean().item(), found.std().item()))
    return curve

# %% drawn with replacement
def label_curve(train_z, train_y, test_z, test_y, counts, probe, seeds=3):
    curve = []
    for count in counts:
        found = []
        for seed in range(seeds):
            generator, chosen = torch.Generator().manual_seed(seed), []
            for c in train_y.unique():
                of_class = (train_y == c).nonzero()[:, 0]
                chosen.append(of_class[torch.randint(len(of_class), (count,), generator=generator)])
            chosen = torch.cat(chosen)
            found.append(probe(train_z[chosen], train_y[chosen], test_z, test_y))
        found = torch.tensor(found)
        curve.append((found.mean().item(), found.std().item()))
    return curve

# %% one generator for all counts, so a seed's draw depends on what was drawn before
def label_curve(train_z, train_y, test_z, test_y, counts, probe, seeds=3):
    curve, generator = [], torch.Generator().manual_seed(0)
    for count in counts:
        found = []
        for seed in range(seeds):
            chosen = []
            for c in train_y.unique():
                of_class = (train_y == c).nonzero()[:, 0]
                chosen.append(of_class[torch.randperm(len(of_class), generator=generator)[:count]])
            chosen = torch.cat(chosen)
            found.append(probe(train_z[chosen], train_y[chosen], test_z, test_y))
        found = torch.tensor(found)
        curve.append((found.mean().item(), found.std().item()))
    return curve
