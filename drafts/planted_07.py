"""Planted answers for the exercises of notebook 07: `python drafts/planted_07.py` runs each against its check cell.

The solution must pass and each wrong answer must fail. The stub's function is replaced by the planted source.
"""

import copy
import re
import sys
from pathlib import Path

WRONG = {
    "infonce": {
        "exp and log, as in equation 1": """
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    return equation_1(q, k, queue, tau)""",
        "exp and log, cut off": """
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    return equation_1(q, k, queue.detach(), tau)""",
        "targets as in SimCLR": """
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    return F.cross_entropy(torch.cat([q @ k.T, q @ queue.T], dim=1) / tau, torch.arange(len(q)))""",
        "keys not cut off": """
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    scores = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.detach().T], dim=1) / tau
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))""",
        "queue not cut off": """
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    scores = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / tau
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))""",
        "own key in the last column": """
def contrast(q, k, queue, tau=0.2):
    q, k = F.normalize(q, dim=1), F.normalize(k.detach(), dim=1)
    scores = torch.cat([q @ queue.T, (q * k).sum(1, keepdim=True)], dim=1) / tau
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))""",
        "not normalised": """
def contrast(q, k, queue, tau=0.2):
    scores = torch.cat([(q * k.detach()).sum(1, keepdim=True), q @ queue.T], dim=1) / tau
    return F.cross_entropy(scores, torch.zeros(len(q), dtype=torch.long))""",
        "no gradient at all": """
def contrast(q, k, queue, tau=0.2):
    return info_nce(q.detach(), k, queue, tau)""",
        "tau fixed": """
def contrast(q, k, queue, tau=0.2):
    return info_nce(q, k, queue, 0.3)"""},
    "enqueue": {
        "a slice": """
def enqueue(queue, position, keys):
    queue[position:position + len(keys)] = keys
    return (position + len(keys)) % len(queue)""",
        "keys dropped at the end": """
def enqueue(queue, position, keys):
    keys = keys[:len(queue) - position]
    queue[position:position + len(keys)] = keys
    return (position + len(keys)) % len(queue)""",
        "starts again at 0 where a batch does not fit": """
def enqueue(queue, position, keys):
    if position + len(keys) > len(queue):
        position = 0
    queue[position:position + len(keys)] = keys
    return (position + len(keys)) % len(queue)""",
        "a new queue": """
def enqueue(queue, position, keys):
    queue = queue.clone()
    queue[(position + torch.arange(len(keys))) % len(queue)] = keys
    return (position + len(keys)) % len(queue)""",
        "position runs off": """
def enqueue(queue, position, keys):
    queue[(position + torch.arange(len(keys))) % len(queue)] = keys
    return position + len(keys)""",
        "first keys of a long batch": """
def enqueue(queue, position, keys):
    places = (position + torch.arange(min(len(keys), len(queue)))) % len(queue)
    queue[places] = keys[:len(queue)]
    return (position + len(keys)) % len(queue)"""},
    "ema": {
        "parameters only": """
@torch.no_grad()
def move_towards(key_net, query_net, m):
    for old, new in zip(key_net.parameters(), query_net.parameters()):
        old.mul_(m).add_(new, alpha=1 - m)""",
        "m and 1 - m exchanged": """
@torch.no_grad()
def move_towards(key_net, query_net, m):
    for old, new in zip(key_net.state_dict().values(), query_net.state_dict().values()):
        old.copy_((1 - m) * old + m * new)""",
        "a name bound anew": """
@torch.no_grad()
def move_towards(key_net, query_net, m):
    for old, new in zip(key_net.state_dict().values(), query_net.state_dict().values()):
        old = m * old + (1 - m) * new""",
        "new tensors": """
@torch.no_grad()
def move_towards(key_net, query_net, m):
    for old, new in zip(key_net.parameters(), query_net.parameters()):
        old.data = m * old.data + (1 - m) * new.data
    for old, new in zip(key_net.buffers(), query_net.buffers()):
        old.copy_(m * old + (1 - m) * new if old.is_floating_point() else new)""",
        "counters averaged": """
@torch.no_grad()
def move_towards(key_net, query_net, m):
    for old, new in zip(key_net.state_dict().values(), query_net.state_dict().values()):
        old.copy_(m * old + (1 - m) * new)""",
        "recorded for a gradient": """
def move_towards(key_net, query_net, m):
    for old, new in zip(key_net.parameters(), query_net.parameters()):
        old.mul_(m).add_(new, alpha=1 - m)
    for old, new in zip(key_net.buffers(), query_net.buffers()):
        old.copy_(m * old + (1 - m) * new if old.is_floating_point() else new)""",
        "buffers copied, not averaged": """
@torch.no_grad()
def move_towards(key_net, query_net, m):
    for old, new in zip(key_net.parameters(), query_net.parameters()):
        old.mul_(m).add_(new, alpha=1 - m)
    for old, new in zip(key_net.buffers(), query_net.buffers()):
        old.copy_(new)"""},
    "symmetric": {
        "enqueues between the terms": """
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    first = info_nce(q1, k2, queue, tau)
    queue = push(queue, k2)
    return (first + info_nce(q2, k1, queue, tau)) / 2, push(queue, k1)""",
        "each view finds itself": """
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    loss = (info_nce(q1, k1, queue, tau) + info_nce(q2, k2, queue, tau)) / 2
    return loss, push(push(queue, k2), k1)""",
        "a sum": """
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    loss = info_nce(q1, k2, queue, tau) + info_nce(q2, k1, queue, tau)
    return loss, push(push(queue, k2), k1)""",
        "one batch of keys is lost": """
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    loss = (info_nce(q1, k2, queue, tau) + info_nce(q2, k1, queue, tau)) / 2
    return loss, push(queue, k2)""",
        "enqueues before both terms": """
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    queue = push(push(queue, k2), k1)
    return (info_nce(q1, k2, queue, tau) + info_nce(q2, k1, queue, tau)) / 2, queue""",
        "one term twice": """
def symmetric_step(q1, q2, k1, k2, queue, tau=0.2):
    return info_nce(q1, k2, queue, tau), push(push(queue, k2), k1)"""},
}


def main() -> int:
    import torch
    from torch import nn
    from torch.nn import functional as F

    from course_utils.losses import info_nce

    text = (Path(__file__).parent / "07.py").read_text(encoding="utf-8")
    cells = re.split(r"^# %%.*$", text, flags=re.MULTILINE)
    headers = re.findall(r"^# %%.*$", text, flags=re.MULTILINE)
    space = {"torch": torch, "nn": nn, "F": F, "info_nce": info_nce, "copy": copy}
    for cell in cells:  # what the checks use from the text
        if re.search(r"^def (equation_1|push|follow)\(", cell, flags=re.MULTILINE):
            exec(cell, space)
    graded = {match[1]: cell for header, cell in zip(headers, cells[1:], strict=True)
              if (match := re.search(r'"grade_id": "([\w-]+)"', header))}
    failures = 0
    for name, wrong in WRONG.items():
        for title, source in {"the solution": graded[f"{name}-solution"], **wrong}.items():
            scope = dict(space)
            exec(source, scope)
            try:
                exec(graded[f"{name}-check"], scope)
                verdict, message = "passes", ""
            except Exception as error:  # noqa: BLE001  any failure is a failure
                verdict, message = "fails", f"{type(error).__name__}: {error}".splitlines()[0][:110]
            right = (verdict == "passes") == (title == "the solution")
            failures += not right
            print(f"{'' if right else 'WRONG: '}{name}, {title}: {verdict} {message}")
    return failures


if __name__ == "__main__":
    sys.exit(main())
