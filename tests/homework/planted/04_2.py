# %% requires_grad switched off, BatchNorm left in train mode
def frozen_features(encoder, images, batch_size=64):
    wanted = [p.requires_grad for p in encoder.parameters()]
    encoder.requires_grad_(False)
    z = torch.cat([encoder(batch) for batch in images.split(batch_size)])
    for p, before in zip(encoder.parameters(), wanted):
        p.requires_grad_(before)
    return z

# %% no_grad, but no eval()
def frozen_features(encoder, images, batch_size=64):
    with torch.no_grad():
        return torch.cat([encoder(batch) for batch in images.split(batch_size)])

# %% train mode, with the statistics put back afterwards
def frozen_features(encoder, images, batch_size=64):
    kept = {name: value.clone() for name, value in encoder.state_dict().items()}
    with torch.no_grad():
        z = torch.cat([encoder(batch) for batch in images.split(batch_size)])
    encoder.load_state_dict(kept)
    return z

# %% eval(), but the features keep their gradient
def frozen_features(encoder, images, batch_size=64):
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    z = torch.cat([encoder(batch) for batch in images.split(batch_size)])
    for module, mode in modes:
        module.training = mode
    return z

# %% left in eval mode
def frozen_features(encoder, images, batch_size=64):
    encoder.eval()
    with torch.no_grad():
        return torch.cat([encoder(batch) for batch in images.split(batch_size)])

# %% put into train mode as a whole, parts that were in eval mode too
def frozen_features(encoder, images, batch_size=64):
    was_training = encoder.training
    encoder.eval()
    with torch.no_grad():
        z = torch.cat([encoder(batch) for batch in images.split(batch_size)])
    encoder.train(was_training)
    return z

# %% every parameter made trainable at the end, also those that were not
def frozen_features(encoder, images, batch_size=64):
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval().requires_grad_(False)
    z = torch.cat([encoder(batch) for batch in images.split(batch_size)])
    encoder.requires_grad_(True)
    for module, mode in modes:
        module.training = mode
    return z

# %% the last, smaller batch dropped
def frozen_features(encoder, images, batch_size=64):
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    batches = [images[i * batch_size:(i + 1) * batch_size] for i in range(len(images) // batch_size)]
    with torch.no_grad():
        z = torch.cat([encoder(batch) for batch in batches])
    for module, mode in modes:
        module.training = mode
    return z
