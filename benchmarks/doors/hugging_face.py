"""Classifiers of Hugging Face's `transformers`, small and with weights at random: eight of images, seven of texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CLASSES = 10
SIDE, LENGTH, VOCABULARY = 64, 32, 500
_SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
_PICTURE = {"image_size": SIDE, "patch_size": 16, **_SMALL}
_TEXT = {"vocab_size": VOCABULARY, "max_position_embeddings": 64, **_SMALL}


@dataclass(frozen=True)
class Family:
    """A family of networks of the package."""

    config: str
    """Class of its configuration."""
    network: str
    """Class of its classifier."""
    options: Mapping[str, Any]
    """What makes it small."""
    reads_text: bool = False
    """Whether samples are tokens."""


_STAGES = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}

FAMILIES = {
    "vit": Family("ViTConfig", "ViTForImageClassification", _PICTURE),
    "deit": Family("DeiTConfig", "DeiTForImageClassification", _PICTURE),
    "beit": Family("BeitConfig", "BeitForImageClassification", _PICTURE),
    "swin": Family(
        "SwinConfig",
        "SwinForImageClassification",
        {"image_size": SIDE, "embed_dim": 24, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
    ),
    "convnext": Family(
        "ConvNextConfig", "ConvNextForImageClassification", {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1]}
    ),
    "resnet": Family("ResNetConfig", "ResNetForImageClassification", _STAGES),
    "mobilenet_v2": Family(
        "MobileNetV2Config", "MobileNetV2ForImageClassification", {"image_size": SIDE, "depth_multiplier": 0.35}
    ),
    "regnet": Family("RegNetConfig", "RegNetForImageClassification", {**_STAGES, "groups_width": 8}),
    "bert": Family("BertConfig", "BertForSequenceClassification", _TEXT, True),
    "distilbert": Family(
        "DistilBertConfig",
        "DistilBertForSequenceClassification",
        {
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 64,
            "dim": 64,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 128,
        },
        True,
    ),
    "roberta": Family("RobertaConfig", "RobertaForSequenceClassification", _TEXT, True),
    "albert": Family("AlbertConfig", "AlbertForSequenceClassification", {"embedding_size": 32, **_TEXT}, True),
    "electra": Family("ElectraConfig", "ElectraForSequenceClassification", {"embedding_size": 32, **_TEXT}, True),
    "mpnet": Family("MPNetConfig", "MPNetForSequenceClassification", _TEXT, True),
    "gpt2": Family(
        "GPT2Config",
        "GPT2ForSequenceClassification",
        {"vocab_size": VOCABULARY, "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4, "pad_token_id": 0},
        True,
    ),
}


def build(name: str) -> Any:
    """The network."""
    import transformers

    family = FAMILIES[name]
    config = getattr(transformers, family.config)(num_labels=CLASSES, **family.options)
    return getattr(transformers, family.network)(config)


def sample(name: str) -> Any:
    """What it is given: a picture, or a text without padding."""
    import torch

    if FAMILIES[name].reads_text:
        return torch.randint(1, VOCABULARY, (1, LENGTH))
    return torch.zeros(1, 3, SIDE, SIDE)
