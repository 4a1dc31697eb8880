"""Ids of names with letters outside ASCII: different names stay different, in every format."""
# ruff: noqa: RUF001 - letters of other scripts look like Latin ones

import dataclasses
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.decode.decode import decode_all
from monitor.core.decode.format import Format, Skip
from monitor.core.decode.ids import ID, LONGEST, legal
from monitor.core.decode.names import Names
from monitor.core.decode.select import Globs, Select
from tests.core.decode.decoding import message
from tests.core.decode.malformed import FORMATS, NANOS, NOW, wide

CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюяёАБВГД"
OTHERS = "αβγδεζηθικλμνξοπρστυφχψωάέή温度压力流量炉一二三คมปั๊मोटर١٢٣アイウ압력"
LATIN = "abcxyzABCXYZ0123456789"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ofen Ä", "Ofen_Ae"),
        ("Ölkühler", "Oelkuehler"),
        ("STRAẞE Straße", "STRASSE_Strasse"),
        ("débit", "debit"),
        ("Ångström Ø", "Angstroem_O"),
        ("Łódź", "Lodz"),
        ("Ａｌarm ﬁx", "Alarm_fix"),
        ("m³/h", "m3/h"),
        ("80 °C", "80__C"),
        ("Насос", "u041du0430u0441u043eu0441"),
        ("炉1", "u70891"),
        ("कि", "u0915u093f"),
        ("a\N{COMBINING DIAERESIS}", "au0308"),
        ("Bearing-Temp?", "Bearing-Temp_"),
        ("é" * LONGEST, "e" * LONGEST),
        ("é" * (LONGEST + 1), None),
        ("", None),
    ],
)
def test_letters_are_spelled(name: str, expected: str | None) -> None:
    """Letters become their spelling, their base letter or their code point, and other characters `_`."""
    assert legal(name) == expected


@given(st.text(st.characters(max_codepoint=127), min_size=1, max_size=LONGEST))
def test_names_of_ascii_keep_their_ids(name: str) -> None:
    """Of a name in ASCII each character that an id may not have becomes `_`."""
    assert legal(name) == "".join(each if each.isalnum() or each in "._:/-" else "_" for each in name)


@given(st.text(min_size=1, max_size=LONGEST))
def test_whatever_comes_becomes_an_id(name: str) -> None:
    """Each name that is not too long has an id, which is the same when it is asked for again."""
    new = legal(name)
    assert new is not None
    assert ID.fullmatch(new)
    assert legal(new) == new


SCRIPTS = st.one_of(*(st.text(f"{letters}{LATIN} ", min_size=1, max_size=LONGEST) for letters in (CYRILLIC, OTHERS)))


@given(SCRIPTS, SCRIPTS)
def test_different_names_of_other_scripts_are_different_ids(one: str, other: str) -> None:
    """Two names of letters, digits and spaces are one id only if they are one name."""
    assert (legal(one) == legal(other)) == (one == other)


@given(*[st.text("äöüßÄÖÜéèêçñåøł ABCabcesou", min_size=1, max_size=8)] * 2)
def test_names_of_latin_letters_that_are_one_id_are_spelled_alike(one: str, other: str) -> None:
    """Names with marks are one id only if they are alike without marks, or as German is written without them."""

    def plain(name: str) -> str:
        for letter, text in {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"}.items():
            name = name.replace(letter, text)
        bare = unicodedata.normalize("NFD", name.replace("ø", "o").replace("ł", "l"))
        return "".join(each for each in bare if not unicodedata.combining(each))

    assert (legal(one) == legal(other)) == (plain(one) == plain(other))


def test_long_names_stay_different() -> None:
    """Of names whose spelling is too long for an id the end is a digest of the name."""
    one, other = legal("Н" * 99 + "П"), legal("Н" * 100)
    assert one is not None
    assert other is not None
    assert one != other
    assert len(one) == len(other) == LONGEST


NAMES = ("Ofen Ä", "Ofen Ö", "Ofen Ü", "Печь", "Насо", "e 1")
IDS = {"Ofen_Ae", "Ofen_Oe", "Ofen_Ue", "u041fu0435u0447u044c", "u041du0430u0441u043e", "e_1"}


def sent(kind: str, name: str) -> tuple[Format, bytes]:
    """Return a form, and a reading of machine (as the key, if it is a table) and channel `name`."""
    if kind == "csv":
        return Format("csv", asset_from="key", timestamp_unit="ms"), f"@timestamp,{name}\n2023-11-14,1.5".encode()
    if kind == "influx_line":
        escaped = name.replace(" ", "\\ ")
        form = dataclasses.replace(FORMATS[kind], channel_name="field", max_channels=8)
        return form, f"m,host={escaped} {escaped}=1.5 {NANOS}".encode()
    return FORMATS[kind], wide(json.dumps({name: 1.5}), json.dumps(name))


@pytest.mark.parametrize("kind", ["json_wide", "influx_line", "csv"])
def test_machines_whose_names_differ_by_letters_are_all_read(kind: str) -> None:
    """Machines and channels with other letters have ids of their own, and nothing is skipped."""
    form = sent(kind, "")[0]
    messages = [message(sent(kind, name)[1], n, key=name.encode()) for n, name in enumerate(NAMES)]
    decoded = decode_all(messages, form, NOW, Names())
    assert set(decoded.readings.assets) == set(decoded.readings.channels) == IDS
    assert len(decoded.readings) == len(NAMES)
    assert decoded.skipped[Skip.NAME_TAKEN] == 0


@pytest.mark.parametrize("glob", ["Ofen Ä", "Ofen_Ae"])
def test_a_glob_is_the_name_or_its_id(glob: str) -> None:
    """A filter matches a machine by its name as it came and by its id."""
    form = dataclasses.replace(sent("json_wide", "")[0], select=Select(assets=Globs((glob,))))
    messages = [message(sent("json_wide", name)[1], n) for n, name in enumerate(NAMES)]
    assert decode_all(messages, form, NOW, Names()).readings.assets == ("Ofen_Ae",)
