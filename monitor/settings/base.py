"""What every section of the settings is made of: the base class, the fields, and how their values are written.

A field carries everything that is ever said about it: its meaning, unit, what it accepts, and what would happen
otherwise. The pages for operators and the messages about mistakes are both made from that, so that they cannot differ.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

MASK = "********"
_LONGEST = 120  # characters of a value that a message shows

TOPIC = r"^\.?[A-Za-z0-9_-][A-Za-z0-9._-]{0,247}$"
TOPIC_FORM = "a topic: 1 to 249 of the characters A-Z a-z 0-9 . _ -"
Number = int | float


class Section(BaseModel):
    """A table of the configuration. Frozen; refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Left to itself, pydantic reads `true` as 1."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("a truth value")
        return value


def setting(
    default: Any,
    text: str,
    otherwise: str,
    *,
    unit: str = "",
    low: Number | None = None,
    high: Number | None = None,
    pattern: str | None = None,
    form: str = "",
) -> Any:
    """A field of a section.

    Args:
        default: Its value if nothing is said.
        text: What it means, and why the default is what it is.
        otherwise: What would happen with a value that is refused.
        unit: Of the number.
        low: Smallest number accepted.
        high: Largest number accepted.
        pattern: Regular expression a text must match; then `form` says it in words.
        form: What is accepted, in words, where type and range do not say it.
    """
    said: dict[str, JsonValue] = {"unit": unit, "otherwise": otherwise, "low": low, "high": high, "form": form}
    return Field(default=default, description=text, ge=low, le=high, pattern=pattern, json_schema_extra=said)


def about(field: FieldInfo) -> dict[str, Any]:
    """What `setting` was told of a field beyond its meaning."""
    return cast("dict[str, Any]", field.json_schema_extra)


def expected(field: FieldInfo) -> str:
    """What a field accepts, in words."""
    said, kind = about(field), field.annotation
    if said["form"]:
        return str(said["form"])
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(option or '""' for option in get_args(kind))
    if kind in (int, float):
        whole = "a whole number" if kind is int else "a number"
        return f"{whole} from {_plain(said['low'])} to {_plain(said['high'])}"
    if kind is bool:
        return "true or false"
    if kind is SecretStr or kind is str:
        return "a text"
    return "a list of texts" if get_origin(kind) is tuple else "a table"


def literal(value: Any) -> str:
    """`value` as TOML. A secret is masked; one that is not set is an empty text."""
    if isinstance(value, SecretStr):
        return f'"{MASK}"' if value.get_secret_value() else '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{literal(str(key))} = {literal(each)}" for key, each in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return repr(value)


def shown(value: Any, field: FieldInfo) -> str:
    """`value` for a message: nothing of a secret, of a table only its keys, and no password inside a URL."""
    if field.annotation is SecretStr:
        return literal(SecretStr(str(value)))
    if isinstance(value, Mapping):
        return "{ " + ", ".join(map(str, value)) + " }"
    text = re.sub(r"//\S*@", f"//{MASK}@", literal(value))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _plain(number: Number) -> str:
    return str(int(number)) if float(number).is_integer() else repr(number)
