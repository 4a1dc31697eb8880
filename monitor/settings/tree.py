"""The settings: one frozen tree of sections, each field with its meaning, unit and range.

`configuration.load` is how a process gets them; it says where values come from and checks what depends on two of them.
A tree built by hand (in a test) takes nothing from the environment.
"""

from enum import StrEnum
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from monitor.settings.base import Section, setting
from monitor.settings.learning import ModelSection, ThresholdSection, TrainingSection
from monitor.settings.process import (
    DeliverySection,
    HealthSection,
    LogSection,
    OutputsSection,
    ReloadSection,
    SourceSection,
    StoreSection,
)
from monitor.settings.servers import KafkaSection, RecorderSection
from monitor.settings.stages import AlertingSection, FormatSection, SensorsSection, WindowsSection

PREFIX = "MONITOR_"


class Role(StrEnum):
    """What a process does of the work. Everything by default; on many machines each may have processes of its own."""

    ALL = "all"
    DETECT = "detect"  # read, score, alert
    RECORD = "record"  # alerts and scores into the database
    TRAIN = "train"  # make models of the histories that the detecting processes keep in the store


class Settings(BaseSettings):
    """Everything an operator may decide."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
    )

    name: str = setting(
        "monitor",
        "Name of this detector. It goes into the ids of alerts, so do not change it while alerts are open.",
        "alerts could not be told apart",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        form="1 to 64 of the characters A-Z a-z 0-9 . _ -",
    )
    source: SourceSection = SourceSection()
    format: FormatSection = FormatSection()
    windows: WindowsSection = WindowsSection()
    model: ModelSection = ModelSection()
    training: TrainingSection = TrainingSection()
    threshold: ThresholdSection = ThresholdSection()
    alerting: AlertingSection = AlertingSection()
    sensors: SensorsSection = SensorsSection()
    outputs: OutputsSection = OutputsSection()
    kafka: KafkaSection = KafkaSection()
    recorder: RecorderSection = RecorderSection()
    store: StoreSection = StoreSection()
    delivery: DeliverySection = DeliverySection()
    health: HealthSection = HealthSection()
    log: LogSection = LogSection()
    reload: ReloadSection = ReloadSection()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - part of the signature, as are the next three
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: `configuration.load` puts file, environment and flags together, and names every fault."""
        return (init_settings,)

    def value(self, key: str) -> Any:
        """The value of a key such as `windows.length`."""
        part, _, leaf = key.rpartition(".")
        return getattr(getattr(self, part) if part else self, leaf)


def sections() -> dict[str, type[Section]]:
    """The sections by name, in order."""
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def fields() -> dict[str, FieldInfo]:
    """Every setting by its key, in order."""
    inner = {f"{part}.{name}": field for part, kind in sections().items() for name, field in kind.model_fields.items()}
    return {"name": Settings.model_fields["name"], **inner}
