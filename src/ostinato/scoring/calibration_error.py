"""Expected calibration error: how far confidence is from accuracy."""

import numpy as np

from ostinato.config import Task
from ostinato.scoring.arrays import Booleans, Floats, Integers, Labels, Logits
from ostinato.scoring.metrics import probabilities

NUM_BINS = 15
"""Number of equal-width bins of confidence."""


def confidence_bins(confidence: Floats, num_bins: int = NUM_BINS) -> Integers:
    """Returns the bin of each confidence, from 0 to `num_bins` - 1.

    Bin m holds the confidences in (m / num_bins, (m + 1) / num_bins].

    Args:
        confidence: probabilities [n], in (0, 1].
        num_bins: number of bins.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    inner_edges = edges[1:-1]
    return np.digitize(confidence, inner_edges, right=True)


def expected_calibration_error(
    confidence: Floats,
    correct: Booleans,
    num_bins: int = NUM_BINS,
) -> float:
    """Computes the mean distance between confidence and accuracy over the bins.

    Each bin is weighted by its number of rows. This is equation 3 of Guo et al. 2017,
    On Calibration of Modern Neural Networks.

    Args:
        confidence: probability of the predicted class [n], in (0, 1].
        correct: whether this class is the true one [n].
        num_bins: number of bins.
    """
    bins = confidence_bins(confidence, num_bins)
    differences = confidence - correct
    sums = np.bincount(
        bins,
        weights=differences,
        minlength=num_bins,
    )
    total = np.abs(sums).sum()
    return float(total / len(confidence))


def calibration_error(logits: Logits, labels: Labels) -> float:
    """Computes the expected calibration error of single-label logits.

    Args:
        logits: finite outputs [n, C].
        labels: class ids [n].
    """
    values = probabilities(Task.single_label, logits)
    confidence = values.max(axis=1)
    correct = values.argmax(axis=1) == labels
    return expected_calibration_error(confidence, correct)
