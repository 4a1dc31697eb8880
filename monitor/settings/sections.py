"""All sections of the configuration together, each valid by itself.

`tree.Settings` adds that they are valid together. The two are apart because combinations are checked in checks.py,
which needs the sections, and because load.py names every bad value before it checks combinations.
"""

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from monitor.core.decode.select import Kinds
from monitor.core.windows.pace import Holds
from monitor.settings.base import Glob, Section, setting
from monitor.settings.detectors import NAME, NAME_FORM, DetectorSection, merged, own_fields, split
from monitor.settings.learning import ModelSection, ModesSection, ThresholdSection, TrainingSection
from monitor.settings.process import (
    DeliverySection,
    HealthSection,
    LogSection,
    OutputsSection,
    ReloadSection,
    SourceSection,
    StoreSection,
)
from monitor.settings.rules import AssetSection, ChannelSection
from monitor.settings.running import RunningSection
from monitor.settings.servers import KafkaSection, RecorderSection, SchemasSection
from monitor.settings.stages import AlertingSection, FormatSection, SelectSection, SensorsSection, WindowsSection

PREFIX = "MONITOR_"
NAMED: dict[str, type[Section]] = {"channels": ChannelSection, "assets": AssetSection}  # tables of sections


class Sections(BaseSettings):
    """The fields of `tree.Settings`."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
    )

    name: str = setting(
        "monitor",
        "Name of this monitor, and of its detector if there are no [[detectors]]. A detector's name is part of the ids "
        "of alerts, so do not change it while alerts are open. Models and histories are stored under it: under another "
        "name, a model is trained anew from the same history.",
        pattern=NAME,
        form=NAME_FORM,
    )
    channels: dict[Glob, ChannelSection] = setting(
        {},
        "What channels are read as and when they count, by name or glob. In a file, sections such as "
        '[channels."*.energy"] take the place of this line.',
        form="a table of sections, [channels.NAME]",
    )
    assets: dict[Glob, AssetSection] = setting(
        {},
        'Exceptions for machines, by name or glob. In a file, sections such as [assets."pump-07"] take the place of '
        "this line.",
        form="a table of sections, [assets.NAME]",
    )
    detectors: tuple[DetectorSection, ...] = setting(
        (),
        "Detectors, where one is not enough. In a file, tables that begin with [[detectors]] take the place of this "
        "line. They may be added and removed while the monitor runs.",
        form="a list of tables, [[detectors]]",
    )
    source: SourceSection = SourceSection()
    format: FormatSection = FormatSection()
    select: SelectSection = SelectSection()
    schemas: SchemasSection = SchemasSection()
    windows: WindowsSection = WindowsSection()
    model: ModelSection = ModelSection()
    modes: ModesSection = ModesSection()
    training: TrainingSection = TrainingSection()
    threshold: ThresholdSection = ThresholdSection()
    alerting: AlertingSection = AlertingSection()
    sensors: SensorsSection = SensorsSection()
    running: RunningSection = RunningSection()
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
        """Use passed values only. load.py reads file and environment, since it names every mistake in them."""
        return (init_settings,)

    def value(self, key: str) -> Any:
        """Return the value of a key such as `windows.length`, or of a detector's, `detectors[pumps].windows.length`."""
        name, key = split(key)
        if name:
            (detector,) = (each for each in self.detectors if each.name == name)
            return getattr(detector, key) if key in own_fields() else merged(self, detector).value(key)
        section, _, leaf = key.rpartition(".")
        return getattr(getattr(self, section) if section else self, leaf)

    def channel_kinds(self) -> Kinds:
        """Return what channels are read as, in the order of the file."""
        return Kinds(
            tuple((glob, section.read_as) for glob, section in self.channels.items()),
            tuple((glob, section.texts) for glob, section in self.channels.items() if section.texts),
        )

    def channel_holds(self) -> Holds:
        """Return for how long channels hold their values, in the order of the file."""
        return Holds(tuple((glob, round(section.hold_s * 1000)) for glob, section in self.channels.items()))


def sections() -> dict[str, type[Section]]:
    """Return the sections by name, in order."""
    return {
        name: field.annotation
        for name, field in Sections.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def fields() -> dict[str, FieldInfo]:
    """Return every setting by its key, in order."""
    inner = {f"{part}.{name}": field for part, kind in sections().items() for name, field in kind.model_fields.items()}
    return {**{name: Sections.model_fields[name] for name in ("name", *NAMED, "detectors")}, **inner}
