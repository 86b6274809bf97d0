# %% gradients pile up: no zero_grad
def probe_by_hand(train_z, train_y, test_z, num_classes, steps=100, lr=0.5):
    mean, std = train_z.mean(dim=0), train_z.std(dim=0) + 1e-6
    x, x_test = (train_z - mean) / std, (test_z - mean) / std
    W = torch.zeros(num_classes, x.shape[1], requires_grad=True)
    b = torch.zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.SGD([W, b], lr=lr)
    for _ in range(steps):
        nn.functional.cross_entropy(x @ W.T + b, train_y).backward()
        optimizer.step()
    return (x_test @ W.T + b).argmax(dim=1)

# %% features are not standardised
def probe_by_hand(train_z, train_y, test_z, num_classes, steps=100, lr=0.5):
    W = torch.zeros(num_classes, train_z.shape[1], requires_grad=True)
    b = torch.zeros(num_classes, requires_grad=True)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(train_z @ W.T + b, train_y)
        for parameter, gradient in zip((W, b), torch.autograd.grad(loss, (W, b))):
            parameter.data -= lr * gradient
    return (test_z @ W.T + b).argmax(dim=1)

# %% one mean and one standard deviation for all features together
def probe_by_hand(train_z, train_y, test_z, num_classes, steps=100, lr=0.5):
    mean, std = train_z.mean(), train_z.std()
    x, x_test = (train_z - mean) / std, (test_z - mean) / std
    W = torch.zeros(num_classes, x.shape[1], requires_grad=True)
    b = torch.zeros(num_classes, requires_grad=True)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(x @ W.T + b, train_y)
        for parameter, gradient in zip((W, b), torch.autograd.grad(loss, (W, b))):
            parameter.data -= lr * gradient
    return (x_test @ W.T + b).argmax(dim=1)

# %% the test features are standardised by their own mean and standard deviation
def probe_by_hand(train_z, train_y, test_z, num_classes, steps=100, lr=0.5):
    x = (train_z - train_z.mean(dim=0)) / (train_z.std(dim=0) + 1e-6)
    x_test = (test_z - test_z.mean(dim=0)) / (test_z.std(dim=0) + 1e-6)
    W = torch.zeros(num_classes, x.shape[1], requires_grad=True)
    b = torch.zeros(num_classes, requires_grad=True)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(x @ W.T + b, train_y)
        for parameter, gradient in zip((W, b), torch.autograd.grad(loss, (W, b))):
            parameter.data -= lr * gradient
    return (x_test @ W.T + b).argmax(dim=1)

# %% mean and standard deviation over training and test features together
def probe_by_hand(train_z, train_y, test_z, num_classes, steps=100, lr=0.5):
    together = torch.cat([train_z, test_z])
    mean, std = together.mean(dim=0), together.std(dim=0) + 1e-6
    x, x_test = (train_z - mean) / std, (test_z - mean) / std
    W = torch.zeros(num_classes, x.shape[1], requires_grad=True)
    b = torch.zeros(num_classes, requires_grad=True)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(x @ W.T + b, train_y)
        for parameter, gradient in zip((W, b), torch.autograd.grad(loss, (W, b))):
            parameter.data -= lr * gradient
    return (x_test @ W.T + b).argmax(dim=1)

# %% the test features are not standardised
def probe_by_hand(train_z, train_y, test_z, num_classes, steps=100, lr=0.5):
    x = (train_z - train_z.mean(dim=0)) / (train_z.std(dim=0) + 1e-6)
    W = torch.zeros(num_classes, x.shape[1], requires_grad=True)
    b = torch.zeros(num_classes, requires_grad=True)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(x @ W.T + b, train_y)
        for parameter, gradient in zip((W, b), torch.autograd.grad(loss, (W, b))):
            parameter.data -= lr * gradient
    return (test_z @ W.T + b).argmax(dim=1)

# %% one step only
def probe_by_hand(train_z, train_y, test_z, num_classes, steps=100, lr=0.5):
    mean, std = train_z.mean(dim=0), train_z.std(dim=0) + 1e-6
    x, x_test = (train_z - mean) / std, (test_z - mean) / std
    W = torch.zeros(num_classes, x.shape[1], requires_grad=True)
    b = torch.zeros(num_classes, requires_grad=True)
    loss = nn.functional.cross_entropy(x @ W.T + b, train_y)
    for parameter, gradient in zip((W, b), torch.autograd.grad(loss, (W, b))):
        parameter.data -= lr * gradient
    return (x_test @ W.T + b).argmax(dim=1)

# %% the loss is a sum over the images, not a mean
def probe_by_hand(train_z, train_y, test_z, num_classes, steps=100, lr=0.5):
    mean, std = train_z.mean(dim=0), train_z.std(dim=0) + 1e-6
    x, x_test = (train_z - mean) / std, (test_z - mean) / std
    W = torch.zeros(num_classes, x.shape[1], requires_grad=True)
    b = torch.zeros(num_classes, requires_grad=True)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(x @ W.T + b, train_y, reduction="sum")
        for parameter, gradient in zip((W, b), torch.autograd.grad(loss, (W, b))):
            parameter.data -= lr * gradient
    return (x_test @ W.T + b).argmax(dim=1)

# %% nn.Linear starts from random weights, not from zero
def probe_by_hand(train_z, train_y, test_z, num_classes, steps=100, lr=0.5):
    mean, std = train_z.mean(dim=0), train_z.std(dim=0) + 1e-6
    head = nn.Linear(train_z.shape[1], num_classes)
    optimizer = torch.optim.SGD(head.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head((train_z - mean) / std), train_y).backward()
        optimizer.step()
    return head((test_z - mean) / std).argmax(dim=1)

# %% the bias is missing
def probe_by_hand(train_z, train_y, test_z, num_classes, steps=100, lr=0.5):
    mean, std = train_z.mean(dim=0), train_z.std(dim=0) + 1e-6
    x, x_test = (train_z - mean) / std, (test_z - mean) / std
    W = torch.zeros(num_classes, x.shape[1], requires_grad=True)
    for _ in range(steps):
        gradient, = torch.autograd.grad(nn.functional.cross_entropy(x @ W.T, train_y), W)
        W.data -= lr * gradient
    return (x_test @ W.T).argmax(dim=1)

# %% uphill: the gradient is added
def probe_by_hand(train_z, train_y, test_z, num_classes, steps=100, lr=0.5):
    mean, std = train_z.mean(dim=0), train_z.std(dim=0) + 1e-6
    x, x_test = (train_z - mean) / std, (test_z - mean) / std
    W = torch.zeros(num_classes, x.shape[1], requires_grad=True)
    b = torch.zeros(num_classes, requires_grad=True)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(x @ W.T + b, train_y)
        for parameter, gradient in zip((W, b), torch.autograd.grad(loss, (W, b))):
            parameter.data += lr * gradient
    return (x_test @ W.T + b).argmax(dim=1)
