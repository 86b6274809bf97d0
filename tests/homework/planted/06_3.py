# %% the view counted among its own candidates
def landmarks(n, temperature):
    return math.log(2 * n), math.log(2 + (2 * n - 2) * math.exp(-1 / temperature))

# %% negatives counted, the partner forgotten
def landmarks(n, temperature):
    return math.log(2 * n - 2), math.log1p((2 * n - 2) * math.exp(-1 / temperature))

# %% images counted instead of views
def landmarks(n, temperature):
    return math.log(n), math.log1p((n - 1) * math.exp(-1 / temperature))

# %% the collapsed loss divided by the temperature
def landmarks(n, temperature):
    return math.log(2 * n - 1) / temperature, math.log1p((2 * n - 2) * math.exp(-1 / temperature))

# %% the temperature multiplied
def landmarks(n, temperature):
    return math.log(2 * n - 1), math.log1p((2 * n - 2) * math.exp(-temperature))

# %% one candidate too many in the orthogonal case
def landmarks(n, temperature):
    return math.log(2 * n - 1), math.log1p((2 * n - 1) * math.exp(-1 / temperature))

# %% orthogonal taken for perfect: a loss of 0
def landmarks(n, temperature):
    return math.log(2 * n - 1), 0.0

# %% the cosine of views of other images taken as -1
def landmarks(n, temperature):
    return math.log(2 * n - 1), math.log1p((2 * n - 2) * math.exp(-2 / temperature))

# %% the batch of the example built in
def landmarks(n, temperature):
    return math.log(15), math.log1p(14 * math.exp(-1 / temperature))
