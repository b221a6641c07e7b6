"""tune: from training data to a tuned model."""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..llm.builtin import DEFAULT
from .options import FOLDER, THERE, AsJson, Base, print_json


class Method(StrEnum):
    sft = "sft"
    dpo = "dpo"


class TooLong(StrEnum):
    cut = "cut"
    drop = "drop"


def tune(
    data: Annotated[
        Path, typer.Argument(help="Rows that `export` wrote. A file DATA-test beside it is used as --test.", **THERE)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the adapter, its model card and its curves.", **FOLDER)] = ...,  # type: ignore[assignment]
    base: Base = DEFAULT,
    method: Annotated[
        Method, typer.Option(help="sft: learn the answers. dpo: prefer chosen to rejected.")
    ] = Method.sft,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with tables [sft], [dpo], [lora] for settings of TRL and PEFT.", **THERE),
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Rows to measure the loss on, never learned. Default: DATA-test.", **THERE)
    ] = None,
    too_long: Annotated[
        TooLong, typer.Option(help="What to do with rows longer than max_length (1024 tokens).")
    ] = TooLong.drop,
    seed: Annotated[int, typer.Option(min=0, help="Seed. The same seed on the same CPU gives the same adapter.")] = 0,
    qlora: Annotated[
        bool, typer.Option("--qlora", help="Keep the base in 4 bits. Needs a GPU and bitsandbytes.")
    ] = False,
    merge: Annotated[bool, typer.Option("--merge", help="Also write merged weights, into merged/.")] = False,
    gguf: Annotated[bool, typer.Option("--gguf", help="Also write merged.gguf, if the base is a GGUF file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a model on DATA with a LoRA, by SFT or DPO.

    It runs on a CPU, on a GPU, or on several with `accelerate launch`. The same command resumes from the last
    checkpoint. The defaults are the paper's.
    """
    if "WORLD_SIZE" not in os.environ:  # without a launcher, one GPU: on several, the Trainer would multiply the batch
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    from .. import provenance
    from ..tuning.base import PROVENANCE
    from ..tuning.train import Tuning, tune
    from ..types import counted

    asked = Tuning(data, base, out, method.value, config, test, too_long.value, seed, qlora, merge, gguf)
    if os.environ.get("RANK", "0") != "0":
        tune(asked)
        return  # of several processes only the first one has the folder, and prints
    with provenance.locked(out, PROVENANCE):
        figures = tune(asked)
    if as_json:
        print_json(json.dumps(figures))
    elif figures["loss"]:
        first, last = figures["loss"]["first"], figures["loss"]["last"]
        typer.echo(
            f"{counted(figures['rows'], 'row')}, {counted(figures['steps'], 'step')}, loss {first:.3f} to {last:.3f}, "
            f"{figures['seconds']:,.0f} s, {figures['tokens_per_second']:,} tokens/s, "
            f"{figures['peak_memory_gb']:.1f} GB: {out}",
            err=True,
        )
