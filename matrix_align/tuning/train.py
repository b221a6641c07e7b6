"""One tuning, from a file of rows to an adapter: TRL's trainers over a LoRA of PEFT's.

Owns the order of work. A killed tuning continues from its last checkpoint. A finished one is not repeated. Several
processes (`accelerate launch`) may run all of it; then only the first one writes files, apart from the trainer's own.
Knows no server and no scene.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from rich.console import Console

from ..errors import InputError
from ..types import shorten
from . import base as bases
from . import checkpoints, config, llamacpp, template
from .artefacts import finish, write_weights
from .examples import Examples, Method, examples, overlap
from .footprint import free, peak, wanted
from .model_card import model_card
from .quiet import quiet
from .watch import watching

OVER = "out of memory"


@dataclass(frozen=True)
class Tuning:
    """What `tune` was asked to do. `test` is a file of rows to measure the loss on, not to learn from."""

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
    """Does the tuning `asked`: trains, writes the adapter and its other files, and returns the figures.

    Raises InputError for a base, a file or a setting that can't be used, and if `out` holds another tuning.
    """
    console, first = Console(stderr=True, highlight=False), os.environ.get("RANK", "0") == "0"

    def say(line: str) -> None:
        if first:
            console.print(line, markup=False, soft_wrap=True)

    base = bases.named(asked.base)
    if asked.gguf and not base.gguf:
        raise InputError(f"--gguf wants a base that is a GGUF file, and {base.name} is not one; use --merge instead")
    if asked.qlora and base.gguf:
        raise InputError(f"--qlora wants a folder or a hub name, and {base.name} is a GGUF file; tune without it")
    tokenizer = bases.tokenizer(base)
    with quiet():
        settings = config.resolved(asked.method, asked.config)
        lora = config.made("lora", {**settings["lora"], "task_type": "CAUSAL_LM"})
    if base.gguf:
        llamacpp.check(base.gguf, lora)
    if asked.qlora:
        _quantised()
    if mended := template.mend_end(tokenizer, base.name):
        say(mended)
    train, test = _data(asked, tokenizer, settings[asked.method].get("max_length") or sys.maxsize, say)
    if first:
        of_tuning = {
            "method": asked.method,
            "seed": asked.seed,
            "qlora": asked.qlora,
            "too_long": asked.too_long,
            "processes": checkpoints.processes(),  # more processes make a larger batch
        }
        of_data = {"train": train.digest, "test": test.digest if test else ""}
        checkpoints.settle(asked.out, base, {"tune": of_tuning, "data": of_data, **settings})
    done = asked.out / checkpoints.HISTORY
    if done.exists():
        say(f"{asked.out} is finished already; it is not tuned again")
        if first:
            write_weights(asked.out, base, asked.merge, asked.gguf)
        return dict(json.loads(done.read_text(encoding="utf-8"))["figures"])
    figures, log = _train(asked, base, tokenizer, lora, settings[asked.method], train, test, say)
    if first:
        card = model_card(asked.method, base, figures, settings, train, test, asked.seed)
        finish(asked.out, base, asked.merge, asked.gguf, card, figures, log)
    return figures


def _data(asked: Tuning, tokenizer: Any, limit: Any, say: Callable[[str], None]) -> tuple[Examples, Examples | None]:
    """The examples to learn from, and those to measure the loss on. `limit` is the most tokens of a text."""
    if not isinstance(limit, int):
        raise InputError(f"[{asked.method}] max_length is a number of tokens (got {limit!r})")
    beside = asked.data.with_name(f"{asked.data.stem}-test{asked.data.suffix}")  # as `export --test` names it
    test_path = asked.test or (beside if beside.exists() else None)
    train = examples(asked.data, asked.method, tokenizer, limit, asked.too_long)
    test = examples(test_path, asked.method, tokenizer, limit, asked.too_long) if test_path else None
    for data in filter(None, (train, test)):
        for line in data.summary():
            say(line)
    if train.unlike:
        say(train.unlike)
    if test and (shared := overlap(train, test)):
        raise InputError(
            f"{len(shared):,} rows of {test_path} have prompts of {asked.data}, the first at {shared[0]}; "
            "`matrix-align export --test 0.1` splits by question"
        )
    return train, test


def _train(
    asked: Tuning,
    base: bases.Base,
    tokenizer: Any,
    lora: Any,
    values: dict[str, Any],
    train: Examples,
    test: Examples | None,
    say: Callable[[str], None],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Trains, and leaves the adapter in `out`. Returns the figures of the tuning and the trainer's log."""
    from safetensors import SafetensorError
    from transformers import PrinterCallback, set_seed

    values = dict(values)
    given = values.pop("model_init_kwargs", None) or {}  # a trainer that is given a model ignores it
    set_seed(asked.seed)
    with quiet():
        args = _arguments(asked, values, bool(test))
        options = {**given, **(_quantised() if asked.qlora else {})}
        model = bases.model(base, bases.dtype(), **options)
        longest = max(row.longest for row in train.rows)
        needed = wanted(model, args, longest, len(tokenizer), asked.method == "dpo")
        say(f"memory: a step needs about {needed / 2**30:.1f} GB more, {free() / 2**30:.1f} GB are free")
        if needed > free():
            say("that may be too little: lower per_device_train_batch_size or max_length, or take --qlora on a GPU")
        trainer = _trainer(asked, model, args, tokenizer, lora, train, test)
        _check_labels(trainer.train_dataset, template.stops(tokenizer), train)
        trainer.remove_callback(PrinterCallback)
        tokens = sum(row.all_tokens for row in train.rows)
        trainer.add_callback(watch := watching(tokens, Console(stderr=True, highlight=False)))
        last = checkpoints.newest(asked.out)
        if last:
            say(f"continuing from step {last.name.split('-')[1]}")
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
            # For example: settings that contradict each other, a full disk, an optimiser from a package not installed.
            why = f"{type(error).__name__}: {shorten(str(error), 300)}"
            raise InputError(f"the training failed: {why}; run the same command again to continue it") from error
    log = trainer.state.log_history
    figures = {
        "rows": len(train.rows),
        "steps": trainer.state.global_step,
        "batch": args.per_device_train_batch_size * args.gradient_accumulation_steps * checkpoints.processes(),
        "seconds": round(seconds, 1),
        "tokens_per_second": round(watch.tokens_done() / seconds),
        "peak_memory_gb": round(peak() / 2**30, 2),
    }
    losses = [entry["loss"] for entry in log if "loss" in entry]
    tests = [entry["eval_loss"] for entry in log if "eval_loss" in entry]
    tenth = max(1, len(losses) // 10)  # from one step to the next the loss varies with the rows
    figures["loss"] = {"first": fmean(losses[:tenth]), "last": fmean(losses[-tenth:])} if losses else None
    figures["test_loss"] = {"before": tests[0], "after": tests[-1]} if tests else None
    return figures, log


def _arguments(asked: Tuning, values: dict[str, Any], tested: bool) -> Any:
    """TRL's SFTConfig or DPOConfig. What the machine and the command line decide overrides `values`."""
    import torch

    gpu = torch.cuda.is_available()
    return config.made(
        asked.method,
        {
            "gradient_checkpointing": gpu,  # on a CPU, time is scarcer than memory
            "dataloader_pin_memory": gpu,
            "eval_strategy": "epoch" if tested else "no",
            "report_to": "none",
            **values,
            "eval_on_start": tested,
            "output_dir": str(asked.out / checkpoints.FOLDER),
            "seed": asked.seed,
            "data_seed": asked.seed,
            "use_cpu": not gpu,
            "bf16": bases.dtype() == "bfloat16",
            "fp16": bases.dtype() == "float16",
            "disable_tqdm": True,
        },
    )


def _trainer(
    asked: Tuning, model: Any, args: Any, tokenizer: Any, lora: Any, train: Examples, test: Examples | None
) -> Any:
    """TRL's trainer, which also tokenises the rows. Raises InputError if the settings do not fit the base."""
    from datasets import Dataset
    from trl import DPOTrainer, SFTTrainer

    trainer_class: Any = SFTTrainer if asked.method == "sft" else DPOTrainer
    sets = [Dataset.from_list([row.content(asked.method) for row in data.rows]) for data in (train, test) if data]
    try:
        return trainer_class(
            model=model,
            args=args,
            train_dataset=sets[0],
            eval_dataset=sets[1] if test else None,
            processing_class=tokenizer,
            peft_config=lora,
        )
    except (ValueError, RuntimeError, TypeError, ImportError) as error:  # the libraries have no one class for it
        if bases.out_of_memory(error):
            why = shorten(str(error), 200)
            raise InputError(f"{OVER}: {why}; the weights alone don't fit, try --qlora") from None
        raise InputError(f"the settings do not fit the base: {shorten(str(error), 300)}") from None


def _check_labels(dataset: Any, stops: frozenset[int], train: Examples) -> None:
    """Raises InputError if a row's learned tokens hold no end of turn. Rows that were cut are exempt."""
    columns = [name for name in ("labels", "chosen_ids", "rejected_ids") if name in dataset.column_names]
    endless = sum(any(stops.isdisjoint(row[name]) for name in columns) for row in dataset.select_columns(columns))
    if endless > train.cut:
        raise InputError(
            f"{endless - train.cut:,} of {len(dataset):,} rows hold no end of turn to learn after TRL's "
            "tokenising, so the tuned model would not stop; does --config name another chat template?"
        )


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
