"""Types of the arrays that scoring functions take and return."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

Logits = NDArray[np.float32]
"""Outputs of a model [num_rows, num_labels]."""
Distributions = NDArray[np.float32]
"""Probabilities of the classes in the data [num_rows, num_labels]."""
Labels = NDArray[Any]
"""Class ids [num_rows], 0 and 1 [num_rows, num_labels], or values [num_rows]."""
