"""Writes the generated pages of docs/ anew: `python -m local.docs`, or `--check` to compare and change nothing.

CONFIGURATION.md follows from the settings, the connection form and the command line's variables, TABLES.md from the
tables' schemas, DAGS.md from the DAG files. No page is made from a running Airflow.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

from local.checkout import Checkout, this_checkout

DAG_IDS = ("speech_backfill_daily", "speech_backfill_manifest", "speech_backfill_repair")

_CONFIGURATION = """# Configuration

Written by `make docs`; change the sentences where they stand: `include/speech_backfill/settings.py`,
`plugins/azure_speech/provider.py` and `local/docs.py`.

Three things are configured: [settings](#settings) by environment variables, [connections](#connections) of Airflow, and
for the command line its own [credentials](#credentials-of-the-command-line), because it has no connections.
The DAGs' forms are in [DAGS.md](DAGS.md), the variables of docker-compose.yaml in `.env.example`.

## Settings

Airflow and the command line read the same variables. Every component of Airflow that runs tasks or triggers needs them.
An empty variable counts as absent. A name that begins with `SPEECH_BACKFILL_` and is none of these is an error, because
it is a typing slip.

| variable | default | range | what it does |
|---|---|---|---|
@SETTINGS@

## Connections

### Type `azure_speech`: one Speech resource

Name them in `SPEECH_BACKFILL_SPEECH_CONNECTIONS`. *Test* in the connection's form lists one transcription, no more.
As a variable: `AIRFLOW_CONN_AZURE_SPEECH_DEFAULT='{"conn_type": "azure_speech", "host": "https://…", "password": "…",
"extra": {"window": 4}}'`.

| field | in JSON | what it holds |
|---|---|---|
@SPEECH_FIELDS@

### Type `wasb`: one storage account

The type belongs to Airflow's Azure provider, and its fields mean what they mean there. Name the connections in
`SPEECH_BACKFILL_STORAGE_CONNECTIONS`. The first that is filled in counts, in this order: connection string, service
principal (`tenant_id`, login, password), `shared_access_key`, `sas_token`, password as account key, `account_key`,
managed identity or the machine's default credential.

What the account must allow depends on what is done with it:

| use | right |
|---|---|
| audio and manifests | read and list (role Storage Blob Data Reader) |
| signing a SAS for each file | the account key, or with Entra ID the right to a user delegation key (role Storage Blob Delegator) |
| the store, where it lies in a container | read, list, write and delete (role Storage Blob Data Contributor) |

A connection with a SAS hands that SAS on to the service as it is: it must outlive the service's queue.

## Credentials of the command line

`<NAME>` is a name of your own in capital letters, and several may be given. Without a key (and without a SAS) the
machine's Entra ID identity is used, as DefaultAzureCredential finds it.

| variable | default | what it holds |
|---|---|---|
@CLI@

## Ports and limits of the local stack

Read by `make demo`, `make up` and `make down`. Ports are remembered in `.stack/ports.json`: Azurite's is part of every
recording's URL, so another port makes every recording a new one.

| variable | default | what it does |
|---|---|---|
@LOCAL@
"""

CLI_VARIABLES = (
    (
        "SPEECH_BACKFILL_RESOURCE_<NAME>_ENDPOINT",
        "",
        "Endpoint of a Speech resource, such as https://westeurope.api.cognitive.microsoft.com. Required for a resource.",
    ),
    ("SPEECH_BACKFILL_RESOURCE_<NAME>_KEY", "Entra ID", "One of its two keys."),
    ("SPEECH_BACKFILL_RESOURCE_<NAME>_REGION", "", "Its region; kept in the ledger."),
    ("SPEECH_BACKFILL_RESOURCE_<NAME>_API_VERSION", "2025-10-15", "Version of the Speech to text REST API."),
    (
        "SPEECH_BACKFILL_RESOURCE_<NAME>_RESIDENCY",
        "",
        "A tag: files that ask for it go to resources that have it, and nowhere else.",
    ),
    (
        "SPEECH_BACKFILL_RESOURCE_<NAME>_WINDOW",
        "4",
        "How many unfinished transcriptions the resource may have.",
    ),
    (
        "SPEECH_BACKFILL_ACCOUNT_<NAME>_ENDPOINT",
        "https://NAME.blob.core.windows.net",
        "Blob endpoint of a storage account; Azurite's ends with the account's name.",
    ),
    ("SPEECH_BACKFILL_ACCOUNT_<NAME>_KEY", "Entra ID", "The account key."),
    ("SPEECH_BACKFILL_ACCOUNT_<NAME>_SAS", "", "A SAS with read and list, where there is no key."),
    (
        "SPEECH_BACKFILL_ACCOUNT_<NAME>_NAME",
        "`<NAME>` in lower case",
        "The account's name. The first account in alphabetical order is the default of az:// URIs.",
    ),
)

LOCAL_VARIABLES = (
    ("AIRFLOW_PORT", "8080", "Port of Airflow's API server and UI."),
    ("AZURITE_PORT", "10000", "Port of Azurite."),
    ("SPEECH_PORT", "8085", "Port of the Speech emulator."),
    ("START_TIMEOUT_SECONDS", "300", "How long the services may take to start."),
    ("DEMO_TIMEOUT_SECONDS", "1800", "How long the demo waits for its DAG run."),
    ("PYTHON", "python3", "The interpreter that the virtual environment is made with."),
)

_DAGS = """# DAGs

Written by `make docs` from the files in `dags/`; change them there. Airflow's UI shows the same manuals on each DAG's
page, and the same fields in the form of *Trigger*.

"""


def pages(checkout: Checkout) -> dict[str, str]:
    """The generated pages by their path below the checkout."""
    from speech_backfill.tables.document import document

    return {
        "docs/CONFIGURATION.md": configuration(),
        "docs/DAGS.md": dags(checkout),
        "docs/TABLES.md": document(),
    }


def configuration() -> str:
    """The page on settings, connections and the command line's variables."""
    from speech_backfill.settings import described

    settings = [
        (_code(name), _code(default) if default else "", allowed.strip(), says)
        for name, default, allowed, says in described()
    ]
    parts = {
        "@SETTINGS@": _rows(settings),
        "@SPEECH_FIELDS@": _rows(_speech_fields()),
        "@CLI@": _rows((_code(name), default, says) for name, default, says in CLI_VARIABLES),
        "@LOCAL@": _rows((_code(name), default, says) for name, default, says in LOCAL_VARIABLES),
    }
    text = _CONFIGURATION
    for mark, rows in parts.items():
        text = text.replace(mark, rows)
    return text


def _speech_fields() -> list[tuple[str, str, str]]:
    from azure_speech.provider import get_provider_info

    connection = get_provider_info()["connection-types"][0]
    behaviour = connection["ui-field-behaviour"]
    rows = [
        (label, _code(field), f"For example: {behaviour['placeholders'][field]}.")
        for field, label in behaviour["relabeling"].items()
    ]
    for name, field in connection["conn-fields"].items():
        default = field["schema"].get("default")
        says = field["description"] + (f" Default: {default}." if default is not None else "")
        rows.append((field["label"], _code(f"extra.{name}"), says))
    return rows


def dags(checkout: Checkout) -> str:
    """The page on the DAGs: for each its manual, what it is made of, and its form."""
    # Airflow writes a configuration file into its home while it is imported.
    with tempfile.TemporaryDirectory(prefix="speech-backfill-docs-") as home:
        os.environ.setdefault("AIRFLOW_HOME", home)
        os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        sys.path.insert(0, str(checkout.root / "dags"))
        try:
            sections = [_dag(getattr(importlib.import_module(name), name)()) for name in DAG_IDS]
        finally:
            sys.path.pop(0)
    return _DAGS + "\n".join(sections)


def _dag(dag: Any) -> str:
    # The manual's headings move one level down, below the DAG's own.
    manual = "\n".join(
        f"#{line}" if line.startswith("#") else line for line in dag.doc_md.strip().splitlines()
    )
    tasks = ", ".join(_code(one.task_id) for one in dag.topological_sort())
    fields = []
    for name in dag.params:
        param = dag.params.get_param(name)
        default = param.resolve(suppress_exception=True)
        fields.append((param.schema["title"], _code(name), _shown(default), param.description or ""))
    return "\n".join(
        [
            manual,
            "",
            f"DAG {_code(dag.dag_id)} · active runs at the most: {dag.max_active_runs} · tags: {', '.join(sorted(dag.tags))}",
            "",
            f"Tasks: {tasks}",
            "",
            "| field | name in the run's conf | default | what it does |",
            "|---|---|---|---|",
            _rows(fields),
            "",
        ]
    )


def _shown(default: Any) -> str:
    if default is None or default in ("", []):
        return "empty"
    return str(default).lower() if isinstance(default, bool) else str(default)


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(one.replace("|", "\\|") for one in row) + " |" for row in rows)


def _code(text: str) -> str:
    return f"`{text}`"


def main(arguments: Sequence[str]) -> int:
    """Write the pages that differ, or with --check only name them."""
    if list(arguments) not in ([], ["--check"]):
        print("usage: python -m local.docs [--check]", file=sys.stderr)
        return 2
    checkout = this_checkout()
    stale = []
    for name, text in pages(checkout).items():
        path = checkout.root / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not arguments:
                path.write_text(text, encoding="utf-8")
    if arguments and stale:
        print(f"Not as the code has it: {', '.join(stale)}. Write them anew: make docs", file=sys.stderr)
        return 1
    print(f"Wrote {', '.join(stale)}." if stale else "Every generated page is as the code has it.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
