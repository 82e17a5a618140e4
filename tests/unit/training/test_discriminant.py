"""The classifier from sums, against linear discriminant analysis as numpy does it from all samples at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from planner.training.discriminant import Discriminant

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def _clusters(count: int, features: int, classes: int, seed: int = 0, apart: float = 1.0) -> tuple[Array, Labels]:
    """Correlated features far from zero, around a mean of their own in every class."""
    dice = np.random.default_rng(seed)
    labels = dice.integers(0, classes, count)
    mixing = dice.normal(size=(features, features)) / features**0.5
    means = apart * dice.normal(size=(classes, features))
    return 30 + means[labels] + dice.normal(size=(count, features)) @ mixing, labels


def _by_numpy(x: Array, y: Labels, classes: int) -> tuple[Array, Array]:
    """Log densities of normal distributions with one covariance, shrunk by a hundredth of the mean variance."""
    counts = np.array([(y == each).sum() for each in range(classes)])
    means = np.stack([x[y == each].mean(0) for each in range(classes)])
    within = sum((x[y == each] - means[each]).T @ (x[y == each] - means[each]) for each in range(classes))
    covariance = within / (len(x) - classes)
    covariance += 0.01 * np.trace(covariance) / x.shape[1] * np.eye(x.shape[1])
    weight = np.linalg.solve(covariance, means.T).T
    priors = np.log((counts + 0.5) / (len(x) + 0.5 * classes))
    return weight, priors - 0.5 * (means * weight).sum(1)


def _fitted(x: Array, y: Labels, classes: int, micro_batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    fit = Discriminant(x.shape[1], classes)
    for first in range(0, len(x), micro_batch):
        part = slice(first, first + micro_batch)
        fit.add(torch.tensor(x[part], dtype=torch.float32), torch.tensor(y[part]))
    return fit.solve()


@pytest.mark.parametrize(("features", "classes"), [(5, 2), (40, 10), (128, 30)])
@pytest.mark.parametrize("micro_batch", [1, 7, 1000])
def test_it_is_linear_discriminant_analysis(features: int, classes: int, micro_batch: int) -> None:
    x, y = _clusters(2000, features, classes)
    weight, bias = _fitted(x, y, classes, micro_batch)
    expected_weight, expected_bias = _by_numpy(x, y, classes)
    scores, expected = x @ weight.double().numpy().T + bias.double().numpy(), x @ expected_weight.T + expected_bias
    # What all classes have in common decides nothing.
    apart, wanted = (each - each.mean(1, keepdims=True) for each in (scores, expected))
    np.testing.assert_allclose(apart, wanted, atol=0.02 * np.abs(wanted).max())
    assert (scores.argmax(1) == expected.argmax(1)).mean() > 0.995


def test_dead_features_and_classes_without_samples_do_no_harm() -> None:
    x, y = _clusters(300, 8, 3)
    x[:, 2] = 0.0
    weight, bias = _fitted(x, y, 5, 50)
    assert bool(weight.isfinite().all()) and bool(bias.isfinite().all())
    scores = torch.tensor(x, dtype=torch.float32) @ weight.T + bias
    right = (scores.argmax(1) == torch.tensor(y)).float().mean()
    assert right > 0.9
    assert bool((scores.argmax(1) < 3).all())


def test_one_sample_is_enough_to_be_finite() -> None:
    weight, bias = _fitted(np.ones((1, 4)), np.array([1]), 3, 1)
    assert bool(weight.isfinite().all()) and bool(bias.isfinite().all())
    assert int((torch.ones(4) @ weight.T + bias).argmax()) == 1


def test_it_is_the_same_to_the_bit_again() -> None:
    x, y = _clusters(500, 20, 4)
    first, second = (_fitted(x, y, 4, 32) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
