"""`neuroflux serve`: the service that hands out plans and keeps profiles and runs."""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from planner.cli import options
from planner.cli.output import print_note, print_stored_result
from planner.errors import InputError
from planner.system.files import make_folder

if TYPE_CHECKING:
    from api.webhook import WebhookSettings

_EPILOG = """\
first time:   neuroflux serve
              curl -H 'Content-Type: application/json' http://127.0.0.1:8000/v1/plans \\
                   -d '{"model": "vgg16", "budget": {"bytes": 314572800}}'

for others:   neuroflux serve --host 0.0.0.0 --admin-token-file admin.token
              curl -X POST -H "Authorization: Bearer $(cat admin.token)" -H 'Content-Type: application/json' \\
                   -d '{}' http://HOST:8000/v1/enrolments       (a token for `neuroflux enroll`)

environment:  NEUROFLUX_DB is --db where that is not given (a password is better kept there)
              NEUROFLUX_DB_PASSWORD_FILE is a file that holds PostgreSQL's password, with whatever signs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to bind to (default 127.0.0.1)")
    parser.add_argument(
        "--port", type=options.count("port", 0, 65535), default=8000, metavar="N", help="default 8000; 0: a free one"
    )
    parser.add_argument(
        "--db", metavar="URL", help="sqlite:///PATH or postgresql://… (default: SQLite in the data folder)"
    )
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="the data folder (default ~/.local/share/neuroflux)"
    )
    parser.add_argument(
        "--admin-token-file",
        type=Path,
        metavar="FILE",
        help="ask for tokens; FILE holds the admin's, and is made if it does not exist",
    )
    parser.add_argument(
        "--host-name",
        action="append",
        default=[],
        metavar="NAME",
        help="another name under which this service is reached (may be given several times)",
    )
    parser.add_argument(
        "--root-path", default="", metavar="PATH", help="where a proxy shows this service, for instance /neuroflux"
    )
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a proxy, or a network of them, that says by X-Forwarded-For and X-Forwarded-Proto who asks and how (may "
        "be given several times)",
    )
    parser.add_argument(
        "--only", choices=("api", "worker"), help="start only the API or only the worker (default: both)"
    )
    parser.add_argument(
        "--keep-samples",
        type=options.duration("keep-samples"),
        metavar="TIME",
        help="samples of runs that ended longer ago (30d, 12h) are thinned, after twice that dropped (default: never)",
    )
    parser.add_argument(
        "--quota",
        type=options.size("quota"),
        metavar="SIZE",
        help="beyond this size of the database (SQLite) the oldest samples go, and then nothing more is taken",
    )
    parser.add_argument(
        "--webhook", metavar="URL", help="tell this address by a signed POST when a run's state changes"
    )
    parser.add_argument(
        "--webhook-secret-file",
        type=Path,
        metavar="FILE",
        help="holds the signature's key, and is made if it does not exist (default: webhook.secret in the data folder)",
    )
    parser.add_argument(
        "--solvers",
        type=options.count("solvers", 1, 64),
        default=2,
        metavar="N",
        help="processes that make plans (default 2)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Bring the database up to date and serve until a signal."""
    check_service()
    from api.settings import ServiceSettings, database_url, default_data_folder
    from api.store.migrate import migrate

    folder: Path = arguments.data_dir or default_data_folder()
    settings = ServiceSettings(
        data_folder=folder,
        database=database_url(
            arguments.db or os.environ.get("NEUROFLUX_DB"), folder, os.environ.get("NEUROFLUX_DB_PASSWORD_FILE")
        ),
        host=arguments.host,
        port=arguments.port,
        authentication=arguments.admin_token_file is not None,
        host_names=tuple(arguments.host_name),
        solver_workers=arguments.solvers,
        root_path=arguments.root_path,
        trusted_proxies=tuple(arguments.trusted_proxy),
        keep_seconds=arguments.keep_samples,
        quota_bytes=arguments.quota,
        webhook=_webhook(arguments, folder),
    )
    make_folder(folder, 0o700)
    migrate(settings.database)
    if arguments.only == "worker":
        from api.jobs.worker import work

        work(settings.database, folder / "worker.alive")
        return 0
    if arguments.admin_token_file is not None:
        _set_admin(settings.database, arguments.admin_token_file)
    from api.server import serve

    serve(settings, arguments.only is None, lambda url: print_stored_result(f"listening on {url}"))
    return 0


def _webhook(arguments: argparse.Namespace, folder: Path) -> WebhookSettings | None:
    from api.secret_files import read_or_make
    from api.store.tokens import new_token
    from api.webhook import WebhookSettings

    if arguments.webhook is None:
        if arguments.webhook_secret_file is not None:
            raise InputError("--webhook-secret-file: is for --webhook, which says where to")
        return None
    WebhookSettings(arguments.webhook, "")  # a wrong address leaves no file behind
    file = arguments.webhook_secret_file or folder / "webhook.secret"
    return WebhookSettings(arguments.webhook, read_or_make(file, new_token()))


def check_service() -> None:
    """Raise InputError where what the service needs is not installed."""
    for name in ("fastapi", "sqlalchemy", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            raise InputError("the service needs the extra `api`: pip install 'neuroflux-planner[api]'")


def _set_admin(database: str, file: Path) -> None:
    from api.secret_files import read_or_make
    from api.store.database import Database
    from api.store.tokens import new_token, set_admin

    token = read_or_make(file, new_token())
    store = Database(database)
    try:
        set_admin(store, token)
    finally:
        store.close()
    print_note(f"the admin's token is in {file}")
