"""Random logits and labels of each task, for tests of metrics."""

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from ostinato.config import Task

# Each example calls a dozen library functions that take milliseconds.
few = settings(max_examples=25)

FINITE = st.floats(-30, 30, width=32)
# Another order of summation changes the last digits.
CLOSE = {"rel": 1e-11, "abs": 1e-12}


def names_of(num_labels):
    return [f"class {i}" for i in range(num_labels)]


def width(logits):
    return 1 if logits.ndim == 1 else logits.shape[1]


@st.composite
def single_label(draw):
    """Logits and class ids.

    Classes may be absent from either, and all rows may have the same prediction.
    """
    num_rows = draw(st.integers(1, 25))
    num_classes = draw(st.integers(2, 6))
    logits = draw(hnp.arrays(np.float32, (num_rows, num_classes), elements=FINITE))
    if draw(st.booleans()):
        logits[:, draw(st.integers(0, num_classes - 1))] += np.float32(100)
    last_class = draw(st.integers(0, num_classes - 1))
    class_ids = st.integers(0, last_class)
    labels = draw(hnp.arrays(np.int64, num_rows, elements=class_ids))
    return logits, labels


@st.composite
def without_ties(draw):
    """Like `single_label`, but rounding can neither make a tie nor break one.

    The logits are moderate, and no two of them are close.
    """
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    num_rows = draw(st.integers(1, 25))
    num_classes = draw(st.integers(2, 6))
    logits = random.uniform(-5, 5, (num_rows, num_classes)).astype(np.float32)
    num_occurring = draw(st.integers(1, num_classes))
    return logits, random.integers(0, num_occurring, num_rows)


@st.composite
def multi_label(draw):
    shape = draw(st.tuples(st.integers(1, 25), st.integers(2, 6)))
    labels = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0, 1])))
    if draw(st.booleans()):
        labels[:, 0] = draw(st.sampled_from([0, 1]))
    logits = draw(hnp.arrays(np.float32, shape, elements=FINITE))
    return logits, labels


@st.composite
def regression(draw):
    num_rows = draw(st.integers(1, 25))
    elements = st.one_of(FINITE, st.just(1.5))
    values = hnp.arrays(np.float32, num_rows, elements=elements, fill=st.just(0.1))
    return draw(values), draw(values)


CASES = st.one_of(
    st.tuples(st.just(Task.single_label), single_label()),
    st.tuples(st.just(Task.multi_label), multi_label()),
    st.tuples(st.just(Task.regression), regression()),
)
