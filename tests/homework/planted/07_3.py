# %% m and 1 - m exchanged
def move_towards(key_net, query_net, m):
    with torch.no_grad():
        for old, new in zip(key_net.state_dict().values(), query_net.state_dict().values()):
            if old.is_floating_point():
                old.mul_(1 - m).add_(new, alpha=m)
            else:
                old.copy_(new)

# %% parameters only: BatchNorm's statistics stay as they were
def move_towards(key_net, query_net, m):
    with torch.no_grad():
        for old, new in zip(key_net.parameters(), query_net.parameters()):
            old.mul_(m).add_(new, alpha=1 - m)

# %% BatchNorm's statistics copied, not averaged
def move_towards(key_net, query_net, m):
    with torch.no_grad():
        for old, new in zip(key_net.parameters(), query_net.parameters()):
            old.mul_(m).add_(new, alpha=1 - m)
        for old, new in zip(key_net.buffers(), query_net.buffers()):
            old.copy_(new)

# %% the counters left out
def move_towards(key_net, query_net, m):
    with torch.no_grad():
        for old, new in zip(key_net.state_dict().values(), query_net.state_dict().values()):
            if old.is_floating_point():
                old.mul_(m).add_(new, alpha=1 - m)

# %% the query encoder moved towards the key encoder
def move_towards(key_net, query_net, m):
    with torch.no_grad():
        for old, new in zip(query_net.state_dict().values(), key_net.state_dict().values()):
            if old.is_floating_point():
                old.mul_(m).add_(new, alpha=1 - m)
            else:
                old.copy_(new)

# %% the query encoder copied, whatever m
def move_towards(key_net, query_net, m):
    key_net.load_state_dict(query_net.state_dict())

# %% the order of the two steps: (old + (1 - m) new) m
def move_towards(key_net, query_net, m):
    with torch.no_grad():
        for old, new in zip(key_net.state_dict().values(), query_net.state_dict().values()):
            if old.is_floating_point():
                old.add_(new, alpha=1 - m).mul_(m)
            else:
                old.copy_(new)

# %% new tensors put in, not the old ones changed
def move_towards(key_net, query_net, m):
    everything = [[*net.parameters(), *net.buffers()] for net in (key_net, query_net)]
    for old, new in zip(*everything):
        old.data = m * old.data + (1 - m) * new.data if old.is_floating_point() else new.data.clone()

# %% for m = 0 the query encoder's own tensors taken over
def move_towards(key_net, query_net, m):
    with torch.no_grad():
        everything = [[*net.parameters(), *net.buffers()] for net in (key_net, query_net)]
        for old, new in zip(*everything):
            if m == 0:
                old.data = new.data
            elif old.is_floating_point():
                old.mul_(m).add_(new, alpha=1 - m)
            else:
                old.copy_(new)

# %% recorded for the gradient
def move_towards(key_net, query_net, m):
    everything = [[*net.parameters(), *net.buffers()] for net in (key_net, query_net)]
    for old, new in zip(*everything):
        if old.requires_grad:
            old.data.mul_(m).add_(new.data, alpha=1 - m)
        elif old.is_floating_point():
            old.mul_(m).add_(new, alpha=1 - m)
        else:
            old.copy_(new)

# %% the query encoder frozen on the way
def move_towards(key_net, query_net, m):
    query_net.requires_grad_(False)
    with torch.no_grad():
        for old, new in zip(key_net.state_dict().values(), query_net.state_dict().values()):
            if old.is_floating_point():
                old.mul_(m).add_(new, alpha=1 - m)
            else:
                old.copy_(new)
