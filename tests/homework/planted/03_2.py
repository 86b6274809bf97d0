# %% accuracy as counted on the test set, where half are ill
def screening(scores, labels, threshold, prevalence):
    flagged = scores >= threshold
    sensitivity = flagged[labels == 1].double().mean().item()
    specificity = (~flagged[labels == 0]).double().mean().item()
    accuracy = (flagged == (labels == 1)).double().mean().item()
    right, wrong = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    return sensitivity, specificity, accuracy, right / (right + wrong) if right + wrong > 0 else float("nan")

# %% precision as counted on the test set
def screening(scores, labels, threshold, prevalence):
    flagged = scores >= threshold
    sensitivity = flagged[labels == 1].double().mean().item()
    specificity = (~flagged[labels == 0]).double().mean().item()
    accuracy = prevalence * sensitivity + (1 - prevalence) * specificity
    precision = (labels[flagged] == 1).double().mean().item()
    return sensitivity, specificity, accuracy, precision

# %% the share of the ill that are flagged, taken for the share of the flagged that are ill
def screening(scores, labels, threshold, prevalence):
    flagged = scores >= threshold
    sensitivity = flagged[labels == 1].double().mean().item()
    specificity = (~flagged[labels == 0]).double().mean().item()
    accuracy = prevalence * sensitivity + (1 - prevalence) * specificity
    return sensitivity, specificity, accuracy, sensitivity if flagged.any() else float("nan")

# %% specificity is the share of the healthy that *are* flagged
def screening(scores, labels, threshold, prevalence):
    flagged = scores >= threshold
    sensitivity = flagged[labels == 1].double().mean().item()
    specificity = flagged[labels == 0].double().mean().item()
    right, wrong = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    accuracy = right + (1 - prevalence) * specificity
    return sensitivity, specificity, accuracy, right / (right + wrong) if right + wrong > 0 else float("nan")

# %% sensitivity and specificity swapped
def screening(scores, labels, threshold, prevalence):
    flagged = scores >= threshold
    sensitivity = (~flagged[labels == 0]).double().mean().item()
    specificity = flagged[labels == 1].double().mean().item()
    right, wrong = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    accuracy = right + (1 - prevalence) * specificity
    return sensitivity, specificity, accuracy, right / (right + wrong) if right + wrong > 0 else float("nan")

# %% > in place of >=: a score at the threshold is not flagged
def screening(scores, labels, threshold, prevalence):
    flagged = scores > threshold
    sensitivity = flagged[labels == 1].double().mean().item()
    specificity = (~flagged[labels == 0]).double().mean().item()
    right, wrong = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    accuracy = right + (1 - prevalence) * specificity
    return sensitivity, specificity, accuracy, right / (right + wrong) if right + wrong > 0 else float("nan")

# %% nobody flagged: precision 0
def screening(scores, labels, threshold, prevalence):
    flagged = scores >= threshold
    sensitivity = flagged[labels == 1].double().mean().item()
    specificity = (~flagged[labels == 0]).double().mean().item()
    right, wrong = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    accuracy = right + (1 - prevalence) * specificity
    return sensitivity, specificity, accuracy, right / max(right + wrong, 1e-12)

# %% the prevalence of the healthy: p and 1 − p swapped
def screening(scores, labels, threshold, prevalence):
    flagged = scores >= threshold
    sensitivity = flagged[labels == 1].double().mean().item()
    specificity = (~flagged[labels == 0]).double().mean().item()
    right, wrong = (1 - prevalence) * sensitivity, prevalence * (1 - specificity)
    accuracy = right + prevalence * specificity
    return sensitivity, specificity, accuracy, right / (right + wrong) if right + wrong > 0 else float("nan")

# %% precision without the prevalence: both groups count alike
def screening(scores, labels, threshold, prevalence):
    flagged = scores >= threshold
    sensitivity = flagged[labels == 1].double().mean().item()
    specificity = (~flagged[labels == 0]).double().mean().item()
    accuracy = prevalence * sensitivity + (1 - prevalence) * specificity
    wrong = 1 - specificity
    return sensitivity, specificity, accuracy, sensitivity / (sensitivity + wrong) if flagged.any() else float("nan")

# %% four tensors, not numbers
def screening(scores, labels, threshold, prevalence):
    flagged = scores >= threshold
    sensitivity = flagged[labels == 1].double().mean()
    specificity = (~flagged[labels == 0]).double().mean()
    right, wrong = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    return sensitivity, specificity, right + (1 - prevalence) * specificity, right / (right + wrong)

# %% not a number only where no case of the test set is flagged
def screening(scores, labels, threshold, prevalence):
    flagged = scores >= threshold
    sensitivity = flagged[labels == 1].double().mean().item()
    specificity = (~flagged[labels == 0]).double().mean().item()
    right, wrong = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    precision = (right + 1e-300) / (right + wrong + 1e-300) if flagged.any() else float("nan")
    return sensitivity, specificity, right + (1 - prevalence) * specificity, precision
