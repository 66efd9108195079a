"""The emulator's answers held against Microsoft's OpenAPI and its schemas of result files.

The published files are not part of this project; where the folder `../shared/contract` beside the checkout is
missing, these tests are skipped by name.
"""

import json
import re
from pathlib import Path

import httpx
import jsonschema
import pytest
from referencing import Registry, Resource

from speech_emulator import errors

CONTRACT = Path(__file__).resolve().parents[3] / "shared" / "contract"
RESULT_SCHEMA = "https://speech.microsoft.com/transcriptionresult_v2024-11-15.schema.json"
SPECIFICATIONS = ("2025-10-15/speechtotext.derived.json", "2024-05-15-preview/speechtotext.json")

pytestmark = pytest.mark.skipif(
    not CONTRACT.is_dir(), reason=f"the folder with the published contract is missing: {CONTRACT}"
)


class Specification:
    """One OpenAPI file: finds the schema of an answer and checks the answer against it."""

    def __init__(self, path):
        self.document = json.loads((CONTRACT / path).read_text(encoding="utf-8-sig"))
        # The preview requires two settings that the released versions have renamed or replaced.
        for definition, old in (
            ("TranscriptionProperties", "timeToLive"),
            ("DiarizationProperties", "speakers"),
        ):
            required = self.document["definitions"][definition].get("required", [])
            if old in required:
                required.remove(old)

    def check(self, operation, answer):
        responses = self._operation(operation)["responses"]
        expected = responses.get(str(answer.status_code))
        if expected is None:
            assert answer.status_code >= 400, f"{operation} has no answer {answer.status_code}"
            expected = responses["default"]
        for header in expected.get("headers", {}):
            if header != "Retry-After":
                assert header.lower() in answer.headers
        if "schema" in expected:
            self.validate(expected["schema"], answer.json())
        else:
            assert answer.content == b""

    def validate(self, schema, value):
        whole = {"definitions": self.document["definitions"], **schema}
        jsonschema.Draft4Validator(whole, format_checker=jsonschema.FormatChecker()).validate(value)

    def properties_of(self, definition):
        found = self.document["definitions"][definition]
        inherited = [self.properties_of(part["$ref"].rpartition("/")[2]) for part in found.get("allOf", ())]
        return set(found.get("properties", {})).union(*inherited)

    def _operation(self, name):
        for path in self.document["paths"].values():
            for found in path.values():
                if isinstance(found, dict) and found.get("operationId") == name:
                    return found
        raise AssertionError(f"the specification has no operation {name}")


@pytest.fixture(params=SPECIFICATIONS)
def specification(request):
    return Specification(request.param)


@pytest.fixture
async def busy(service_with):
    """A service with one transcription of every status and a webhook."""

    def outside(request):
        return httpx.Response(200, text=request.url.params.get("validationToken", ""))

    service = await service_with(outside=outside)
    await service.fault("files_fail", files="*", match="failed", id="f")
    await service.fault("never_ends", match="running", id="n")
    full = {
        "customProperties": {"a": "b"},
        "description": "d",
        "project": {"self": "https://speech.test/projects/1"},
        "model": {"self": "https://speech.test/models/base/1"},
        "properties": {
            "wordLevelTimestampsEnabled": True,
            "displayFormWordLevelTimestampsEnabled": True,
            "diarization": {"enabled": True, "maxSpeakers": 2},
            "languageIdentification": {"candidateLocales": ["en-US", "de-DE"], "mode": "Continuous"},
        },
    }
    service.made = {
        name: await service.submit(displayName=name, **full) for name in ("succeeded", "failed", "running")
    }
    await service.advance(1)
    service.made["waiting"] = await service.submit(displayName="waiting")
    return service


TRANSCRIPTIONS = "/speechtotext/transcriptions"


async def test_every_operation_answers_as_specified(busy, specification, submission):
    check, made = specification.check, busy.made["succeeded"]
    files = made["links"]["files"]
    check("Transcriptions_Submit", await busy.request("POST", f"{TRANSCRIPTIONS}:submit", json=submission()))
    check("Transcriptions_Submit", await busy.request("POST", f"{TRANSCRIPTIONS}:submit", json={}))
    for one in busy.made.values():
        check("Transcriptions_Get", await busy.get(one["self"]))
        check("Transcriptions_ListFiles", await busy.get(one["links"]["files"]))
    for query in ({}, {"top": "2"}, {"filter": "status eq 'Failed'"}, {"filter": "nonsense"}, {"top": "-1"}):
        check("Transcriptions_List", await busy.get(TRANSCRIPTIONS, params=query))
    check("Transcriptions_Get", await busy.get(f"{TRANSCRIPTIONS}/00000000-0000-0000-0000-000000000000"))
    check("Transcriptions_Get", await busy.get(made["self"], headers={"Ocp-Apim-Subscription-Key": "wrong"}))
    check("Transcriptions_Update", await busy.request("PATCH", made["self"], json={"description": "new"}))
    check("Transcriptions_ListSupportedLocales", await busy.get(f"{TRANSCRIPTIONS}/locales"))
    check("Transcriptions_ListFiles", await busy.get(files))
    check("Transcriptions_GetFile", await busy.get((await busy.files(made))[0]["self"]))
    check("Transcriptions_Delete", await busy.request("DELETE", busy.made["waiting"]["self"]))
    check("Transcriptions_Delete", await busy.request("DELETE", made["self"]))
    models = await busy.get("/speechtotext/models/base")
    check("Models_ListBaseModels", models)
    check("Models_GetBaseModel", await busy.get(models.json()["values"][0]["self"]))


