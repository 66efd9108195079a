"""What the demo uploads, shows and refuses; the run itself is tested by running it."""

import pytest

from local.checkout import this_checkout
from local.demo import Memory, Task, chosen, judge_own, own, shipped, unneeded_transcriptions
from local.errors import DemoFailedError, NoRecordingsError
from local.expected import ExpectedChannel, Outcome, judge
from local.published import blob_name, reason, text
from local.upload import Uploaded, audio_files, md5

NEW = Uploaded(files=3, new=3, bytes=9)
SAME = Uploaded(files=3, new=0, bytes=9)
TASK = Task("demo", "calls/", (), ())


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_the_shipped_recordings_go_where_the_expectations_name_them():
    task = shipped(this_checkout())

    assert task.source == "az://recordings/calls/"
    assert {name for _, name in task.files} == {row.path for row in task.expected}


def test_a_folder_is_searched_for_audio_in_every_depth_and_spelling(tmp_path):
    put(tmp_path, "b.wav", "a/c d.MP3", "a/Ä/x.opus", "notes.txt", "a/.wav/y.amr", "mp3")

    found = [path.relative_to(tmp_path).as_posix() for path in audio_files(tmp_path)]

    assert found == sorted(["b.wav", "a/c d.MP3", "a/Ä/x.opus", "a/.wav/y.amr"])


def test_a_folder_of_the_users_own_gets_a_prefix_and_a_partition_of_its_own(tmp_path):
    put(tmp_path, "one/a.wav", "two/a.wav")

    one, again, two = own(tmp_path / "one"), own(tmp_path / "two" / ".." / "one"), own(tmp_path / "two")

    assert one == again
    assert one.prefix != two.prefix
    assert one.partition != two.partition
    assert [name for _, name in one.files] == [f"{one.prefix}a.wav"]


def test_a_folder_without_audio_is_refused_with_the_endings_that_are_looked_for(tmp_path):
    put(tmp_path, "notes.txt")

    with pytest.raises(NoRecordingsError, match=r"\.flac"):
        own(tmp_path)


def test_transcribing_again_what_was_transcribed_before_is_a_problem(tmp_path):
    memory = Memory(tmp_path / "demo.json")
    assert unneeded_transcriptions(memory, TASK, SAME, 3) == []

    memory.add("demo")

    assert unneeded_transcriptions(memory, TASK, SAME, 3)
    assert unneeded_transcriptions(memory, TASK, SAME, 0) == []
    assert unneeded_transcriptions(memory, TASK, NEW, 3) == []


def test_the_memory_keeps_every_partition(tmp_path):
    memory = Memory(tmp_path / "demo.json")
    memory.add("demo")
    memory.add("own-1")
    memory.add("demo")

    assert Memory(tmp_path / "demo.json").partitions() == ["demo", "own-1"]


def test_a_recording_of_the_users_own_must_have_an_outcome_and_a_failure_a_reason(tmp_path):
    put(tmp_path, "a.wav", "b.wav", "c.wav")
    task = own(tmp_path)
    a, b, c = (name for _, name in task.files)

    assert judge_own(task, {name: Outcome("transcribed", "", {}) for name in (a, b, c)}).problems == []
    assert judge_own(
        task, {a: Outcome("failed", "InvalidData", {}), b: Outcome("failed", "", {})}
    ).problems == [
        f"{c} is not in the table outcomes",
        f"{b} is failed, but without a reason",
    ]


def test_what_is_shown_holds_a_whole_call_and_what_was_heard_worst():
    expected = [ExpectedChannel(f"{number}.ogg", 0, "good morning", "transcribed") for number in range(9)]
    expected += [ExpectedChannel("call.ogg", channel, "good morning", "transcribed") for channel in (0, 1)]
    outcomes = {
        row.path: Outcome("transcribed", "", {0: "good morning", 1: "good morning"}) for row in expected
    }
    outcomes["7.ogg"] = Outcome("transcribed", "", {0: "what"})

    shown = chosen(expected, judge(expected, outcomes))

    assert [(row.path, row.channel) for row in shown[:3]] == [("call.ogg", 0), ("call.ogg", 1), ("7.ogg", 0)]
    assert len(shown) == len(set(shown)) == 6


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://127.0.0.1:1/devstoreaccount1/recordings/calls/a%20b%23.ogg", "calls/a b#.ogg"),
        ("http://127.0.0.1:1/devstoreaccount1/recordings/calls/100%25+%C3%BC.ogg", "calls/100%+ü.ogg"),
    ],
)
def test_a_blob_is_known_by_the_name_it_was_uploaded_under(url, name):
    assert blob_name(url) == name


def test_a_cell_without_a_text_is_no_text():
    assert text(None) == text(float("nan")) == ""
    assert reason({"error_code": "InvalidData", "error_message": None}) == "InvalidData"


def test_a_failed_demo_names_a_few_problems_and_counts_the_rest(tmp_path):
    message = str(DemoFailedError([f"problem {number}" for number in range(30)], tmp_path))

    assert "problem 9" in message
    assert "problem 10" not in message
    assert "and 20 more" in message


@pytest.mark.azurite
def test_an_upload_leaves_a_blob_with_the_same_bytes_alone(azurite, tmp_path):
    from azure.storage.blob import ContainerClient

    from local import upload

    connection_string = (
        "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
        f"AccountKey={this_key()};BlobEndpoint={azurite};"
    )
    put(tmp_path, "a b.wav", "c.wav")
    files = [(path, f"calls/{path.name}") for path in audio_files(tmp_path)]
    upload.containers(connection_string, ["local-upload"])
    upload.containers(connection_string, ["local-upload"])

    first = upload.upload(connection_string, "local-upload", files)
    with ContainerClient.from_connection_string(connection_string, "local-upload") as client:
        before = {blob.name: blob.etag for blob in client.list_blobs()}
        second = upload.upload(connection_string, "local-upload", files)
        (tmp_path / "c.wav").write_bytes(b"other")
        third = upload.upload(connection_string, "local-upload", files)
        after = {blob.name: blob.etag for blob in client.list_blobs()}

    assert (first.files, first.new, first.bytes) == (2, 2, 2)
    assert second.new == 0
    assert third.new == 1
    assert after["calls/a b.wav"] == before["calls/a b.wav"]
    assert after["calls/c.wav"] != before["calls/c.wav"]


def this_key():
    from local.azurite import WELL_KNOWN_KEY

    return WELL_KNOWN_KEY


def test_the_digest_of_a_file_is_the_one_that_blob_storage_states(tmp_path):
    put(tmp_path, "a.wav")

    assert md5(tmp_path / "a.wav").hex() == "9dd4e461268c8034f5c8564e155c67a6"
