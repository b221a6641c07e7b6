"""One tuning, from a file of rows to an adapter: TRL's trainers over a LoRA of PEFT's.

Owns the order of work and what is left in the output folder. A killed tuning goes on from its last checkpoint, a
finished one is not done again. Knows no server and no scene. Several processes (`accelerate launch`) run all of it;
what is written beside the trainer's own files, the first of them writes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from rich.console import Console

from .. import provenance as recipe
from ..errors import InputError
from ..llm.open import ADAPTER
from ..types import shorten
from . import base as bases
from . import config, llamacpp
from .card import CARD, card
from .curves import draw
from .data import Data, Method, load, overlap
from .memory import estimate, free
from .progress import progress

NOTE = "How this adapter is tuned. `matrix-align tune` with the same options goes on with it."
HISTORY = "history.json"
MERGED, MERGED_GGUF = "merged", "merged.gguf"
OVER = "out of memory"


@dataclass(frozen=True)
class Tuning:
    """What `tune` was asked to do. `test` is a file of rows that are only measured; `parent` was tuned before."""

    data: Path
    base: str
    out: Path
    method: Method = "sft"
    config: Path | None = None
    test: Path | None = None
    too_long: Literal["cut", "drop"] = "drop"
    seed: int = 0
    qlora: bool = False
    merge: bool = False
    gguf: bool = False


def tune(asked: Tuning) -> dict[str, Any]:
    """Trains what `asked` says, writes the adapter and what goes with it, and returns the figures.

    Raises InputError for a base, a file or a setting that can't be used, and where `out` holds another tuning.
    """
    console, first = Console(stderr=True, highlight=False), os.environ.get("RANK", "0") == "0"

    def tell(line: str) -> None:
        if first:
            console.print(line, markup=False, soft_wrap=True)

    base = bases.named(asked.base)
    if asked.gguf and not base.gguf:
        raise InputError(f"--gguf goes with a base that is a GGUF file; {base.name} is none (--merge does its weights)")
    if asked.qlora and base.gguf:
        raise InputError(f"--qlora goes with a folder or a hub name; {base.name} is a GGUF file, tune without it")
    tokenizer = bases.tokenizer(base)
    with bases.quiet():
        settings = config.resolved(asked.method, asked.config)
        lora = config.made("lora", {**settings["lora"], "task_type": "CAUSAL_LM"})
    if base.gguf:
        llamacpp.check(base.gguf, lora)
    if asked.qlora:
        _quantised()
    longest = settings[asked.method].get("max_length") or sys.maxsize
    if not isinstance(longest, int):
        raise InputError(f"[{asked.method}] max_length is a number of tokens (got {longest!r})")
    train = load(asked.data, asked.method, tokenizer, longest, asked.too_long)
    beside = asked.data.with_name(f"{asked.data.stem}-test{asked.data.suffix}")  # as `export --test` names it
    test_path = asked.test or (beside if beside.exists() else None)
    test = load(test_path, asked.method, tokenizer, longest, asked.too_long) if test_path else None
    for data in filter(None, (train, test)):
        for line in data.told():
            tell(line)
    if test and (shared := overlap(train, test)):
        raise InputError(
            f"{len(shared):,} rows of {test.path} are asked in {train.path} too, the first at {shared[0]}; "
            "`matrix-align export --test 0.1` splits by question"
        )
    if first:
        _settle(asked, base, train, test, settings)
    done = asked.out / HISTORY
    if done.exists():
        tell(f"{asked.out} is finished; it is not tuned again")
        if first:
            _extras(asked, base)
        return dict(json.loads(done.read_text(encoding="utf-8"))["figures"])
    figures, history = _train(asked, base, tokenizer, lora, settings[asked.method], train, test, tell)
    if first:
        _finish(asked, base, figures, history, settings, train, test)
    return figures


def _settle(
    asked: Tuning, base: bases.Base, train: Data, test: Data | None, settings: dict[str, dict[str, Any]]
) -> None:
    """Notes what is done in the folder, which must be new or of this very tuning."""
    try:
        others = [path.name for path in asked.out.glob("*") if not path.name.startswith(".")]
        asked.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"can't make the folder --out {asked.out}: {error.strerror}") from None
    if others and not (asked.out / bases.RECIPE).exists():
        raise InputError(f"{asked.out} holds other files; give --out a folder of its own")
    mine: recipe.Tables = {
        "tune": {
            "method": asked.method,
            "seed": asked.seed,
            "qlora": asked.qlora,
            "too_long": asked.too_long,
            "processes": _processes(),  # more of them, a larger batch
        },
        "base": {"name": base.name, "digest": base.digest},
        "data": {"train": train.digest, "test": test.digest if test else ""},
        **settings,
    }
    empty = not (_last(asked.out / "checkpoints") or (asked.out / HISTORY).exists())  # nothing would be lost
    recipe.settle(asked.out / bases.RECIPE, mine, NOTE, "tuning", empty)


def _train(
    asked: Tuning,
    base: bases.Base,
    tokenizer: Any,
    lora: Any,
    values: dict[str, Any],
    train: Data,
    test: Data | None,
    tell: Callable[[str], None],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The adapter in `out`; figures of the tuning, and what was logged on the way."""
    import torch
    from datasets import Dataset
    from safetensors import SafetensorError
    from transformers import PrinterCallback, set_seed
    from trl import DPOTrainer, SFTTrainer

    gpu = torch.cuda.is_available()
    values = dict(values)
    given = values.pop("model_init_kwargs", None) or {}  # the trainers would ignore it, as they get a model
    set_seed(asked.seed)
    checkpoints = asked.out / "checkpoints"
    with bases.quiet():
        args = config.made(
            asked.method,
            {
                "gradient_checkpointing": gpu,  # on a CPU memory is less scarce than time
                "dataloader_pin_memory": gpu,
                "eval_strategy": "epoch" if test else "no",
                "report_to": "none",
                **values,
                "eval_on_start": bool(test),
                "output_dir": str(checkpoints),
                "seed": asked.seed,
                "data_seed": asked.seed,
                "use_cpu": not gpu,
                "bf16": bases.dtype() == "bfloat16",
                "fp16": bases.dtype() == "float16",
                "disable_tqdm": True,
            },
        )
        options = {**given, **(_quantised() if asked.qlora else {})}
        model = bases.model(base, bases.dtype(), **options)
        needed = estimate(model, args, max(row.tokens for row in train.rows), len(tokenizer), asked.method == "dpo")
        tell(f"memory: about {needed / 2**30:.1f} GB more wanted for a step, {free() / 2**30:.1f} GB free")
        if needed > free():
            tell("that may be too little: lower per_device_train_batch_size or max_length, or take --qlora on a GPU")
        trainer_class: Any = SFTTrainer if asked.method == "sft" else DPOTrainer
        sets = [Dataset.from_list([row.content(asked.method) for row in data.rows]) for data in (train, test) if data]
        try:
            trainer = trainer_class(
                model=model,
                args=args,
                train_dataset=sets[0],
                eval_dataset=sets[1] if test else None,
                processing_class=tokenizer,
                peft_config=lora,
            )
        except (ValueError, RuntimeError, TypeError, ImportError) as error:  # in the libraries' own ways
            if bases.out_of_memory(error):
                why = shorten(str(error), 200)
                raise InputError(f"{OVER}: {why}; the weights alone are too many, try --qlora") from None
            raise InputError(f"the settings do not fit the base: {shorten(str(error), 300)}") from None
        tokens = sum(row.read for row in train.rows)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(watch := progress(tokens, Console(stderr=True, highlight=False)))
        last = _last(checkpoints)
        if last:
            tell(f"going on from step {last.name.split('-')[1]}")
        try:
            trainer.train(resume_from_checkpoint=str(last) if last else None)
            seconds = watch.seconds()
            trainer.save_model(str(asked.out))
        except (
            *(RuntimeError, ValueError, TypeError, LookupError, AttributeError),
            *(OSError, ImportError, SafetensorError),
        ) as error:
            if bases.out_of_memory(error):
                smaller = "lower per_device_train_batch_size or max_length"
                raise InputError(f"{OVER}: {shorten(str(error), 200)}; {smaller}") from None
            # Settings that do not go together, a disk that is full, an optimiser that comes in a package of its own.
            why = f"{type(error).__name__}: {shorten(str(error), 300)}"
            raise InputError(f"the training broke off: {why}; the same command goes on with it") from error
    history = trainer.state.log_history
    figures = {
        "rows": len(train.rows),
        "steps": trainer.state.global_step,
        "batch": args.per_device_train_batch_size * args.gradient_accumulation_steps * _processes(),
        "seconds": round(seconds, 1),
        "tokens_per_second": round(watch.tokens_done() / seconds),
        "peak_memory_gb": round(_peak(gpu) / 2**30, 2),
    }
    losses = [each["loss"] for each in history if "loss" in each]
    tests = [each["eval_loss"] for each in history if "eval_loss" in each]
    tenth = max(1, len(losses) // 10)  # of one step to the next the loss varies with the rows
    figures["loss"] = {"first": fmean(losses[:tenth]), "last": fmean(losses[-tenth:])} if losses else None
    figures["test_loss"] = {"before": tests[0], "after": tests[-1]} if tests else None
    return figures, history


def _processes() -> int:
    """How many train together, each on its GPU; `accelerate launch` says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _quantised() -> dict[str, Any]:
    """4-bit weights under the LoRA (QLoRA: Dettmers et al. 2023)."""
    if bases.dtype() == "float32":
        raise InputError("--qlora needs a GPU; on a CPU tune without it")
    if bases.dtype() == "float16":
        raise InputError("--qlora needs a GPU with bfloat16 (Ampere or newer); on this one tune without it")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise InputError("--qlora needs bitsandbytes: pip install bitsandbytes") from None
    from transformers import BitsAndBytesConfig

    four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=bases.dtype())
    return {"quantization_config": four}


def _last(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint; one that a kill has cut lacks its last file, or of several processes one's own."""

    def whole(path: Path) -> bool:
        several = range(_processes() if _processes() > 1 else 0)
        if not all((path / f"rng_state_{number}.pth").exists() for number in several):
            return False
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return True

    found = [path for path in checkpoints.glob("checkpoint-*") if whole(path)]
    return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)


