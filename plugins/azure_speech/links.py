"""The button on a task that submits or waits: leads to where a person can see the Speech resource. Holds no secret.

A transcription's own address needs the resource's key, so a browser could not open it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook, BaseOperatorLink, conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class SpeechResourceLink(BaseOperatorLink):
    """The Speech resource: the connection's Azure portal page, or Airflow's connections where it names none."""

    @property
    def name(self) -> str:
        """What the button says."""
        return "Speech resource"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Computed on the worker at the end of every leg, so that a task that waits has it already."""
        for conn_id in getattr(operator, "speech_conn_ids", ()):
            page = BaseHook.get_connection(conn_id).extra_dejson.get("portal_url")
            if isinstance(page, str) and page.startswith("https://"):
                return page.split("?", 1)[0]
        return f"{conf.get('api', 'base_url', fallback='').rstrip('/')}/connections"
