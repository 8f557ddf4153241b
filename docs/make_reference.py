"""Write docs/reference from the code: command line, settings, HTTP API, tables and SQLite files (``make docs``)."""

from __future__ import annotations

import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import typer

REFERENCE = Path(__file__).parent / "reference"
_MADE = "<!-- Made from the code by `make docs`; do not edit. -->\n\n"


def pages(catalog_url: str) -> dict[str, str]:
    """Give every page's text by its file name.

    Args:
        catalog_url: libpq URL of a migrated catalog, whose tables are described.
    """
    return {
        "cli.md": _MADE + command_line(),
        "settings.md": _MADE + settings(),
        "http.md": _MADE + http_api(),
        "schemas.md": _MADE + schemas(catalog_url),
    }


def _cell(text: object) -> str:
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").strip()


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(head)
    lines = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in (names, ["---"] * len(names), *rows)]
    return "\n".join(lines) + "\n"


# --- command line -----------------------------------------------------------------------------------------------


def command_line() -> str:
    """Describe every command with its arguments and options."""
    from captionacc_dagster.cli.app import app

    root: Any = typer.main.get_command(app)
    context = root.context_class(root, info_name="captionacc")
    parts = [
        "# Command line\n\nEvery command explains itself with `--help`. Exit codes: 0 everything went well; 1 "
        "something was refused or failed; 2 wrong usage; 3 done, but something could not be read.\n"
    ]
    parts += [_command(path, command) for path, command in _commands(root, context, ["captionacc"])]
    return "\n".join(parts)


def _commands(command: Any, context: Any, path: list[str]) -> Iterator[tuple[list[str], Any]]:
    for name in command.list_commands(context):
        sub = command.get_command(context, name)
        if sub.hidden:
            continue
        if hasattr(sub, "list_commands"):
            yield from _commands(sub, context, [*path, name])
        else:
            yield [*path, name], sub


def _command(path: list[str], command: Any) -> str:
    rows = []
    for parameter in command.params:
        if parameter.name == "help":
            continue
        is_option = parameter.param_type_name == "option"
        names = (
            ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
            if is_option
            else f"`{parameter.name.upper()}`"
        )
        words = [parameter.help or ""]
        if parameter.required:
            words.append("Required.")
        elif parameter.default not in (None, False, (), []) and not callable(parameter.default):
            words.append(f"Default: `{parameter.default}`.")
        if parameter.envvar:
            words.append(f"Environment: `{parameter.envvar}`.")
        rows.append((names, " ".join(word for word in words if word)))
    table = "\n" + _table(("argument or option", "meaning"), rows) if rows else ""
    return f"## `{' '.join(path)}`\n\n{(command.help or '').strip()}\n{table}"


# --- settings ---------------------------------------------------------------------------------------------------


def settings() -> str:
    """Describe every setting with its variable, type, default and meaning."""
    from captionacc_dagster.settings import Settings

    rows = []
    for name, field in Settings.model_fields.items():
        alias: Any = field.validation_alias
        variable = alias.choices[0] if alias is not None else f"CAPTIONACC_{name.upper()}"
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = "" if default is None or default in ([], {}) else f"`{default}`"
        rows.append((f"`{variable}`", shown, field.description or ""))
    return (
        "# Settings\n\n"
        "Environment variables, or lines of a file `.env` in the folder where a command starts; the environment wins. "
        "With none set, everything is embedded under `.captionacc`. An empty value counts as not set. "
        "A wrong value stops the command with the variable's name and the reason.\n\n"
    ) + _table(("variable", "default", "meaning"), rows)


# --- HTTP -------------------------------------------------------------------------------------------------------


