"""RFC 7636: PKCE on device codes, S256 alone (RFC 9700 §2.1.1)."""

import httpx
import pytest

from tests.rfc.parts import approve, begin, poll, said

pytestmark = pytest.mark.anyio

# Appendix B
VERIFIER, CHALLENGE = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
S256 = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}


async def test_7636_4_6_the_verifier_of_the_challenge_gets_the_token(client: httpx.AsyncClient) -> None:
    begun = await begin(client, **S256)
    await approve(client, begun)
    assert (await poll(client, begun, code_verifier=VERIFIER)).status_code == 200


async def test_7636_4_6_without_a_challenge_and_a_verifier_all_is_as_before(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    await approve(client, begun)
    assert (await poll(client, begun)).status_code == 200


async def test_7636_4_6_where_a_challenge_was_sent_no_other_verifier_and_none_will_do(
    client: httpx.AsyncClient,
) -> None:
    begun = await begin(client, **S256)
    others = ["", VERIFIER[:-1] + "x", VERIFIER + "x", CHALLENGE, VERIFIER.upper(), "x", "é" * 43, VERIFIER + "\n"]
    for verifier in others:
        assert said(await poll(client, begun, code_verifier=verifier)) == (400, "invalid_grant")  # pending or not
    await approve(client, begun)
    for verifier in others:
        assert said(await poll(client, begun, code_verifier=verifier)) == (400, "invalid_grant")
    assert (await poll(client, begun, code_verifier=VERIFIER)).status_code == 200  # nothing was used up


async def test_7636_4_6_a_verifier_without_a_challenge_is_refused(client: httpx.AsyncClient) -> None:
    # RFC 9700 §4.8.2: else an attacker could strip the challenge.
    begun = await begin(client)
    await approve(client, begun)
    assert said(await poll(client, begun, code_verifier=VERIFIER)) == (400, "invalid_grant")
    assert (await poll(client, begun)).status_code == 200


async def test_7636_4_6_the_device_code_of_another_does_not_help_with_ones_own_verifier(
    client: httpx.AsyncClient,
) -> None:
    mine, theirs = await begin(client, **S256), await begin(client, **{**S256, "code_challenge": "x" * 43})
    await approve(client, mine)
    await approve(client, theirs)
    assert said(await poll(client, theirs, code_verifier=VERIFIER)) == (400, "invalid_grant")
    assert (await poll(client, mine, code_verifier=VERIFIER)).status_code == 200


async def test_7636_4_4_1_another_method_than_s256_is_an_invalid_request(client: httpx.AsyncClient) -> None:
    for method in ("plain", "", "s256", "S512"):
        form = {"client_id": "tv", "code_challenge": CHALLENGE, "code_challenge_method": method}
        assert said(await client.post("/pair/device_authorization", data=form)) == (400, "invalid_request")


async def test_7636_4_2_a_challenge_that_cannot_be_one_is_an_invalid_request(client: httpx.AsyncClient) -> None:
    for challenge in ("", "x", CHALLENGE[:-1], CHALLENGE + "=", CHALLENGE[:-1] + "+", "é" * 43):
        form = {"client_id": "tv", "code_challenge": challenge, "code_challenge_method": "S256"}
        assert said(await client.post("/pair/device_authorization", data=form)) == (400, "invalid_request")
