"""Photos that are given by an address of the web: fetched as Gradio does it, but no more than a photo may have.

Gradio fetches what a call names as a file, from public addresses alone, for agents above all. It holds all of the
answer in memory, however much that is, and waits as long as something comes.
"""

import asyncio
from urllib.parse import urljoin

import gradio as gr
import httpx
import safehttpx  # type: ignore[import-untyped]
from gradio import processing_utils

from segdemo.core.photos import Limits

MOST_AT_ONCE = 4  # answers that are held at a time
SECONDS = 30  # that one may take
_fetching: set[object] = set()


async def fetch(url: str) -> httpx.Response:
    """What an address answers, read to its end; redirections are followed, to public addresses.

    Raises:
        gr.Error: no public address, or no answer with a file; it is larger than a photo may be, takes too long, or too
            many are being fetched.
    """
    if len(_fetching) >= MOST_AT_ONCE:
        raise _refusal(
            "Too many photos are being fetched from elsewhere: upload yours, or try again in a minute."
        )
    mark = object()
    _fetching.add(mark)
    try:
        async with asyncio.timeout(SECONDS):
            for _ in range(processing_utils.MAX_REDIRECTS + 1):
                answer, further = await _one(url, Limits.from_env().max_bytes)
                if further is None:
                    return answer
                url = further
        raise _refusal("This address leads from one to the next without end: upload the photo.")
    except gr.Error:  # a ValueError, too
        raise
    except TimeoutError:
        raise _refusal(f"This address did not give its photo within {SECONDS} seconds: upload it.") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:  # also of ones own network
        raise _refusal(
            "This address gives no photo, or none to everybody: check it, or upload the photo."
        ) from error
    finally:
        _fetching.discard(mark)


async def _one(url: str, most: int) -> tuple[httpx.Response, str | None]:
    """The answer of one address, and the address that it leads to, if it does."""
    host = httpx.URL(url).host
    trusted = safehttpx.matches_domain_whitelist(host, processing_utils.PUBLIC_HOSTNAME_WHITELIST)
    transport = None if trusted else safehttpx.AsyncSecureTransport(await safehttpx.async_validate_url(host))
    async with (
        httpx.AsyncClient(transport=transport) as client,
        client.stream("GET", url, follow_redirects=False) as response,
    ):
        if response.has_redirect_location:
            return response, urljoin(str(response.url), response.headers["Location"])
        if response.status_code != httpx.codes.OK:
            raise ValueError(f"it answers with {response.status_code}")
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > most:
                raise _refusal(
                    f"What this address gives has more than the {most / 1e6:g} MB that a photo may have: upload it."
                )
        return httpx.Response(response.status_code, content=bytes(body)), None


def _refusal(sentence: str) -> gr.Error:
    return gr.Error(sentence, print_exception=False)


def limit() -> None:
    """Have Gradio fetch with ``fetch`` from now on. Twice does no harm."""
    processing_utils.async_ssrf_protected_get = fetch