async def test_every_webhook_operation_answers_as_specified(busy, specification):
    check, hooks = specification.check, "/speechtotext/webhooks"
    body = {"displayName": "h", "webUrl": "http://r.test/", "events": {"transcriptionCompletion": True}}
    made = await busy.request("POST", hooks, json=body)
    check("WebHooks_Create", made)
    check("WebHooks_Create", await busy.request("POST", hooks, json={}))
    hook = made.json()
    await busy.settle()
    check("WebHooks_List", await busy.get(hooks))
    check("WebHooks_Get", await busy.get(hook["self"]))
    check("WebHooks_Update", await busy.request("PATCH", hook["self"], json={"displayName": "i"}))
    check("WebHooks_Ping", await busy.request("POST", hook["links"]["ping"]))
    check("WebHooks_Test", await busy.request("POST", hook["links"]["test"]))
    check("WebHooks_Delete", await busy.request("DELETE", hook["self"]))


async def test_no_answer_has_a_property_that_is_not_specified(busy):
    specification = Specification(SPECIFICATIONS[0])
    made = busy.made["succeeded"]
    shown = await busy.shown(made)
    assert set(shown) <= specification.properties_of("Transcription")
    assert set(shown["properties"]) <= specification.properties_of("TranscriptionProperties")
    for file in await busy.files(made):
        assert set(file) <= specification.properties_of("File")
    model = (await busy.get("/speechtotext/models/base")).json()["values"][0]
    assert set(model) <= specification.properties_of("BaseModel")


def test_every_error_code_is_a_published_one():
    codes = set(Specification(SPECIFICATIONS[0]).document["definitions"]["ErrorCode"]["enum"])
    detailed = set(Specification(SPECIFICATIONS[0]).document["definitions"]["DetailedErrorCode"]["enum"])
    source_folder = Path(errors.__file__).parent
    source = "\n".join(path.read_text(encoding="utf-8") for path in source_folder.rglob("*.py"))
    assert set(re.findall(r'ServiceError\(\s*"(\w+)"', source)) <= codes
    found = set(re.findall(r'inner="(\w+)"|invalid\([^()]*, "(\w+)"', source))
    named = {one or other for one, other in found}
    assert len(named) > 5
    assert named <= detailed
    assert set(errors.STATUS_OF_CODE) | set(errors.CODE_OF_STATUS.values()) <= codes


@pytest.fixture
def result_validator():
    schemas = [
        json.loads(path.read_text(encoding="utf-8-sig"))
        for path in (CONTRACT / "result-schemas").glob("*.schema.json")
    ]
    for schema in schemas:
        _drop_inner_ids(schema)
    registry = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in schemas
    )
    return jsonschema.Draft7Validator({"$ref": RESULT_SCHEMA}, registry=registry)


def _drop_inner_ids(schema, *, outermost=True):
    # Ids such as "#root/items" inside the published files are labels; as identifiers they would move references.
    if isinstance(schema, dict):
        if not outermost and isinstance(schema.get("$id"), str):
            del schema["$id"]
        for value in schema.values():
            _drop_inner_ids(value, outermost=False)
    elif isinstance(schema, list):
        for value in schema:
            _drop_inner_ids(value, outermost=False)


async def test_result_files_obey_the_published_schema(busy, result_validator):
    for name, content in (await busy.results(busy.made["succeeded"])).items():
        if name != "report.json":
            assert content["recognizedPhrases"][0]["nBest"][0]["words"]
            result_validator.validate(content)


async def test_a_silent_result_obeys_the_published_schema(result_validator):
    from speech_emulator.config import Guesses
    from speech_emulator.recognisers.model import Recognised
    from speech_emulator.result_files import Shape, result

    shape = Shape(
        words=True,
        display_words=True,
        profanity="Masked",
        punctuation="None",
        diarization=False,
        phrase_locale=None,
    )
    result_validator.validate(result(Recognised(1000, (0,), ()), "s", 0.0, shape, Guesses()))


async def test_the_schema_test_can_fail(busy, result_validator):
    content = (await busy.results(busy.made["succeeded"]))["contenturl_0.json"]
    del content["recognizedPhrases"][0]["nBest"][0]["words"][0]["confidence"]
    with pytest.raises(jsonschema.ValidationError):
        result_validator.validate(content)
