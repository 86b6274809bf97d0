# %% the gradient flows into the keys
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    scores = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.detach().T], dim=1) / tau
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))

# %% the gradient flows into the queue
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    scores = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / tau
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))

# %% the query detached instead of the key
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q.detach(), dim=1), F.normalize(k, dim=1)
    scores = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.detach().T], dim=1) / tau
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))

# %% nothing has a gradient
@torch.no_grad()
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    scores = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / tau
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))

# %% the own key in the last column, the target still 0
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    scores = torch.cat([q @ queue.detach().T, (q * k).sum(1, keepdim=True)], dim=1) / tau
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))

# %% the keys of the whole batch in front, every target 0
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    scores = torch.cat([q @ k.T, q @ queue.detach().T], dim=1) / tau
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))

# %% as in SimCLR: the keys of the other images of the batch are negatives, too
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    scores = torch.cat([q @ k.T, q @ queue.detach().T], dim=1) / tau
    return F.cross_entropy(scores, torch.arange(len(q)))

# %% the keys not brought to length one
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), k.detach()
    scores = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.detach().T], dim=1) / tau
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))

# %% the temperature for the negatives only
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    scores = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.detach().T / tau], dim=1)
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))

# %% the positive left out of the denominator
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    own, others = (q * k).sum(1) / tau, q @ queue.detach().T / tau
    return (others.logsumexp(dim=1) - own).mean()

# %% the length of the query taken for a constant
def contrast(q, k, queue, tau=0.2):
    q, k = q / q.norm(dim=1, keepdim=True).detach(), F.normalize(k.detach(), dim=1)
    scores = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.detach().T], dim=1) / tau
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))

# %% exp and log by hand: not a number at a low temperature
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    return equation_1(q, k, queue.detach(), tau)
