"""The settings of a tuning: those of the paper, and the changes that a TOML file makes to them.

The file's tables go unchanged into the libraries' own classes: [sft] into TRL's SFTConfig, [dpo] into its DPOConfig,
[lora] into PEFT's LoraConfig. Knows no data and trains nothing.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from ..errors import InputError
from ..plain import plain
from ..types import shorten
from .examples import Method

# The paper's settings, where it gives them: LoRA r = 8, alpha = 16, dropout 0.05; learning rate 2e-5, cosine, warm-up
# 0.03, 3 epochs, 1,024 tokens. It gives neither the batch size nor the weights that the LoRA applies to.
LORA: dict[str, Any] = {
    "r": 8,
    "lora_alpha": 16,
    "lora_dropout": 0.05,
    "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
}
TRAINING: dict[str, Any] = {
    "learning_rate": 2e-5,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.03,  # a share of all steps
    "num_train_epochs": 3,
    "max_length": 1024,
    "per_device_train_batch_size": 4,
    "per_device_eval_batch_size": 4,
    "gradient_accumulation_steps": 4,
    "logging_steps": 1,
    "save_steps": 0.05,  # a share too: twenty checkpoints, so a killed tuning loses little
    "save_total_limit": 2,
}
# Settings that a file can't change. They depend on the command line, the machine, or how a killed tuning continues.
OURS = (
    *("output_dir", "seed", "data_seed", "use_cpu", "bf16", "fp16", "disable_tqdm", "eval_on_start", "task_type"),
    *("save_only_model", "push_to_hub", "inference_mode"),
)
ABOVE_0 = (
    *("num_train_epochs", "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
    *("learning_rate", "save_steps", "logging_steps", "max_length", "r"),
)


def resolved(method: Method, config: Path | None) -> dict[str, dict[str, Any]]:
    """The settings that are not the libraries' defaults, as {'lora': …, method: …}.

    Raises InputError for a setting that the libraries would reject.
    """
    given = _tables(config) if config else {}
    if strange := [name for name in given if name not in ("sft", "dpo", "lora")]:
        raise InputError(f"{config}: [{strange[0]}] is no known table; wanted [sft], [dpo] or [lora]")
    lora = {**LORA, **given.get("lora", {})}
    training = {**TRAINING, **given.get(method, {})}
    for table, values in (("lora", given.get("lora", {})), (method, given.get(method, {}))):
        kinds = get_type_hints(_class(table))
        for name, value in values.items():
            if name in OURS:
                raise InputError(f"{config}: [{table}] {name} is decided by the command line and the machine")
            if name not in kinds:
                near = difflib.get_close_matches(name, kinds, 1)
                raise InputError(
                    f"{config}: [{table}] has no {name}{f'; did you mean {near[0]}?' if near else ''} "
                    f"(the keys are those of {_class(table).__name__})"
                )
            _fits(f"{config}: [{table}] {name}", value, kinds[name], name in ABOVE_0)
    return {"lora": lora, method: training}


def _fits(where: str, value: Any, kind: Any, above_0: bool) -> None:
    """Raises InputError for a value that is not of the type that the libraries' classes declare."""
    try:
        TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except ValidationError as error:
        fault = plain(f"{where}: {error.errors()[0]['msg']}")
        raise InputError(f"{fault} (got {value!r})") from None
    except PydanticUserError:  # a type that TOML can't express
        pass
    if above_0 and isinstance(value, int | float) and not value > 0:
        raise InputError(f"{where} must be more than 0 (got {value!r})")


def made(table: str, values: dict[str, Any]) -> Any:
    """The library's object for these values. Raises InputError with the library's message."""
    try:
        return _class(table)(**values)
    except Exception as error:  # each library rejects values with errors of its own
        raise InputError(f"[{table}]: {shorten(str(error), 300)}") from None


def _class(table: str) -> Any:
    if table == "lora":
        from peft import LoraConfig

        return LoraConfig
    if table == "dpo":
        from trl import DPOConfig

        return DPOConfig
    from trl import SFTConfig

    return SFTConfig


def _tables(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is no TOML: {error}") from None
    if loose := [name for name, value in tables.items() if not isinstance(value, dict)]:
        raise InputError(f"{path}: {loose[0]} is in no table; wanted it under [sft], [dpo] or [lora]")
    return tables
