"""Small random classifiers of every family that packs, texts for them, and what they make of these."""

import copy

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from ostinato.data.collate import Collator
from ostinato.model.dropout import Masks
from ostinato.model.packing import _first_position, pack

LONGEST = 40
BERT_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
ARCHITECTURES = {
    "bert": BERT_SIZES,
    "electra": BERT_SIZES | {"embedding_size": 16},
    "roberta": BERT_SIZES | {"pad_token_id": 1, "max_position_embeddings": LONGEST + 2},
    "xlm-roberta": BERT_SIZES
    | {"pad_token_id": 1, "max_position_embeddings": LONGEST + 2},
    "camembert": BERT_SIZES
    | {"pad_token_id": 1, "max_position_embeddings": LONGEST + 2},
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 3, "n_heads": 4},
    "modernbert": BERT_SIZES
    | {"local_attention": 8, "global_attn_every_n_layers": 2, "pad_token_id": 0},
    "modernbert mean": BERT_SIZES
    | {"local_attention": 8, "pad_token_id": 0, "classifier_pooling": "mean"},
}


def classifiers(name):
    """The same classifier twice: as transformers makes it, and packed."""
    model_type = name.split()[0]
    config = AutoConfig.for_model(
        model_type, vocab_size=60, num_labels=3, **ARCHITECTURES[name]
    )
    for key in ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
        setattr(config, key, 2)
    torch.manual_seed(0)
    padded = AutoModelForSequenceClassification.from_config(config).eval()
    packed = AutoModelForSequenceClassification.from_config(
        copy.deepcopy(config)
    ).eval()
    packed.load_state_dict(padded.state_dict())
    return (padded, Collator(padded.config.pad_token_id)), (packed, collator(packed))


def collator(model, masks=None):
    """Packs the model."""
    pack(model, masks or Masks())
    return Collator(
        model.config.pad_token_id, packed=True, first_position=_first_position(model)
    )


def rows(lengths, seed=0, pairs=False):
    """Columns of texts of these lengths."""
    generator = np.random.default_rng(seed)
    columns = {"input_ids": [generator.integers(5, 60, n).tolist() for n in lengths]}
    if pairs:
        columns["token_type_ids"] = [
            [0] * (n // 2) + [1] * (n - n // 2) for n in lengths
        ]
    return columns


def gradients(model, collator, columns, weight):
    """Logits, and the gradient of their weighted sum by parameter."""
    model.zero_grad()
    logits = model(**collator.inputs(columns)).logits
    (logits * weight).sum().backward()
    return logits, {
        n: p.grad for n, p in model.named_parameters() if p.grad is not None
    }
