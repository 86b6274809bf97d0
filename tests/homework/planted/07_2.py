# %% always written at the front: not first in, first out
def enqueue(queue, position, keys):
    keys = keys[-len(queue):]
    queue[:len(keys)] = keys
    return (position + len(keys)) % len(queue)

# %% keys beyond the end dropped
def enqueue(queue, position, keys):
    room = min(len(keys), len(queue) - position)
    queue[position:position + room] = keys[:room]
    return (position + room) % len(queue)

# %% a batch that does not fit starts again at the front
def enqueue(queue, position, keys):
    keys = keys[-len(queue):]
    if position + len(keys) > len(queue):
        position = 0
    queue[position:position + len(keys)] = keys
    return (position + len(keys)) % len(queue)

# %% the keys go round, the position does not
def enqueue(queue, position, keys):
    places = (position + torch.arange(len(keys))) % len(queue)
    queue[places[-len(queue):]] = keys[-len(queue):]
    return position + len(keys)

# %% the position goes round one key too early
def enqueue(queue, position, keys):
    places = (position + torch.arange(len(keys))) % len(queue)
    queue[places[-len(queue):]] = keys[-len(queue):]
    return (position + len(keys)) % (len(queue) - 1) if len(queue) > 1 else 0

# %% the rest of a batch goes to the end of the queue, not to its front
def enqueue(queue, position, keys):
    places = (position + torch.arange(len(keys))).clamp(max=len(queue) - 1)
    queue[places] = keys
    return (position + len(keys)) % len(queue)

# %% a new queue made, the given one left as it was
def enqueue(queue, position, keys):
    queue = torch.cat([queue[len(keys):], keys])[-len(queue):]
    return (position + len(keys)) % len(queue)

# %% newest first: the batch written backwards
def enqueue(queue, position, keys):
    places = (position + torch.arange(len(keys))) % len(queue)
    queue[places[-len(queue):]] = keys[-len(queue):].flip(0)
    return (position + len(keys)) % len(queue)

# %% of a batch longer than the queue the first keys kept, not the last
def enqueue(queue, position, keys):
    places = (position + torch.arange(len(keys))) % len(queue)
    queue[places[:len(queue)]] = keys[:len(queue)]
    return (position + len(keys)) % len(queue)
