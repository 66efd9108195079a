"""The button on a task: where it leads, and that it carries no secret."""

from types import SimpleNamespace

import pytest

from azure_speech.links import SpeechResourceLink
from azure_speech.operators.submit import SubmitTranscriptionsOperator
from azure_speech.sensors.transcriptions import TranscriptionsSensor

KEY = "a-key"
PORTAL = "https://portal.azure.com/#@contoso/resource/speech"


def link(*conn_ids):
    return SpeechResourceLink().get_link(SimpleNamespace(speech_conn_ids=conn_ids), ti_key=None)


@pytest.mark.parametrize(
    ("portal_url", "leads_to"),
    [
        (PORTAL, PORTAL),
        ("https://portal.azure.com/x?sig=secret", "https://portal.azure.com/x"),
        ("javascript:alert(1)", "/connections"),
        (None, "/connections"),
    ],
)
def test_it_leads_to_the_portal_page_or_to_airflow_s_connections(connect, portal_url, leads_to):
    connect(
        "west",
        conn_type="azure_speech",
        host="https://w.example",
        password=KEY,
        extra={"portal_url": portal_url},
    )

    address = link("west")

    assert address.endswith(leads_to)
    assert KEY not in address


def test_a_task_without_a_resource_leads_to_airflow_s_connections():
    assert link().endswith("/connections")


def test_operator_and_sensor_carry_it():
    for kind in (SubmitTranscriptionsOperator, TranscriptionsSensor):
        assert [type(one) for one in kind.operator_extra_links] == [SpeechResourceLink]


def test_the_sensor_knows_its_connections():
    task = TranscriptionsSensor(
        task_id="wait",
        transcriptions=["a", {"resource": "north", "transcription_id": "b"}],
        azure_speech_conn_id="west",
    )

    assert task.speech_conn_ids == ("west", "north")
