# %% the temperature is forgotten
def weighted_vote(similarity, labels, num_classes, temperature=0.07):
    votes = torch.zeros(len(similarity), num_classes)
    votes.scatter_add_(1, labels, similarity.exp())
    return votes.argmax(dim=1)

# %% similarity times τ, not divided by it
def weighted_vote(similarity, labels, num_classes, temperature=0.07):
    votes = torch.zeros(len(similarity), num_classes)
    votes.scatter_add_(1, labels, (similarity * temperature).exp())
    return votes.argmax(dim=1)

# %% one neighbour, one vote: no weights
def weighted_vote(similarity, labels, num_classes, temperature=0.07):
    return torch.nn.functional.one_hot(labels, num_classes).sum(dim=1).argmax(dim=1)

# %% the weight is s/τ, without exp
def weighted_vote(similarity, labels, num_classes, temperature=0.07):
    votes = torch.zeros(len(similarity), num_classes)
    votes.scatter_add_(1, labels, similarity / temperature)
    return votes.argmax(dim=1)

# %% the nearest neighbour decides alone
def weighted_vote(similarity, labels, num_classes, temperature=0.07):
    return labels.gather(1, similarity.argmax(dim=1, keepdim=True))[:, 0]

# %% indexed += : of two votes for one class only one counts
def weighted_vote(similarity, labels, num_classes, temperature=0.07):
    votes = torch.zeros(len(similarity), num_classes)
    votes[torch.arange(len(similarity))[:, None], labels] += (similarity / temperature).exp()
    return votes.argmax(dim=1)

# %% the mean weight of each class, not the sum
def weighted_vote(similarity, labels, num_classes, temperature=0.07):
    one_hot = torch.nn.functional.one_hot(labels, num_classes).float()
    votes = ((similarity / temperature).exp()[:, :, None] * one_hot).sum(dim=1)
    return (votes / one_hot.sum(dim=1).clamp(min=1)).argmax(dim=1)

# %% votes are summed over the whole batch, not per row
def weighted_vote(similarity, labels, num_classes, temperature=0.07):
    votes = torch.zeros(num_classes)
    votes.scatter_add_(0, labels.flatten(), (similarity / temperature).exp().flatten())
    return votes.argmax().expand(len(similarity))

# %% negative similarities are set to zero first
def weighted_vote(similarity, labels, num_classes, temperature=0.07):
    votes = torch.zeros(len(similarity), num_classes)
    votes.scatter_add_(1, labels, (similarity.clamp(min=0) / temperature).exp())
    return votes.argmax(dim=1)
