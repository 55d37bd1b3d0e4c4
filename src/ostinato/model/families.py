"""Architectures that are known by their `model_type`; all others are inspected."""

# RoBERTa and models of its design: position ids start after the id of the pad token, so
# the pretrained position embeddings depend on this id.
POSITIONS_AFTER_PAD_TOKEN = (
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "xlm-roberta-xl",
    "roberta-prelayernorm",
    "longformer",
    "esm",
)
