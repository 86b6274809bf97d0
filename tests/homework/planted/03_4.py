# %% the variance is given where the deviation is asked
def mean_var(network, trained):
    with torch.no_grad():
        for layer, model in zip(network.modules(), trained.modules()):
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_(model.weight.mean().item(), model.weight.var().item())
    return network

# %% the weights themselves are copied: a full transfer
def mean_var(network, trained):
    with torch.no_grad():
        for layer, model in zip(network.modules(), trained.modules()):
            if isinstance(layer, nn.Conv2d):
                layer.weight.copy_(model.weight)
    return network

# %% the trained weights are shuffled, not drawn
def mean_var(network, trained):
    with torch.no_grad():
        for layer, model in zip(network.modules(), trained.modules()):
            if isinstance(layer, nn.Conv2d):
                flat = model.weight.flatten()
                layer.weight.copy_(flat[torch.randperm(len(flat))].view_as(layer.weight))
    return network

# %% drawn evenly between mean ± √3 deviations, not from a normal distribution
def mean_var(network, trained):
    with torch.no_grad():
        for layer, model in zip(network.modules(), trained.modules()):
            if isinstance(layer, nn.Conv2d):
                mean, half = model.weight.mean().item(), 3 ** 0.5 * model.weight.std().item()
                layer.weight.uniform_(mean - half, mean + half)
    return network

# %% the statistics of the network's own weights
def mean_var(network, trained):
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_(layer.weight.mean().item(), layer.weight.std().item())
    return network

# %% one mean and one deviation for the whole network
def mean_var(network, trained):
    weights = torch.cat([m.weight.flatten() for m in trained.modules() if isinstance(m, nn.Conv2d)])
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_(weights.mean().item(), weights.std().item())
    return network

# %% every layer gets the statistics of the first
def mean_var(network, trained):
    first = next(m for m in trained.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_(first.weight.mean().item(), first.weight.std().item())
    return network

# %% all parameters are drawn anew, BatchNorm's too
def mean_var(network, trained):
    with torch.no_grad():
        for new, old in zip(network.parameters(), trained.parameters()):
            new.normal_(old.mean().item(), old.std().item())
    return network

# %% everything is loaded first, so BatchNorm comes along
def mean_var(network, trained):
    network.load_state_dict(trained.state_dict())
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_(layer.weight.mean().item(), layer.weight.std().item())
    return network

# %% BatchNorm's running statistics come along
def mean_var(network, trained):
    with torch.no_grad():
        for layer, model in zip(network.modules(), trained.modules()):
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_(model.weight.mean().item(), model.weight.std().item())
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.copy_(model.running_mean)
                layer.running_var.copy_(model.running_var)
    return network

# %% the new weights are frozen
def mean_var(network, trained):
    for layer, model in zip(network.modules(), trained.modules()):
        if isinstance(layer, nn.Conv2d):
            drawn = torch.empty_like(layer.weight).normal_(model.weight.mean().item(), model.weight.std().item())
            layer.weight = nn.Parameter(drawn, requires_grad=False)
    return network

# %% the trained network is changed, too
def mean_var(network, trained):
    with torch.no_grad():
        for layer, model in zip(network.modules(), trained.modules()):
            if isinstance(layer, nn.Conv2d):
                model.weight.normal_(model.weight.mean().item(), model.weight.std().item())
                layer.weight.copy_(model.weight)
    return network

# %% a fixed seed inside: every draw is the same
def mean_var(network, trained):
    torch.manual_seed(0)
    with torch.no_grad():
        for layer, model in zip(network.modules(), trained.modules()):
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_(model.weight.mean().item(), model.weight.std().item())
    return network
