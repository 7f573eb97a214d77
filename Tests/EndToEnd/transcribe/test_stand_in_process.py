"""The stand-in of Amazon Transcribe is a process that ends when it is told to, and speaks TLS, rightly or wrongly."""

import asyncio
import ssl

import pytest

from transcribe import Certificate, indexed_audio, indexed_words, words_of
from transcribe_client import TranscribeClient


def test_ends_at_once_when_asked_to(own_stand_in):
    stand_in = own_stand_in(mode="words")
    stand_in.fault("stall", stream=1)
    stand_in.fault("hang", stream=2)
    stand_in.fault("mute", stream=3)

    async def talk():
        async with TranscribeClient(stand_in.url) as stalled:
            hanging = asyncio.create_task(TranscribeClient(stand_in.url).__aenter__())
            while len(await asyncio.to_thread(stand_in.streams)) < 2:
                await asyncio.sleep(0.01)
            async with TranscribeClient(stand_in.url) as muted:
                await muted.send(bytes(320))
                assert await asyncio.to_thread(stand_in.stop) == 0
                await asyncio.gather(stalled.closed(), muted.closed())
                with pytest.raises(Exception):
                    await hanging

    asyncio.run(talk())
    port = stand_in.port
    stand_in.start()
    assert stand_in.port == port and stand_in.streams() == []
    assert "Traceback" not in stand_in.log()


def test_speaks_tls_with_the_certificate_it_is_given(own_stand_in, tmp_path):
    right = Certificate(tmp_path, "127.0.0.1")
    stand_in = own_stand_in(certificate=right)

    async def talk(authority):
        context = ssl.create_default_context(cafile=str(authority))
        async with TranscribeClient(stand_in.url, ssl=context) as client:
            return words_of((await client.stream(indexed_audio(1.0))).finals)

    assert asyncio.run(talk(right.authority)) == indexed_words(1.0)
    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(talk(Certificate(tmp_path, "elsewhere.example").authority))


@pytest.mark.parametrize("wrong", ["name", "expired"])
def test_can_have_a_certificate_that_is_wrong(own_stand_in, tmp_path, wrong):
    names = ["elsewhere.example"] if wrong == "name" else ["127.0.0.1"]
    certificate = Certificate(tmp_path, *names, expired=wrong == "expired")
    stand_in = own_stand_in(certificate=certificate)
    stand_in.host = "127.0.0.1"

    async def talk():
        context = ssl.create_default_context(cafile=str(certificate.authority))
        async with TranscribeClient(stand_in.url, ssl=context):
            raise AssertionError("accepted")

    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch" if wrong == "name" else "expired"):
        asyncio.run(talk())