def http_api() -> str:
    """Describe every operation of the OpenAPI document, with parameters, body and answers."""
    from captionacc_dagster.api.app import app

    document = app.openapi()
    parts = [
        "# HTTP API\n\nMade from the OpenAPI document that the API serves at `/openapi.json` "
        "(and to try out at `/docs`). [docs/api.md](../api.md) shows its use with examples.\n"
    ]
    for path, operations in document["paths"].items():
        parts += [_operation(method, path, operation) for method, operation in operations.items()]
    parts.append("# Bodies\n")
    parts += [_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return "\n".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"## `{method.upper()} {path}`\n", operation.get("summary", "") + "."]
    if description := operation.get("description", "").strip():
        lines += ["", description]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        lines += ["", f"Body: {_type(body)}."]
    parameters = [
        (f"`{p['name']}`", p["in"], _type(p.get("schema", {})), p.get("description", ""))
        for p in operation.get("parameters", [])
    ]
    if parameters:
        lines += ["", _table(("parameter", "in", "type", "meaning"), parameters).rstrip()]
    answers = []
    for code, answer in operation["responses"].items():
        schema = answer.get("content", {}).get("application/json", {}).get("schema")
        answers.append((code, answer.get("description", ""), _type(schema) if schema else ""))
    return "\n".join([*lines, "", _table(("answer", "meaning", "body"), answers)])


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_type(part) for part in schema[several])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    words = [schema.get("format") or schema.get("type", "any")]
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<", "maxLength": "length ≤"}
    words += [f"{sign} {schema[key]}" for key, sign in limits.items() if key in schema]
    return ", ".join(words)


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (f"`{field}`" + ("" if field in required else " (optional)"), _type(part), part.get("description", ""))
        for field, part in schema.get("properties", {}).items()
    ]
    head = f"## {name}\n\n" + (schema.get("description", "").strip() + "\n\n" if schema.get("description") else "")
    return head + (_table(("field", "type", "meaning"), rows) if rows else f"{_type(schema)}\n")


# --- tables and SQLite files ------------------------------------------------------------------------------------

_COLUMNS = """
select c.relname, obj_description(c.oid), a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relnamespace = 'captionacc'::regnamespace and c.relkind = 'r'
order by c.relname, a.attnum
"""


def schemas(catalog_url: str) -> str:
    """Describe the catalog's tables and the SQLite files."""
    with psycopg.connect(catalog_url) as connection:
        columns = connection.execute(_COLUMNS).fetchall()
    parts = [
        "# Schemas\n\n## Tables of the catalog\n\nPostgres schema `captionacc`, made by the files in "
        "[supabase/migrations](../../supabase/migrations). Every table has row-level security: users see the rows of "
        "their own tenant, the service role all, anonymous callers none.\n"
    ]
    for table in dict.fromkeys(row[0] for row in columns):
        of_table = [row for row in columns if row[0] == table]
        parts.append(f"### `{table}`\n\n{of_table[0][1] or ''}\n")
        parts.append(
            _table(
                ("column", "type", "default", "meaning"),
                (
                    (
                        f"`{name}`",
                        kind + (" not null" if not_null else ""),
                        f"`{default}`" if default else "",
                        comment or "",
                    )
                    for _, _, name, kind, not_null, default, comment in of_table
                ),
            )
        )
    parts.append(_sqlite_files())
    return "\n".join(parts)


def _sqlite_files() -> str:
    from captionacc_dagster.captioning.files import captions_database, databases

    parts = [
        "## SQLite files\n\nGzipped where the key's name says so; plain `sqlite3` reads them. "
        "Confidences and coordinates are 0..1, from the top left; times count from the video's first frame.\n"
    ]
    for name, schema in {**databases.SCHEMAS, **captions_database.SCHEMAS}.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "schema.db"
            with databases.new_database(path, schema):
                pass
            with sqlite3.connect(path) as connection:
                statements = [
                    row[0]
                    for row in connection.execute(
                        "select sql from sqlite_master where sql is not null and name not like 'sqlite_%'"
                    )
                ]
        parts.append(f"### `{name}`\n\n```sql\n" + ";\n".join(statements) + ";\n```\n")
    return "\n".join(parts)


def main() -> None:
    """Write the pages."""
    from captionacc_dagster.catalog.embedded import EmbeddedPostgres, open_catalog

    with tempfile.TemporaryDirectory(prefix="ca-docs-") as home:
        server = EmbeddedPostgres(Path(home), durable=False)
        open_catalog(server).close()
        try:
            made = pages(server.url())
        finally:
            server.stop()
    for name, text in made.items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {', '.join(made)} into {REFERENCE}\n")


if __name__ == "__main__":
    main()
