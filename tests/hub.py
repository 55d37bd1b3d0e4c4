"""A stand-in of the Hugging Face hub on the loopback: tiny repositories, laid out as those of the presets are."""

import hashlib
import http.server
import io
import json
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import datasets
import sentencepiece
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoConfig,
    AutoModel,
    BertTokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    XLMRobertaTokenizer,
)

COMMIT = "c0" * 20
TEXTS = [
    "it will rain tomorrow and the wind turns to the north",
    "they scored a goal in the second half",
]
SIZES = {
    "vocab_size": 400,
    "max_position_embeddings": 66,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 64,  # as DistilBERT says it
}


def write_model(folder: Path, architecture: dict) -> None:
    """Writes random weights of an architecture, in tiny, with a tokenizer in the files that the real one has."""
    folder.mkdir(parents=True)
    special = TOKENIZERS[architecture["model_type"]](folder)
    known = AutoConfig.for_model(architecture["model_type"]).to_dict()
    config = AutoConfig.for_model(
        **architecture | {k: v for k, v in SIZES.items() if k in known} | special
    )
    model = AutoModel.from_config(config)
    if (
        architecture["model_type"] == "deberta-v2"
    ):  # published in half precision, and before there was safetensors
        config.save_pretrained(folder)
        torch.save(model.half().state_dict(), folder / "pytorch_model.bin")
    else:
        model.save_pretrained(folder)


def _bert(folder: Path) -> dict[str, int]:
    BertTokenizer().train_new_from_iterator(
        TEXTS, 300, show_progress=False
    ).save_pretrained(folder)
    _configure(folder, do_lower_case=True, model_max_length=512)
    return {"pad_token_id": 0}


def _byte_pairs(special: list[str]) -> tuple[dict[str, int], list[tuple[str, ...]]]:
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        TEXTS * 9, 300, special_tokens=special, show_progress=False
    )
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _roberta(folder: Path) -> dict[str, int]:
    vocab, merges = _byte_pairs(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    RobertaTokenizer(vocab=vocab, merges=merges).save_pretrained(folder)
    _configure(folder, model_max_length=512)
    return {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}


def _modernbert(folder: Path) -> dict[str, int]:
    names = {
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "mask_token": "[MASK]",
    }
    vocab, merges = _byte_pairs(list(names.values()))
    backend = RobertaTokenizer(vocab=vocab, merges=merges, **names)._tokenizer
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", "attention_mask"],
        **names,
    ).save_pretrained(folder)
    ids = {"bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2, "sep_token_id": 2}
    return {**ids, "pad_token_id": 3}


def _xlm_roberta(folder: Path) -> dict[str, int]:
    XLMRobertaTokenizer().train_new_from_iterator(
        TEXTS * 9, 300, show_progress=False
    ).save_pretrained(folder)
    _configure(folder, model_max_length=512)
    return {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}


def _deberta(folder: Path) -> dict[str, int]:
    pieces = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    numbers = {f"{role}_id": number for number, role in enumerate(pieces)}
    names = {f"{role}_piece": piece for role, piece in pieces.items()}
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 9), model_writer=model, vocab_size=60, hard_vocab_limit=False, minloglevel=2,
        num_threads=1, **numbers, **names,
    )  # fmt: skip
    (folder / "spm.model").write_bytes(model.getvalue())
    _configure(folder, do_lower_case=False, vocab_type="spm")
    return {"pad_token_id": 0}


def _configure(folder: Path, **values) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(values))


TOKENIZERS = {
    "bert": _bert,
    "distilbert": _bert,
    "roberta": _roberta,
    "modernbert": _modernbert,
    "deberta-v2": _deberta,
    "xlm-roberta": _xlm_roberta,
}


def write_sentiment(folder: Path) -> None:
    """Writes a data set in the columns and splits of SST-2; the labels of its test split are hidden."""
    features = datasets.Features(
        idx=datasets.Value("int32"),
        sentence=datasets.Value("string"),
        label=datasets.ClassLabel(names=["negative", "positive"]),
    )
    (folder / "data").mkdir(parents=True)
    for split, num_rows in {"train": 40, "validation": 12, "test": 8}.items():
        numbers = range(num_rows)
        sentences = [
            f"a {'fine' if n % 2 else 'dull'} film of {split} {n}" for n in numbers
        ]
        labels = [-1 if split == "test" else n % 2 for n in numbers]
        table = datasets.Dataset.from_dict(
            {"idx": list(numbers), "sentence": sentences, "label": labels}, features
        )
        table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


API = re.compile(
    r"api/(?:models|(datasets))/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/(\w+)(?:/(.+))?)?"
)
FILE = re.compile(r"(?:(datasets)/)?([^/]+/[^/]+)/resolve/(\w+)/(.+)")


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers what the hub's client asks for: files by name and revision, and lists of them."""

    root: Path
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        path = self.path.split("?")[0].strip("/")
        self.asked.append(f"{self.command} {path}")
        api, file = API.fullmatch(path), FILE.fullmatch(path)
        asked = api or file
        if (
            not asked
            or not (folder := self.root / (asked[1] or "models") / asked[2]).is_dir()
        ):
            return self.refuse("RepoNotFound")
        revision = (api[4] or "main") if api else asked[3]
        if revision not in ("main", COMMIT):
            return self.refuse("RevisionNotFound")
        if file:
            there = folder / file[4]
            return (
                self.send(there.read_bytes())
                if there.is_file()
                else self.refuse("EntryNotFound")
            )
        files = {
            f.relative_to(folder).as_posix(): f
            for f in sorted(folder.rglob("*"))
            if f.is_file()
        }
        if api[3] not in ("tree", "paths-info"):
            siblings = [{"rfilename": name} for name in files]
            return self.reply({"id": asked[2], "sha": COMMIT, "siblings": siblings})
        entries = {name: self.entry(name, f) for name, f in files.items()}
        entries |= {
            parent: {"type": "directory", "path": parent, "oid": "0" * 40}
            for parent in parents(files)
        }
        if api[3] == "paths-info":
            wanted = json.loads(body)["paths"]
            return self.reply(
                [entry for name, entry in entries.items() if name in wanted]
            )
        inside = [
            entry
            for name, entry in entries.items()
            if name.rpartition("/")[0] == (api[5] or "")
        ]
        return self.reply(inside) if inside else self.refuse("EntryNotFound")

    def entry(self, name: str, file: Path) -> dict:
        oid = hashlib.sha1(file.read_bytes()).hexdigest()
        return {"type": "file", "path": name, "size": file.stat().st_size, "oid": oid}

    def reply(self, value) -> None:
        self.send(json.dumps(value).encode())

    def send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments) -> None:
        """Requests are no news."""


def parents(files: Iterable[str]) -> set[str]:
    return {parent for name in files if (parent := name.rpartition("/")[0])}


@contextmanager
def serving(root: Path) -> Iterator[dict[str, str]]:
    """Serves `root/models` and `root/datasets`; gives the environment variables that lead there."""
    Hub.root = root
    Hub.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "no_proxy": "*",
    }
    server.shutdown()
    server.server_close()
