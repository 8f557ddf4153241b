"""Which environment variable or file a setting comes from, so that messages can say what to change."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import AliasChoices, ValidationError
from pydantic_settings import SettingsError

from captionacc_dagster.settings import ENV_FILE, Settings


def variables(field: str) -> tuple[str, ...]:
    """Return the names of the variables that set a field, the usual one first."""
    alias = Settings.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (f"CAPTIONACC_{field.upper()}",)


def source(field: str) -> str:
    """Return the variable that sets a field, with the file if it is set there: ``"DATABASE_URL in .env"``."""
    from dotenv import dotenv_values

    names = variables(field)
    given = {name.upper(): value for name, value in os.environ.items()}
    for name in names:
        if given.get(name.upper()):
            return name
    file = Path(ENV_FILE)
    if file.is_file():
        written = {name.upper(): value for name, value in dotenv_values(file).items()}
        for name in names:
            if written.get(name.upper()):
                return f"{name} in {file.absolute()}"
    return names[0]


def explain_settings_error(error: ValidationError | SettingsError) -> str:
    """Return one line: which variable, in which file, is wrong and why."""
    if isinstance(error, SettingsError):
        # The message is: error parsing value for field "pool_slots" from source "EnvSettingsSource".
        field = str(error).partition('"')[2].partition('"')[0]
        where = source(field) if field in Settings.model_fields else "settings"
        return f"{where}: not valid JSON"
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    named = str(first["loc"][0])
    fields = [name for name in Settings.model_fields if named == name or named in variables(name)]
    inner = "".join(f"[{part!r}]" for part in first["loc"][1:])
    return f"{source(fields[0]) if fields else named}{inner}: {message}"
