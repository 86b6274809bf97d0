"""What must hold on the real CIFAR-10 (JPEG copy or official); skipped where no root holds it."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from course_utils import checkpoints, datasets, encoders
from course_utils.datasets import cifar
from course_utils.evaluation import features, knn_accuracy, knn_predict
from course_utils.experiments.pixel_knn import flat, standardised

pytestmark = pytest.mark.skipif(not os.environ.get("COURSE_DATA") or cifar.on_disk() is None,
                                reason="COURSE_DATA names no folder with CIFAR-10")


@pytest.fixture(scope="module")
def bank():
    return datasets.load("cifar10", "train", limit=10_000)


@pytest.fixture(scope="module")
def test():
    return datasets.load("cifar10", "test")


def test_the_source_line_says_which_images_these_are(test):
    assert test.source.startswith("CIFAR-10")


@pytest.mark.parametrize(("scale", "low", "high"), [(flat, 0.31, 0.33), (standardised, 0.38, 0.41)])
def test_pixel_knn_is_where_it_should_be(bank, test, scale, low, high):
    assert low <= knn_accuracy(scale(bank), bank.labels, scale(test), test.labels) <= high


def test_knn_equals_scikit_learns_on_a_thousand_queries(bank, test):
    queries = test[datasets.limited_indices(test.labels, 1_000, seed=0)]
    oracle = KNeighborsClassifier(20, metric="cosine", algorithm="brute",
                                  weights=lambda distance: np.exp((1 - distance) / 0.07))
    oracle.fit(flat(bank).numpy(), bank.labels.numpy())
    ours = knn_predict(flat(bank), bank.labels, flat(queries))
    agree = (torch.from_numpy(oracle.predict(flat(queries).numpy())) == ours).float().mean().item()
    assert agree >= 0.998  # the last float digit may swap the twentieth neighbour


def test_imagenet_features_know_these_classes():
    bank, queries = datasets.load("cifar10", "train", limit=2_000), datasets.load("cifar10", "test", limit=1_000)
    encoder = encoders.pretrained("efficientnet_lite0")
    z, z_queries = features(encoder, bank, size=96), features(encoder, queries, size=96)
    assert knn_accuracy(z, bank.labels, z_queries, queries.labels) >= 0.64


def test_the_shipped_supervised_encoder_is_as_good_as_its_card_says(bank, test):
    checkpoint = checkpoints.load("supervised-cifar10", checkpoints.SHIPPED)
    bank = datasets.load("cifar10", "train", limit=20_000)
    knn = knn_accuracy(features(checkpoint.encoder, bank), bank.labels, features(checkpoint.encoder, test), test.labels)
    assert knn >= 0.80
    assert abs(knn - checkpoint.card["metrics"]["test_knn"]) < 0.01