def _peak(gpu: bool) -> float:
    """Bytes: the device's, or those of the process."""
    if gpu:
        import torch

        return float(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _extras(asked: Tuning, base: bases.Base) -> None:
    """The adapter for llama.cpp, and the whole weights that are asked for, where they are not there yet."""
    if base.gguf:
        lora, file = llamacpp.read(asked.out, base.gguf), base.gguf
        _whole(asked.out / ADAPTER, lambda half: llamacpp.adapter(lora, file, half))
        if asked.gguf:
            _whole(asked.out / MERGED_GGUF, lambda half: llamacpp.merged(lora, file, half))
    if asked.merge:

        def write(half: Path) -> None:
            from safetensors import SafetensorError

            with bases.quiet():  # into the base as it is, which in memory may have been in 4 bits
                merged = bases.with_adapter(base, bases.model(base), asked.out).merge_and_unload()
                try:
                    bases.rounded(merged, bases.dtype()).save_pretrained(half)
                except SafetensorError as error:  # its own, for a disk that is full
                    raise InputError(f"can't write {half}: {shorten(str(error), 200)}") from None
                bases.tokenizer(base).save_pretrained(half)

        _whole(asked.out / MERGED, write)


def _whole(made: Path, write: Callable[[Path], None]) -> None:
    """Writes a file or a folder that is there when it is whole, or not at all."""
    if made.exists():
        return
    half = made.with_name(f".{made.name}.part")
    if half.is_dir():
        shutil.rmtree(half)
    write(half)
    half.replace(made)


def _finish(
    asked: Tuning,
    base: bases.Base,
    figures: dict[str, Any],
    history: list[dict[str, Any]],
    settings: dict[str, dict[str, Any]],
    train: Data,
    test: Data | None,
) -> None:
    """What goes with the adapter; the history last, by which a finished tuning is known."""
    described = asked.out / "adapter_config.json"
    # PEFT's card is a form to fill in; the other is a pickle, and tune.toml says the same.
    for theirs in (CARD, "training_args.bin"):
        (asked.out / theirs).unlink(missing_ok=True)
    (asked.out / "adapter_model.safetensors").chmod(described.stat().st_mode)  # which would be for its owner alone
    for made in (ADAPTER, MERGED_GGUF):  # what an earlier start may have made of another adapter
        (asked.out / made).unlink(missing_ok=True)
    shutil.rmtree(asked.out / MERGED, ignore_errors=True)
    adapter = json.loads(described.read_text(encoding="utf-8"))
    adapter["base_model_name_or_path"] = base.name if base.gguf else base.where
    described.write_text(json.dumps(adapter, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    _extras(asked, base)
    draw(history, asked.out / "curves.png")
    (asked.out / CARD).write_text(
        card(asked.method, base, figures, settings, train, test, asked.seed), encoding="utf-8"
    )
    told = json.dumps({"figures": figures, "log": history}, indent=1)

    def write(half: Path) -> None:
        half.write_text(told, encoding="utf-8")

    _whole(asked.out / HISTORY, write)
