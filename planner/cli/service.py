"""`neuroflux service`: administration of a service on the machine that keeps its database, running or not."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from planner.cli import options
from planner.cli.output import print_note, print_result, print_stored_result
from planner.cli.serve import check_service
from planner.errors import InputError
from planner.units import format_bytes

if TYPE_CHECKING:
    from api.schemas.requests import TokenRequest
    from api.store.database import Database

_KINDS = ("runs", "plans", "models", "profiles", "devices")
_MOST_SHOWN = 200

_EPILOG = """\
for instance: neuroflux service backup neuroflux-monday.sqlite3
              neuroflux service token add grafana --role metrics
              neuroflux service devices
              neuroflux service delete runs 5f0c77aa…
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(title="what", metavar="WHAT", required=True)

    def add(name: str, words: str, do: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        found = actions.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.")
        add_database(found)
        found.set_defaults(do=do)
        return found

    backup = add("backup", "copy the database into a file, also while the service runs (SQLite)", _back_up)
    backup.add_argument("file", type=Path, metavar="FILE", help="the file to write; it must not be there yet")
    restore = add("restore", "put a copy in the database's place; the service must not run (SQLite)", _restore)
    restore.add_argument("file", type=Path, metavar="FILE", help="what `neuroflux service backup` wrote")
    token = add("token", "list, add and end the tokens of people and programs", _token)
    token.add_argument("do_what", nargs="?", default="list", choices=("list", "add", "end"), help="default: list")
    token.add_argument("which", nargs="?", metavar="NAME|ID", help="what a new one is called; the id of one to end")
    token.add_argument(
        "--role",
        choices=("read", "admin", "metrics"),
        default="read",
        help="what a new one may do: look at everything, do everything, or read /metrics (default: read)",
    )
    token.add_argument("--days", type=options.count("days", 1, 3650), metavar="N", help="it ends after N days")
    for kind in _KINDS:
        listed = add(kind, f"list {kind}, newest first", _list)
        listed.set_defaults(kind=kind)
        listed.add_argument("--archived", action="store_true", help="those that are archived")
    for name, words in (
        ("delete", "delete things, with all that belongs to them"),
        ("archive", "keep things out of lists"),
        ("unarchive", "show things in lists again"),
    ):
        changed = add(name, words, _change)
        changed.set_defaults(change=name)
        changed.add_argument("kind", choices=_KINDS)
        changed.add_argument("ids", nargs="+", metavar="ID", help="as the list shows it; its beginning will do")
    rename = add("rename", "give a run or a device another name", _rename)
    rename.add_argument("kind", choices=("runs", "devices"))
    rename.add_argument("id", metavar="ID")
    rename.add_argument("name", metavar="NAME")
    revoke = add("revoke", "make a device's tokens worthless; what it uploaded stays", _revoke)
    revoke.add_argument("ids", nargs="+", metavar="ID")
    audit = add("audit", "show who changed what, newest first", _audit)
    audit.add_argument("--limit", type=options.count("limit", 1, 100_000), default=50, metavar="N", help="default 50")


def add_database(parser: argparse.ArgumentParser) -> None:
    """`--db`, `--data-dir`, `--json`."""
    parser.add_argument(
        "--db", metavar="URL", help="sqlite:///PATH or postgresql://… (default: $NEUROFLUX_DB, or SQLite's)"
    )
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="the service's data folder (default ~/.local/share/neuroflux)"
    )
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for."""
    check_service()
    code: int = arguments.do(arguments)
    return code


def _url(arguments: argparse.Namespace) -> str:
    from api.settings import database_url, default_data_folder

    given = arguments.db or os.environ.get("NEUROFLUX_DB")
    folder = arguments.data_dir or default_data_folder()
    return database_url(given, folder, os.environ.get("NEUROFLUX_DB_PASSWORD_FILE"))


@contextmanager
def _database(arguments: argparse.Namespace) -> Iterator[Database]:
    """The database, which must be of this release: it is not migrated under a service of an earlier one."""
    from api.store.database import Database
    from api.store.migrate import check_current

    url = _url(arguments)
    check_current(url)
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


def _back_up(arguments: argparse.Namespace) -> int:
    from api.store.backup import back_up

    size = back_up(_url(arguments), arguments.file)
    if arguments.json:
        print_stored_result(json.dumps({"file": str(arguments.file), "bytes": size}))
    else:
        print_stored_result(f"{arguments.file}: {format_bytes(size)}")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from api.store.backup import restore
    from api.store.migrate import migrate

    url = _url(arguments)
    kept = restore(url, arguments.file)
    migrate(url)
    if arguments.json:
        print_stored_result(json.dumps({"restored": str(arguments.file), "kept": None if kept is None else str(kept)}))
    else:
        print_stored_result(f"{arguments.file} is in place")
    if kept is not None:
        print_note(f"what was there before is kept in {kept}")
    return 0


def _token(arguments: argparse.Namespace) -> int:
    from api.store import tokens

    what, which = arguments.do_what, arguments.which
    if (which is None) != (what == "list"):
        wanted = {"list": "takes nothing further", "add": "needs a name", "end": "needs an id"}[what]
        raise InputError(f"service token {what}: {wanted}")
    with _database(arguments) as database:
        if what == "list":
            _show(arguments, tokens.page(database, tokens.ROLES, None, _MOST_SHOWN).items, _TOKEN_COLUMNS)
        elif what == "add":
            asked = _asked(which, arguments.role, arguments.days)
            made = tokens.add_named(database, asked.name, asked.role, asked.seconds)
            _log(database, "create_token", f"token {made['id']} ({which}, {arguments.role})")
            print_result(json.dumps(made) if arguments.json else made["token"])
            print_note("the token is shown this once")
        else:
            identity = _whole(database, "tokens", which)
            if not tokens.end(database, tokens.ROLES, identity):
                raise InputError(f"service token end: there is no such token that is still good: {which}")
            _log(database, "end_token", f"token {identity}")
    return 0


def _asked(name: str, role: Literal["admin", "read", "metrics"], days: int | None) -> TokenRequest:
    from api.schemas.requests import TokenRequest

    try:
        return TokenRequest(name, role, days)
    except ValueError as error:
        raise InputError(f"service token add: {error}") from None


def _list(arguments: argparse.Namespace) -> int:
    from api.store import marks
    from api.store.kinds import page

    with _database(arguments) as database:
        shown = marks.are_shown(marks.MARKED[arguments.kind], arguments.archived, None)
        _show(arguments, page(database, arguments.kind, None, _MOST_SHOWN, shown).items, _COLUMNS[arguments.kind])
    return 0


def _change(arguments: argparse.Namespace) -> int:
    from api.store import marks, removal

    kind, change = arguments.kind, arguments.change
    with _database(arguments) as database:
        for identity in [_whole(database, kind, each) for each in arguments.ids]:
            if change == "delete":
                done = removal.remove(database, kind, identity)
                if done is not True and done is not False:
                    raise InputError(f"plan {identity}: {done} runs execute it; delete them first")
            else:
                marks.set_marks(database, kind, identity, archived=change == "archive")
            _log(database, f"{change}_{kind[:-1]}", f"{kind[:-1]} {identity}")
            print_note(f"{kind[:-1]} {identity}: {change}d")
    return 0


def _rename(arguments: argparse.Namespace) -> int:
    from api.schemas.requests import NamedMarkRequest
    from api.store import marks

    try:
        name = NamedMarkRequest(name=arguments.name).name
    except ValueError as error:
        raise InputError(f"service rename: {error}") from None
    with _database(arguments) as database:
        identity = _whole(database, arguments.kind, arguments.id)
        marks.set_marks(database, arguments.kind, identity, name=name)
        _log(database, f"mark_{arguments.kind[:-1]}", f"{arguments.kind[:-1]} {identity}")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    from api.store import tokens

    with _database(arguments) as database:
        for identity in [_whole(database, "devices", each) for each in arguments.ids]:
            if not tokens.revoke_device(database, identity):
                raise InputError(f"device {identity}: is revoked already, or is the service's own machine")
            _log(database, "revoke_device", f"device {identity}")
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    from api.store import audit

    with _database(arguments) as database:
        items = audit.page(database, None, arguments.limit).items
        _show(arguments, items, ("at", "actor", "action", "object", "status"))
    return 0


def _log(database: Database, action: str, what: str) -> None:
    from api.store import audit

    audit.add_local(database, action, what)


def _whole(database: Database, kind: str, beginning: str) -> str:
    """The id that begins so. Raises InputError where there is none, or several."""
    from api.store.kinds import ids_beginning

    found = ids_beginning(database, kind, beginning)
    if len(found) == 1:
        return found[0]
    problem = "begins the ids of several" if found else "there is none of that id, or that begins so"
    raise InputError(f"{kind}: {beginning[:70]!r}: {problem}")


_TOKEN_COLUMNS = ("id", "name", "role", "created_at", "expires_at")
_COLUMNS: dict[str, tuple[str, ...]] = {
    "runs": ("id", "name", "state", "model", "created_at"),
    "plans": ("id", "model", "device", "created_at"),
    "models": ("id", "name", "created_at"),
    "profiles": ("id", "model", "device", "batch", "created_at"),
    "devices": ("id", "name", "kind", "revoked_at", "last_seen_at"),
}


def _show(arguments: argparse.Namespace, items: tuple[dict[str, Any], ...], columns: tuple[str, ...]) -> None:
    if arguments.json:
        print_result(json.dumps(list(items), ensure_ascii=False))
        return
    rows = [columns, *(tuple(_cell(item[name]) for name in columns) for item in items)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
    for row in rows:
        print_result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return str(value["name"])
    return "-" if value is None else str(value)
