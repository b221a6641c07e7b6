"""How a tuning is done: the paper's settings, what a TOML file changes of them, and the record of both in the output.

Tables of the file go as they are into the libraries' own classes: [sft] into TRL's SFTConfig, [dpo] into its DPOConfig,
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
from ..types import shorten
from .examples import Method

# The paper's, as far as it says (LoRA r = 8, alpha = 16, dropout 0.05; 2e-5, cosine, warm-up 0.03, 3 epochs, 1,024
# tokens); it does not say the batch, nor which weights the LoRA is on.
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
    "save_steps": 0.05,  # likewise: twenty times, so that a killed run loses little
    "save_total_limit": 2,
}
# What the command line, the machine and the way that a killed tuning goes on decide.
OURS = (
    *("output_dir", "seed", "data_seed", "use_cpu", "bf16", "fp16", "disable_tqdm", "eval_on_start", "task_type"),
    *("save_only_model", "push_to_hub", "inference_mode"),
)
ABOVE_0 = (
    *("num_train_epochs", "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
    *("learning_rate", "save_steps", "logging_steps", "max_length", "r"),
)


def resolved(method: Method, config: Path | None) -> dict[str, dict[str, Any]]:
    """{'lora': …, method: …}: what is not the libraries' default. Raises InputError for what they would not take."""
    given = _tables(config) if config else {}
    if strange := [name for name in given if name not in ("sft", "dpo", "lora")]:
        raise InputError(f"{config}: [{strange[0]}] is no table of it; wanted [sft], [dpo] or [lora]")
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
    """Raises InputError for a value that is not of the kind that the libraries' classes declare."""
    try:
        TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value, strict=True)
    except ValidationError as error:
        raise InputError(f"{where}: {error.errors()[0]['msg']} (got {value!r})") from None
    except PydanticUserError:  # a kind that no TOML spells
        pass
    if above_0 and isinstance(value, int | float) and not value > 0:
        raise InputError(f"{where} must be more than 0 (got {value!r})")


def made(table: str, values: dict[str, Any]) -> Any:
    """The libraries' object of these values. Raises InputError with their words."""
    try:
        return _class(table)(**values)
    except Exception as error:  # each library refuses values in its own ways
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
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is no TOML: {error}") from None
    if loose := [name for name, value in found.items() if not isinstance(value, dict)]:
        raise InputError(f"{path}: {loose[0]} stands in no table; wanted it under [sft], [dpo] or [lora]")
    return found
