"""Planted wrong answers for the exercises of notebook 06: solutions pass, each of these must fail its check."""

import re
import sys

import jupytext
import torch

WRONG = {
    "nt-xent": {
        "not normalised": "z = torch.cat([z1, z2])\n"
                          "s = (z @ z.T / temperature).masked_fill(torch.eye(len(z)).bool(), -math.inf)\n"
                          "return F.cross_entropy(s, torch.arange(len(z)).roll(len(z1)))",
        "diagonal kept": "z = F.normalize(torch.cat([z1, z2]), dim=1)\n"
                         "return F.cross_entropy(z @ z.T / temperature, torch.arange(len(z)).roll(len(z1)))",
        "one direction, N candidates": "a, b = F.normalize(z1, dim=1), F.normalize(z2, dim=1)\n"
                                       "return F.cross_entropy(a @ b.T / temperature, torch.arange(len(a)))",
        "second view detached": "z = F.normalize(torch.cat([z1, z2.detach()]), dim=1)\n"
                                "s = (z @ z.T / temperature).masked_fill(torch.eye(len(z)).bool(), -math.inf)\n"
                                "return F.cross_entropy(s, torch.arange(len(z)).roll(len(z1)))",
        "target is itself": "z = F.normalize(torch.cat([z1, z2]), dim=1)\n"
                            "s = (z @ z.T / temperature).masked_fill(torch.eye(len(z)).bool(), -math.inf)\n"
                            "return F.cross_entropy(s, torch.arange(len(z)))",
        "exp and log by hand": "z = F.normalize(torch.cat([z1, z2]), dim=1)\n"
                               "e = torch.exp(z @ z.T / temperature) * (1 - torch.eye(len(z), dtype=z.dtype))\n"
                               "p = e / e.sum(dim=1, keepdim=True)\n"
                               "return -torch.log(p[torch.arange(len(z)), torch.arange(len(z)).roll(len(z1))]).mean()",
        "times the temperature": "z = F.normalize(torch.cat([z1, z2]), dim=1)\n"
                                 "s = (z @ z.T * temperature).masked_fill(torch.eye(len(z)).bool(), -math.inf)\n"
                                 "return F.cross_entropy(s, torch.arange(len(z)).roll(len(z1)))",
        "summed": "z = F.normalize(torch.cat([z1, z2]), dim=1)\n"
                  "s = (z @ z.T / temperature).masked_fill(torch.eye(len(z)).bool(), -math.inf)\n"
                  "return F.cross_entropy(s, torch.arange(len(z)).roll(len(z1)), reduction='sum')"},
    "partner": {
        "always half a batch on": "return torch.arange(len(image)).roll(len(image) // 2)",
        "itself": "return (image[:, None] == image).int().argmax(dim=1)",
        "all zero": "return torch.zeros_like(image)",
        "neighbours": "return torch.arange(len(image)) ^ 1",
        "the image, not the position": "return image"},
    "landmarks": {
        "log 2N": "return math.log(2 * n), math.log1p((2 * n - 2) * math.exp(-1 / temperature))",
        "log N": "return math.log(n), math.log1p((2 * n - 2) * math.exp(-1 / temperature))",
        "zero": "return math.log(2 * n - 1), 0.0",
        "one negative too many": "return math.log(2 * n - 1), math.log1p((2 * n - 1) * math.exp(-1 / temperature))",
        "overflow": "e = math.exp(1 / temperature)\nreturn math.log(2 * n - 1), -math.log(e / (e + 2 * n - 2))",
        "temperature in the collapse": "return math.log(2 * n - 1) / temperature / 2, math.log1p("
                                       "(2 * n - 2) * math.exp(-1 / temperature))"},
    "shares": {
        "exp overflows": "e = torch.exp(s / temperature)\nw = e / e.sum(dim=1, keepdim=True)\n"
                         "return w, torch.special.entr(w).sum(dim=1).exp()",
        "0 log 0": "w = (s / temperature).softmax(dim=1)\nreturn w, (-(w * w.log()).sum(dim=1)).exp()",
        "times the temperature": "w = (s * temperature).softmax(dim=1)\n"
                                 "return w, torch.special.entr(w).sum(dim=1).exp()",
        "over the batch": "w = (s / temperature).softmax(dim=0)\nreturn w, torch.special.entr(w).sum(dim=1).exp()",
        "entropy, not its exponential": "w = (s / temperature).softmax(dim=1)\n"
                                        "return w, torch.special.entr(w).sum(dim=1)",
        "a small number in the logarithm": "w = (s / temperature).softmax(dim=1)\n"
                                           "return w, (-(w * (w + 0.01).log()).sum(dim=1)).exp()"},
    "repair": {
        "as it was": "return someones_nt_xent(z1, z2, temperature)",
        "only the norm": "z = F.normalize(torch.cat([z1, z2]), dim=1)\n"
                         "return F.cross_entropy((z @ z.T / temperature).fill_diagonal_(0), "
                         "torch.arange(len(z)).roll(len(z1)))",
        "only the diagonal": "z = F.normalize(torch.cat([z1, z2]), dim=0)\n"
                             "return F.cross_entropy((z @ z.T / temperature).fill_diagonal_(-math.inf), "
                             "torch.arange(len(z)).roll(len(z1)))",
        "a small number on the diagonal": "z = F.normalize(torch.cat([z1, z2]), dim=1)\n"
                                          "return F.cross_entropy((z @ z.T / temperature).fill_diagonal_(-1), "
                                          "torch.arange(len(z)).roll(len(z1)))",
        "half the gradient": "z = F.normalize(torch.cat([z1, z2]), dim=1)\n"
                             "s = (z @ z.T.detach() / temperature).fill_diagonal_(-math.inf)\n"
                             "return F.cross_entropy(s, torch.arange(len(z)).roll(len(z1)))"}}
SOLUTION = re.compile(r"    ### BEGIN SOLUTION.*?### END SOLUTION", re.DOTALL)


def main(path: str) -> int:
    cells = [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    graded = {cell.metadata.nbgrader.grade_id: cell.source for cell in cells if "nbgrader" in cell.metadata}
    context = {}
    exec("import itertools, math, torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
         "from course_utils import losses", context)
    for cell in cells:
        if cell.source.startswith(("def algorithm_1", "def someones_nt_xent")):
            exec(cell.source.split("\nfree =")[0], context)
    missed = 0
    for name, answers in WRONG.items():
        stub, check = graded[f"{name}-solution"], graded[f"{name}-check"]
        exec(stub, context)
        exec(check, context)
        for label, body in answers.items():
            scope = dict(context)
            body = "\n".join("    " + line for line in body.splitlines())
            exec(SOLUTION.sub(lambda _, body=body: body, stub), scope)
            torch.manual_seed(0)
            try:
                exec(check, scope)
            except Exception as error:  # noqa: BLE001
                print(f"{name:10} {label:32} {type(error).__name__}: {str(error)[:80]!r}")
            else:
                missed += 1
                print(f"{name:10} {label:32} PASSED: the check does not see it")
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "drafts/06.py"))
