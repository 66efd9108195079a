"""Registers the shell's operator link with Airflow; the only file of the shell that the plugin loader runs."""

from __future__ import annotations

from airflow.sdk.plugins_manager import AirflowPlugin

from azure_speech.links import SpeechResourceLink


class AzureSpeechPlugin(AirflowPlugin):
    """Links of the shell's operators."""

    name = "azure_speech"
    operator_extra_links = [SpeechResourceLink()]  # noqa: RUF012  # Airflow's own attribute, a list by its contract
