"""Tiny random classifiers of every family that packs, rows for them, and gradients."""

import copy

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from ostinato.data.collate import Collator
from ostinato.model.collators import first_position
from ostinato.model.dropout import Masks
from ostinato.model.packing import pack

LONGEST = 40
BERT_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
ROBERTA_SIZES = BERT_SIZES | {
    "pad_token_id": 1,
    "max_position_embeddings": LONGEST + 2,
}
MODERNBERT_SIZES = BERT_SIZES | {"local_attention": 8, "pad_token_id": 0}
DECODER_SIZES = BERT_SIZES | {
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": LONGEST,
    "pad_token_id": 0,
}
WINDOW = {
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
DEBERTA_SIZES = BERT_SIZES | {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "max_position_embeddings": LONGEST,
    "pad_token_id": 0,
}
DEBERTA_V3_SIZES = DEBERTA_SIZES | {
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
    "type_vocab_size": 0,
}
ARCHITECTURES = {
    "bert": BERT_SIZES,
    "electra": BERT_SIZES | {"embedding_size": 16},
    "roberta": ROBERTA_SIZES,
    "xlm-roberta": ROBERTA_SIZES,
    "camembert": ROBERTA_SIZES,
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 3, "n_heads": 4},
    "modernbert": MODERNBERT_SIZES | {"global_attn_every_n_layers": 2},
    "modernbert mean": MODERNBERT_SIZES | {"classifier_pooling": "mean"},
    "albert": BERT_SIZES | {"embedding_size": 16},
    "deberta": DEBERTA_SIZES,
    "deberta-v2": DEBERTA_V3_SIZES,
    "mpnet": ROBERTA_SIZES,
    "eurobert": DECODER_SIZES | {"classifier_pooling": "bos"},
    "llama": DECODER_SIZES,
    "mistral": DECODER_SIZES | {"sliding_window": 8},
    "qwen2": DECODER_SIZES | WINDOW | {"use_sliding_window": True},
    "qwen3": DECODER_SIZES,
    "gemma2": DECODER_SIZES | WINDOW | {"attn_logit_softcapping": 2.0},
    "gemma3_text": DECODER_SIZES | WINDOW,
    "smollm3": DECODER_SIZES | {"no_rope_layers": [1, 0, 1]},
    "gpt2": {
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": LONGEST,
        "pad_token_id": 0,
    },
}


def classifiers(name, **sizes):
    """Builds the same classifier twice: as transformers makes it, and packed.

    Returns:
        Two pairs of a model and its collator: padded, packed.
    """
    model_type = name.split()[0]
    config = AutoConfig.for_model(
        model_type, vocab_size=60, num_labels=3, **ARCHITECTURES[name] | sizes
    )
    for key in ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"):
        setattr(config, key, 2)
    torch.manual_seed(0)
    padded = AutoModelForSequenceClassification.from_config(config).eval()
    padded_collator = Collator(padded.config.pad_token_id)
    own_config = copy.deepcopy(config)
    packed = AutoModelForSequenceClassification.from_config(own_config).eval()
    packed.load_state_dict(padded.state_dict())
    packed_collator = collator(packed)
    return (padded, padded_collator), (packed, packed_collator)


def collator(model, masks=None):
    """Packs the model and returns its collator."""
    pack(model, masks or Masks())
    return Collator(
        model.config.pad_token_id, packed=True, first_position=first_position(model)
    )


def rows(lengths, seed=0, pairs=False):
    """Draws columns of texts of these lengths."""
    generator = np.random.default_rng(seed)
    columns = {"input_ids": [generator.integers(5, 60, n).tolist() for n in lengths]}
    if pairs:
        types = [[0] * (n // 2) + [1] * (n - n // 2) for n in lengths]
        columns["token_type_ids"] = types
    return columns


def gradients(model, collator, columns, weight):
    """Returns logits, and the gradient of their weighted sum by parameter."""
    model.zero_grad()
    logits = model(**collator.inputs(columns)).logits
    (logits * weight).sum().backward()
    by_name = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            by_name[name] = parameter.grad
    return logits, by_name
