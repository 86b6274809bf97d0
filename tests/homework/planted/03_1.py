# %% argsort of argsort: equal scores get different ranks, by their accidental order
def auc_from_ranks(scores, labels):
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if positives == 0 or negatives == 0:
        raise ValueError("AUC needs ill cases and healthy ones")
    rank = scores.argsort(stable=True).argsort(stable=True).double() + 1
    return ((rank[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)).item()

# %% equal scores share the highest of their ranks
def auc_from_ranks(scores, labels):
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if positives == 0 or negatives == 0:
        raise ValueError("AUC needs ill cases and healthy ones")
    rank = torch.searchsorted(scores.sort().values, scores, right=True).double()
    return ((rank[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)).item()

# %% equal scores share a rank, and the next score gets the next number
def auc_from_ranks(scores, labels):
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if positives == 0 or negatives == 0:
        raise ValueError("AUC needs ill cases and healthy ones")
    rank = torch.unique(scores, return_inverse=True)[1].double() + 1
    return ((rank[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)).item()

# %% ranks start at 0
def auc_from_ranks(scores, labels):
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if positives == 0 or negatives == 0:
        raise ValueError("AUC needs ill cases and healthy ones")
    _, place, count = torch.unique(scores.double(), return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - 1 - (count - 1) / 2)[place]
    return ((rank[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)).item()

# %% the smallest possible sum of ranks is not subtracted
def auc_from_ranks(scores, labels):
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if positives == 0 or negatives == 0:
        raise ValueError("AUC needs ill cases and healthy ones")
    _, place, count = torch.unique(scores.double(), return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count - 1) / 2)[place]
    return (rank[labels == 1].sum() / (positives * negatives)).item()

# %% ill and healthy swapped
def auc_from_ranks(scores, labels):
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if positives == 0 or negatives == 0:
        raise ValueError("AUC needs ill cases and healthy ones")
    _, place, count = torch.unique(scores.double(), return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count - 1) / 2)[place]
    return ((rank[labels == 0].sum() - negatives * (negatives + 1) / 2) / (positives * negatives)).item()

# %% labels of one kind only: 0.5, "as good as guessing"
def auc_from_ranks(scores, labels):
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if positives == 0 or negatives == 0:
        return 0.5
    _, place, count = torch.unique(scores.double(), return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count - 1) / 2)[place]
    return ((rank[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)).item()

# %% labels of one kind only: 0/0 goes through as NaN
def auc_from_ranks(scores, labels):
    positives, negatives = (labels == 1).sum(), (labels == 0).sum()
    _, place, count = torch.unique(scores.double(), return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count - 1) / 2)[place]
    return ((rank[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)).item()

# %% one threshold at 0.5: the mean of sensitivity and specificity
def auc_from_ranks(scores, labels):
    if labels.min() == labels.max():
        raise ValueError("AUC needs ill cases and healthy ones")
    flagged = (scores > 0.5).double()
    return ((flagged[labels == 1].mean() + 1 - flagged[labels == 0].mean()) / 2).item()

# %% every pair is compared, and a tie counts as lost
def auc_from_ranks(scores, labels):
    ill, healthy = scores[labels == 1], scores[labels == 0]
    if len(ill) == 0 or len(healthy) == 0:
        raise ValueError("AUC needs ill cases and healthy ones")
    return (ill[:, None] > healthy[None, :]).double().mean().item()
