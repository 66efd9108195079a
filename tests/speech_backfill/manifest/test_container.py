import pytest

from speech_backfill.errors import EmptyManifest, SourceNotFound
from speech_backfill.manifest.container import AUDIO_SUFFIXES, matcher


@pytest.mark.parametrize(
    ("glob", "matches", "others"),
    [
        ("*.wav", ["a.wav", "x/y/a.WAV"], ["a.wav.txt", "awav"]),
        ("x/*.wav", ["x/a.wav"], ["a.wav", "x/y/a.wav", "z/x/a.wav"]),
        ("**/x/*.wav", ["x/a.wav", "z/x/a.wav"], ["x/y/a.wav", "zx/a.wav"]),
        ("x/**", ["x/a", "x/y/z.mp3"], ["y/x/a"]),
        ("x/**/a.wav", ["x/a.wav", "x/1/2/a.wav"], ["x/1/b.wav"]),
        ("**", ["a", "a/b"], []),
        ("call-?.ogg", ["call-1.ogg"], ["call-12.ogg", "call-/.ogg"]),
        ("[ab]*.wav", ["apple.wav", "x/b.wav"], ["c.wav"]),
        ("[!a]/b.wav", ["x/b.wav"], ["a/b.wav"]),
        ("a+(b).wav", ["a+(b).wav"], ["aab.wav"]),
        ("[.wav", ["[.wav"], ["x.wav"]),
        ("Über *.ogg", ["Über uns.ogg"], []),
    ],
)
def test_globs(glob, matches, others):
    wanted = matcher([glob], [])

    assert [path for path in matches + others if wanted(path)] == matches


def test_without_globs_the_suffixes_of_audio_are_wanted():
    wanted = matcher([], [])

    assert all(wanted(f"x/a.{suffix}") and wanted(f"A.{suffix.upper()}") for suffix in AUDIO_SUFFIXES)
    assert not any(map(wanted, ["a.txt", "wav", "a.wav/b.txt", "a.wave"]))


def test_excluded_paths_are_left_out():
    wanted = matcher([], ["old/**", "*-draft.*"])

    assert list(filter(wanted, ["a.wav", "old/a.wav", "x/a-draft.wav"])) == ["a.wav"]


def test_a_prefix_is_read_with_sizes_etags_and_times(account, read):
    for path in ("calls/a.wav", "calls/x/100% sure #1.OGG", "calls/notes.txt", "calls2/b.wav"):
        account.upload("rec", path, b"abc")

    lines = read("az://rec/calls")

    assert [line.file.url.rpartition("/rec/")[2] for line in lines] == [
        "calls/a.wav",
        "calls/x/100%25%20sure%20%231.OGG",
    ]
    assert [line.number for line in lines] == [1, 2]
    assert all(line.file.size_bytes == 3 and line.file.modified_at for line in lines)
    assert all(line.file.etag and '"' not in line.file.etag for line in lines)


def test_globs_are_relative_to_the_prefix(account, read):
    for path in ("calls/a/1.wav", "calls/b/1.wav"):
        account.upload("rec", path)

    lines = read("https://calls.blob.core.windows.net/rec/calls/?sig=SECRET", include_globs=["a/*"])

    assert [line.file.url for line in lines] == ["https://calls.blob.core.windows.net/rec/calls/a/1.wav"]


def test_a_whole_container_can_be_a_source(account, read):
    account.upload("rec", "a.wav")

    assert len(read("az://rec")) == len(read("az://rec/")) == 1


def test_a_single_blob_can_be_a_source(account, read):
    account.upload("rec", "calls/a.wav")

    (line,) = read("az://rec/calls/a.wav")

    assert line.file.url.endswith("/calls/a.wav")


def test_a_single_blob_that_is_neither_audio_nor_manifest_is_named_so(account, read):
    account.upload("rec", "calls/a.pdf")

    with pytest.raises(EmptyManifest, match="neither audio nor a manifest"):
        read("az://rec/calls/a.pdf")


def test_an_empty_prefix_says_what_was_seen(account, read):
    account.upload("rec", "calls/a.txt")

    with pytest.raises(EmptyManifest, match="1 blobs below it, none matched"):
        read("az://rec/calls/")
    with pytest.raises(EmptyManifest, match="no blob is below it"):
        read("az://rec/nothing/")


def test_a_missing_container_is_not_found(read):
    with pytest.raises(SourceNotFound, match="the container does not exist"):
        read("az://gone/calls/")
