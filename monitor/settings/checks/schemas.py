"""Settings of [schemas] that are refused."""

import importlib.util
from pathlib import Path

from monitor.settings.checks.problem import Problems
from monitor.settings.sections import Sections

_LIBRARIES = {"fastavro": "Avro", "google.protobuf": "Protobuf"}  # of the extra


def schema_problems(settings: Sections) -> Problems:
    """Yield the problems of [schemas]."""
    schemas = settings.schemas
    if schemas.registry_url or schemas.files:
        key = "schemas.registry_url" if schemas.registry_url else "schemas.files"
        if settings.format.kind == "influx_line":
            yield "line protocol has no schema, and a record becomes JSON", key, "format.kind"
        for library, encoding in _LIBRARIES.items():
            if not _is_installed(library):
                yield f"{library}, which reads {encoding}, is missing: pip install 'plant-monitor[schemas]'", key
    for path in schemas.files:
        if not Path(path).is_file():
            yield f"{path!r} is no file; no message could be read", "schemas.files"
    if schemas.message and not schemas.files:
        yield "there is no file that it could be in", "schemas.message", "schemas.files"
    yield from _registry(settings)


def _registry(settings: Sections) -> Problems:
    schemas = settings.schemas
    password = schemas.password.get_secret_value()
    given = {"username": schemas.username, "password": password, "ca_location": schemas.ca_location}
    for name, value in given.items():
        if value and not schemas.registry_url:
            yield "there is no registry that it could be for", f"schemas.{name}", "schemas.registry_url"
    if bool(schemas.username) != bool(password):
        yield "the registry would refuse the login", "schemas.username", "schemas.password"
    if schemas.ca_location and not Path(schemas.ca_location).is_file():
        yield "this is no file; no connection could be made", "schemas.ca_location"


def _is_installed(library: str) -> bool:
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:  # of a package that the library would be in
        return False
