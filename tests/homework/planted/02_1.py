# %% the network is run in train mode: the values are off, and BatchNorm statistics move
def features_with_hook(network, layer, images):
    caught = []
    handle = layer.register_forward_hook(lambda module, inputs, output: caught.append(output))
    with torch.no_grad():
        network(images)
    handle.remove()
    return caught[0]

# %% a first pass in train mode, "to see the shapes": BatchNorm statistics have moved
def features_with_hook(network, layer, images):
    network(images)
    caught = []
    handle = layer.register_forward_hook(lambda module, inputs, output: caught.append(output))
    with frozen(network):
        network(images)
    handle.remove()
    return caught[0]

# %% the hook stays attached
def features_with_hook(network, layer, images):
    caught = []
    layer.register_forward_hook(lambda module, inputs, output: caught.append(output))
    with frozen(network):
        network(images)
    return caught[-1]

# %% evaluation mode, but with gradients
def features_with_hook(network, layer, images):
    caught, modes = [], [(m, m.training) for m in network.modules()]
    handle = layer.register_forward_hook(lambda module, inputs, output: caught.append(output))
    network.eval()
    network(images)
    for module, mode in modes:
        module.training = mode
    handle.remove()
    return caught[0]

# %% the network is left in evaluation mode
def features_with_hook(network, layer, images):
    caught = []
    handle = layer.register_forward_hook(lambda module, inputs, output: caught.append(output))
    network.eval()
    with torch.no_grad():
        network(images)
    handle.remove()
    return caught[0]

# %% network.train(as before): layers that were frozen one by one wake up
def features_with_hook(network, layer, images):
    caught, before = [], network.training
    handle = layer.register_forward_hook(lambda module, inputs, output: caught.append(output))
    network.eval()
    with torch.no_grad():
        network(images)
    handle.remove()
    network.train(before)
    return caught[0]

# %% the layer's input, not its output
def features_with_hook(network, layer, images):
    caught = []
    handle = layer.register_forward_hook(lambda module, inputs, output: caught.append(inputs[0]))
    with frozen(network):
        network(images)
    handle.remove()
    return caught[0]

# %% returns the scores of the network, and nothing of the layer
def features_with_hook(network, layer, images):
    with frozen(network):
        return network(images)

# %% the output is caught and not copied: the next layer writes over it
def features_with_hook(network, layer, images):
    caught = []
    handle = layer.register_forward_hook(lambda module, inputs, output: caught.append(output))
    with frozen(network):
        network(images)
    handle.remove()
    return caught[0]
