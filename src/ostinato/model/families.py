"""Architectures that are known by their `model_type`; all others are inspected."""

# RoBERTa and models of its design. Position ids start after the id of the pad token.
_ROBERTA_LIKE = ("roberta", "xlm-roberta", "camembert")

# The pretrained position embeddings depend on the id of the pad token.
POSITIONS_AFTER_PAD_TOKEN = (
    *_ROBERTA_LIKE,
    "mpnet",
    "xlm-roberta-xl",
    "roberta-prelayernorm",
    "longformer",
    "esm",
)

# Encoders that can run on packed batches.
PACKABLE = ("bert", "electra", "distilbert", "modernbert", *_ROBERTA_LIKE)
