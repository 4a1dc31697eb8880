"""The base class of a section, its fields, and how values are written.

A field carries its meaning, unit, range and, where that is news, the consequence of a refused value. Documents and
messages are both made from the field, so that they cannot differ.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

MASK = "********"
_LONGEST = 120  # characters of a value that a message shows

TOPIC = r"^\.?[A-Za-z0-9_-][A-Za-z0-9._-]{0,247}$"
TOPIC_FORM = "a topic: 1 to 249 of the characters A-Z a-z 0-9 . _ -"
Number = int | float
Glob = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Section(BaseModel):
    """A table of the configuration. Frozen; refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is expected; pydantic would read `true` as 1."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("a truth value")
        return value


def setting(
    default: Any,
    text: str,
    *,
    otherwise: str = "",
    unit: str = "",
    low: Number | None = None,
    high: Number | None = None,
    pattern: str | None = None,
    form: str = "",
    key: str | None = None,
) -> Any:
    """Return a field of a section.

    Args:
        default: Value if the setting is not given.
        text: Meaning, and the reason for the default.
        otherwise: Consequence of a refused value, where range and meaning do not say it already.
        unit: Unit of the number.
        low: Smallest number accepted.
        high: Largest number accepted.
        pattern: Regular expression that a text must match; `form` then says it in words.
        form: Accepted values in words, where type and range do not say it.
        key: Name in the configuration, where that is a word of Python; default: the attribute's.
    """
    extra: dict[str, JsonValue] = {"unit": unit, "otherwise": otherwise, "low": low, "high": high, "form": form}
    return Field(
        default=default, description=text, ge=low, le=high, pattern=pattern, json_schema_extra=extra, alias=key
    )


def globs(text: str) -> Any:
    """Return a setting that is a list of globs."""
    return setting((), text, form="a list of globs, each of 1 to 256 characters")


def about(field: FieldInfo) -> dict[str, Any]:
    """Return unit, range, form and consequence of a field, as given to `setting`."""
    return cast("dict[str, Any]", field.json_schema_extra)


def expected(field: FieldInfo) -> str:
    """Return the values that a field accepts, in words."""
    extra, kind = about(field), field.annotation
    if extra["form"]:
        return str(extra["form"])
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(option or '""' for option in get_args(kind))
    if kind in (int, float):
        whole = "a whole number" if kind is int else "a number"
        return f"{whole} from {_plain(extra['low'])} to {_plain(extra['high'])}"
    if kind is bool:
        return "true or false"
    if kind is SecretStr or kind is str:
        return "a text"
    return "a list of texts" if get_origin(kind) is tuple else "a table"


def literal(value: Any) -> str:
    """Return `value` as TOML. A secret is masked; a secret that is not set is an empty text."""
    if isinstance(value, SecretStr):
        return f'"{MASK}"' if value.get_secret_value() else '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, Section):
        value = value.model_dump(by_alias=True, exclude_unset=True)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{literal(str(key))} = {literal(each)}" for key, each in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return repr(value)


def default(field: FieldInfo) -> str:
    """Return the default of a field as TOML; of a field that need not have a value, words."""
    return "not set" if field.default is None else literal(field.default)


def shown(value: Any, field: FieldInfo) -> str:
    """Return `value` for a message: no secret, of a table only its keys, no password inside a URL, cut to a bound."""
    if field.annotation is SecretStr:
        return literal(SecretStr(str(value)))
    if isinstance(value, Mapping):
        return "{ " + ", ".join(map(str, value)) + " }"

    text = re.sub(r"//\S*@", f"//{MASK}@", literal(value))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _plain(number: Number) -> str:
    return str(int(number)) if float(number).is_integer() else repr(number)
