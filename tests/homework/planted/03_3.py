# %% the convolution keeps its bias
def cbr_block(in_channels, out_channels, kernel, pool=True):
    layers = [nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2), nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(3, stride=2, padding=1)] if pool else []))

# %% ReLU before BatchNorm
def cbr_block(in_channels, out_channels, kernel, pool=True):
    layers = [nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
              nn.ReLU(), nn.BatchNorm2d(out_channels)]
    return nn.Sequential(*layers, *([nn.MaxPool2d(3, stride=2, padding=1)] if pool else []))

# %% an average pool
def cbr_block(in_channels, out_channels, kernel, pool=True):
    layers = [nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
              nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.AvgPool2d(3, stride=2, padding=1)] if pool else []))

# %% a 2 × 2 max-pool, rounded up
def cbr_block(in_channels, out_channels, kernel, pool=True):
    layers = [nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
              nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2, ceil_mode=True)] if pool else []))

# %% the pool takes three pixels with a step of three
def cbr_block(in_channels, out_channels, kernel, pool=True):
    layers = [nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
              nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(3)] if pool else []))

# %% stride 2 in the convolution, no pool
def cbr_block(in_channels, out_channels, kernel, pool=True):
    stride = 2 if pool else 1
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
                         nn.BatchNorm2d(out_channels), nn.ReLU())

# %% padding 1, whatever the kernel
def cbr_block(in_channels, out_channels, kernel, pool=True):
    layers = [nn.Conv2d(in_channels, out_channels, kernel, padding=1, bias=False),
              nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(3, stride=2, padding=1)] if pool else []))

# %% `pool` is ignored: always a pool
def cbr_block(in_channels, out_channels, kernel, pool=True):
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
                         nn.BatchNorm2d(out_channels), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))

# %% no BatchNorm
def cbr_block(in_channels, out_channels, kernel, pool=True):
    layers = [nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(3, stride=2, padding=1)] if pool else []))

# %% InstanceNorm: each image is normalised by itself
def cbr_block(in_channels, out_channels, kernel, pool=True):
    layers = [nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
              nn.InstanceNorm2d(out_channels, affine=True), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(3, stride=2, padding=1)] if pool else []))

# %% the border is padded by reflection, not with zeros
def cbr_block(in_channels, out_channels, kernel, pool=True):
    convolution = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, padding_mode="reflect", bias=False)
    layers = [convolution, nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(3, stride=2, padding=1)] if pool else []))
