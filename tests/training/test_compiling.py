"""The compiled step computes what the plain one does.

On a GPU, a whole model is one graph for any lengths.
"""

from dataclasses import replace

import pytest
import torch
from classifiers import ARCHITECTURES, classifiers, gradients, rows
from closeness import assert_all_close, assert_close

from ostinato.config import Precision, Task, TrainingConfig
from ostinato.data.collate import Batch, to_device
from ostinato.errors import ConfigError
from ostinato.model import attention
from ostinato.model.architecture import is_causal
from ostinato.model.device import Compute
from ostinato.model.dropout import Masks, replace_dropout
from ostinato.training import compiling
from ostinato.training.loss import Loss


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


needs_compiler = pytest.mark.skipif(
    not compiling.has_compiler(), reason="no C++ compiler, or no Python headers"
)
CPU = Compute(torch.device("cpu"), Precision.fp32)


def batch(collator, lengths):
    return Batch(
        collator.inputs(rows(lengths)),
        torch.zeros(len(lengths), dtype=torch.long),
        sum(lengths),
    )


@pytest.mark.proof
@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("num_layers", [1, 3])
def test_logits_and_gradients_agree_with_those_of_the_plain_model(num_layers, caplog):
    sizes = {"num_hidden_layers": num_layers}
    plain = classifiers("bert", **sizes)[1]
    model, collator = classifiers("bert", **sizes)[1]
    compiling.compile_training(model, collator, TrainingConfig(compile=True), CPU)
    first = [
        batch(collator, lengths) for lengths in ([3, 1, 40, 1], [9, 1, 2])
    ]  # The first batch has as many rows as the model has heads.
    with compiling.compiled(model, Loss(Task.single_label), first, CPU):
        assert "training.compile" not in caplog.text
        assert all(parameter.grad is None for parameter in model.parameters())
        for lengths, stance in (
            ([7, 7, 20, 21, 30], "fail_on_recompile"),
            ([1], "eager_on_recompile"),
        ):
            columns, weight = rows(lengths), torch.randn(len(lengths), 3)
            expected, theirs = gradients(*plain, columns, weight)
            with torch.compiler.set_stance(stance):
                logits, ours = gradients(model, collator, columns, weight)
            assert_close(logits, expected)
            assert_all_close(ours, theirs)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


@pytest.mark.proof
@needs_compiler
def test_a_first_batch_that_differs_from_the_second_is_logged(caplog):
    _, (model, collator) = classifiers("bert")
    compiling.compile_training(model, collator, TrainingConfig(compile=True), CPU)
    model.compile(dynamic=True, backend="eager")  # Fast, with the same guards.
    first = [batch(collator, lengths) for lengths in ([5], [3, 1, 40, 1])]
    with compiling.compiled(model, Loss(Task.single_label), first, CPU):
        assert (
            "training.compile=true: batches that differ from the first one "
            "run uncompiled (" in caplog.text
        )


def test_the_key_of_torchs_cache_depends_on_the_first_batch():
    _, (model, collator) = classifiers("bert")
    tags = set()
    for lengths in ([3, 1], [3, 2], [3, 1, 1]):
        with compiling.compiled(
            model, Loss(Task.single_label), [batch(collator, lengths)], CPU
        ):
            tags.add(torch.compiler.config.cache_key_tag)
    assert len(tags) == 3


def test_a_machine_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    needs = r"training\.compile=true: torch needs a C\+\+ compiler"
    remedy = r"install them, or use training\.compile=false$"
    with pytest.raises(ConfigError, match=f"{needs} .*; {remedy}"):
        compiling.compile_training(
            *classifiers("bert")[1], TrainingConfig(compile=True), CPU
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name if name == "bert" else pytest.param(name, marks=pytest.mark.proof)
        for name in ARCHITECTURES
        # The kernel has neither softcaps nor relative positions.
        if name not in ("gemma2", "deberta", "deberta-v2", "mpnet")
    ],
)
def test_on_a_gpu_a_model_is_one_graph_for_any_lengths(name, monkeypatch):
    """Computes only shapes, on torch's meta device: the code path of a GPU."""
    monkeypatch.setattr(attention, "_has_kernel", lambda query: True)
    device = torch.device("meta")
    attention_calls = []  # in each graph
    _, (model, collator) = classifiers(name)
    replace_dropout(model, Masks())
    model = model.to(device, torch.bfloat16).train()
    collator = replace(collator, multiple=16)

    def backend(graph, _):
        targets = [str(node.target) for node in graph.graph.nodes]
        calls = [name for name in targets if "_flash_attention_forward" in name]
        # A decoder's last tokens are selected in a graph before that of the model.
        if calls or not is_causal(model):
            attention_calls.append(len(calls))
        return graph.forward

    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    for lengths in ([3, 1, 40, 1], [7, 7, 20, 21, 30]):
        logits = compiled(**to_device(collator.inputs(rows(lengths)), device)).logits
        assert logits.shape == (len(lengths), 3)
        logits.sum().backward()
    assert attention_calls == [3]
    assert all(parameter.grad is not None for parameter in model.parameters())
