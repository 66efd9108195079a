import pytest
from obstore.exceptions import GenericError, NotFoundError, PermissionDeniedError

from speech_backfill.accounts import AccountKey, Identity, SasToken, StorageAccount
from speech_backfill.errors import SourceNotFound, SourceRefused
from speech_backfill.manifest.errors import SourceUnreachable
from speech_backfill.manifest.faults import explained, first_answer, said

_LISTING = (
    "Generic MicrosoftAzure error: Error performing list request: Error performing GET "
    "https://calls.blob.core.windows.net/rec?comp=list&sig=SECRET in 4ms - Server returned non-2xx status code: "
    '{status}: <?xml version="1.0"?><Error><Code>{code}</Code><Message>SECRET</Message></Error>'
)


def _explained(error, credential=AccountKey("a2V5")):  # noqa: B008
    account = StorageAccount("calls", "https://calls.blob.core.windows.net", credential)
    with explained("az://rec/", account):
        raise error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotFoundError("x"), SourceNotFound),
        (PermissionDeniedError("x"), SourceRefused),
        (GenericError(_LISTING.format(status="404 Not Found", code="ContainerNotFound")), SourceNotFound),
        (GenericError(_LISTING.format(status="403 Forbidden", code="AuthenticationFailed")), SourceRefused),
        (
            GenericError(_LISTING.format(status="401 Unauthorized", code="NoAuthenticationInformation")),
            SourceRefused,
        ),
        (GenericError(_LISTING.format(status="404 Not Found", code="Nothing")), SourceUnreachable),
        (GenericError(_LISTING.format(status="503 Busy", code="ServerBusy")), SourceUnreachable),
        (TimeoutError(), SourceUnreachable),
    ],
)
def test_every_fault_of_the_client_becomes_an_error_of_the_source_without_secrets(error, expected):
    with pytest.raises(expected) as caught:
        _explained(error)

    assert "SECRET" not in str(caught.value)
    assert "az://rec/" in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("credential", "expected"),
    [
        (AccountKey("a2V5"), "the credential of account calls was refused (403, AuthenticationFailed)"),
        (
            SasToken("sv=1&se=2020-01-02T03:04:00Z&sig=SECRET"),
            "the SAS of account calls expired at 2020-01-02 03:04 UTC",
        ),
        (SasToken("sv=1&se=2999-01-02T03:04:00Z&sig=SECRET"), "the SAS of account calls was refused"),
        (Identity(None), "the credential of account calls was refused"),
    ],
)
def test_a_refusal_names_the_account_and_what_is_wrong_with_its_credential(credential, expected):
    with pytest.raises(SourceRefused) as caught:
        _explained(
            GenericError(_LISTING.format(status="403 Forbidden", code="AuthenticationFailed")), credential
        )

    assert expected in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_what_the_client_says_is_cut_before_the_servers_document():
    told = said(GenericError(_LISTING.format(status="500 Oops", code="InternalError")))

    assert told.endswith("status code: 500 Oops")
    assert "SECRET" not in told


def test_an_error_in_the_first_answer_comes_through():
    def call():
        raise KeyError("x")

    with pytest.raises(KeyError):
        first_answer(call)


def test_the_first_answer_is_handed_over():
    assert first_answer(lambda: 7) == 7
