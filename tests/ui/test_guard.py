"""Sign-in, cookies, other sites and headers, on the running page."""

import gzip
import http.client
import json
import urllib.parse
import urllib.request
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from answering import Handler, answering
from serving import served_app

from segdemo.core.workspace import Workspace, entered
from segdemo.ui.guard import HEADERS, certain_person, password_check, person


def ask(url, method, path, body=None, **headers):
    """(status, headers as a list, body) of one request."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): v for name, v in headers.items()})
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read().decode("utf-8", "replace")
    finally:
        connection.close()


def sign_in(url, password, name="ann", **headers):
    body = urllib.parse.urlencode({"username": name, "password": password})
    return ask(url, "POST", "/login", body, Content_Type="application/x-www-form-urlencoded", **headers)


def cookies(headers):
    return [value for name, value in headers if name.lower() == "set-cookie"]


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """The page with accounts: its address."""
    with served_app(tmp_path_factory.mktemp("guard") / "app", SEGDEMO_USERS="ann:secret,bob:other") as (
        url,
        _,
    ):
        yield url


@pytest.fixture(scope="module")
def open_page(tmp_path_factory):
    with served_app(tmp_path_factory.mktemp("guard") / "app") as (url, _):
        yield url


def test_cookies_are_kept_from_scripts_and_other_sites(signed):
    status, headers, _ = sign_in(signed, "secret")
    assert status == 200
    told = cookies(headers)
    assert len(told) == 2
    assert all("httponly" in cookie.lower() and "samesite=" in cookie.lower() for cookie in told)
    assert any(
        "samesite=lax" in cookie.lower() and "secure" not in cookie.lower().split("; ") for cookie in told
    )
    _, headers, _ = sign_in(signed, "secret", X_Forwarded_Proto="https")
    assert all("; secure" in cookie.lower() for cookie in cookies(headers))
    assert "strict-transport-security" in {name.lower() for name, _ in headers}


def test_another_site_is_a_stranger_even_with_cookies(signed):
    _, headers, _ = sign_in(signed, "secret")
    cookie = "; ".join(told.partition(";")[0] for told in cookies(headers))
    host = urllib.parse.urlsplit(signed).netloc
    own = f"http://{host}"
    assert ask(signed, "GET", "/config", Cookie=cookie)[0] == 200
    assert ask(signed, "GET", "/config", Cookie=cookie, Origin=own)[0] == 200
    for foreign in ("https://elsewhere.example", "null", f"https://{host}.elsewhere.example"):
        assert ask(signed, "GET", "/config", Cookie=cookie, Origin=foreign)[0] == 401
        join = json.dumps({"data": [], "fn_index": 0, "session_hash": "x"})
        kind = {"Content_Type": "application/json", "Origin": foreign, "Cookie": cookie}
        assert ask(signed, "POST", "/gradio_api/queue/join", join, **kind)[0] == 401
    picture = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Cookie": cookie}
    assert ask(signed, "GET", "/config", **picture)[0] == 401
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Cookie": cookie}
    assert ask(signed, "GET", "/config", **link)[0] == 200


def test_another_site_signs_nobody_in(signed):
    """Who does not notice would label in the account of whoever made that site."""
    status, headers, _ = sign_in(signed, "secret", Origin="https://elsewhere.example")
    assert status == 403 and not cookies(headers)
    own = f"http://{urllib.parse.urlsplit(signed).netloc}"
    assert sign_in(signed, "secret", Origin=own)[0] == 200


def test_whoever_looks_after_the_server_asks_it_without_signing_in(signed, open_page):
    for url in (signed, open_page):
        status, headers, text = ask(url, "GET", "/healthz")
        assert (status, text) == (200, "ok")
        told = {name.lower(): value for name, value in headers}
        assert "set-cookie" not in told and told["cache-control"] == "no-store"
        assert told["x-content-type-options"] == "nosniff"
        assert ask(url, "HEAD", "/healthz")[::2] == (200, "")
    assert ask(signed, "POST", "/healthz")[0] != 200
    assert ask(signed, "GET", "/config")[0] == 401


def test_passwords_cannot_be_tried_out(signed):
    """By one who also tells another address each time, as a proxy would."""
    for _ in range(5):
        assert sign_in(signed, "wrong", "bob")[0] == 400
    status, headers, text = sign_in(signed, "other", "bob")  # the right one, too late
    assert status == 429
    assert "Too many wrong passwords: try again in" in text
    assert {name.lower(): value for name, value in headers}["retry-after"].isdecimal()
    assert sign_in(signed, "secret")[0] == 200  # others are not meant


def test_fifty_wrong_passwords_from_anywhere_are_enough(monkeypatch):
    check = password_check([("ann", "secret")])
    for number in range(50):
        monkeypatch.setattr("segdemo.ui.guard._caller", _Constant(f"10.0.0.{number}"))
        assert not check("ann", "wrong")
    with pytest.raises(Exception, match="Too many wrong passwords") as refused:
        check("ann", "secret")
    assert refused.value.status_code == 429
    assert not check("nobody", "")  # a name there is not has no password that is right


class _Constant:
    def __init__(self, value):
        self._value = value

    def get(self):
        return self._value


def test_each_browser_gets_a_mark_of_its_own_once(open_page):
    marks = [cookies(ask(open_page, "GET", "/")[1]) for _ in range(2)]
    (one,), (two,) = marks
    assert one.startswith("segdemo-visit=") and "httponly" in one.lower() and "samesite=lax" in one.lower()
    assert one.partition(";")[0] != two.partition(";")[0]
    assert not cookies(ask(open_page, "GET", "/", Cookie=one.partition(";")[0])[1])


def test_who_saves_is_told_apart_by_name_or_browser():
    app = SimpleNamespace(cookie_id="c", tokens={"t": "ann"})

    def told(host="192.0.2.1", **cookies):
        cookies = {k.replace("_", "-"): v for k, v in cookies.items()}
        return person(
            SimpleNamespace(app=app, headers={}, client=SimpleNamespace(host=host), cookies=cookies)
        )

    assert told(access_token_c="t") == told(access_token_unsecure_c="t", segdemo_visit="x") == "ann"
    visits = [told(segdemo_visit=mark) for mark in ("one", "two", "one")]
    assert visits[0] == visits[2] != visits[1]
    assert "one" not in visits[0]
    assert told(access_token_c="forged") == told() != visits[0]
    assert told("192.0.2.2") != told()
    assert person(None) == ""


def test_browsers_are_told_what_to_refuse(open_page):
    for path in ("/", "/config", "/gradio_api/info"):
        _, headers, _ = ask(open_page, "GET", path)
        told = {name.lower(): value for name, value in headers}
        assert {name.lower() for name in HEADERS} <= told.keys(), path
    assert "https://huggingface.co" in told["content-security-policy"]  # the frame of a Space


def test_the_page_is_sent_packed_to_whoever_unpacks(open_page):
    for path in ("/", "/config"):
        request = urllib.request.Request(open_page.rstrip("/") + path)
        plain = urllib.request.urlopen(request, timeout=60).read()
        request.add_header("Accept-Encoding", "gzip")
        with urllib.request.urlopen(request, timeout=60) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            packed = response.read()
        assert len(packed) < 0.3 * len(plain)
        # Paths of files have random parts
        assert len(gzip.decompress(packed)) == pytest.approx(len(plain), rel=0.01)


def test_a_request_that_claims_to_be_huge_is_not_read(open_page):
    kind = {"Content_Type": "application/json", "Content_Length": str(10**10)}
    assert ask(open_page, "POST", "/gradio_api/queue/join", b"", **kind)[0] == 413


@contextmanager
def inner_service():
    """Something on the server's own network: yields (its address, the paths somebody asked for)."""
    asked = []

    class Inner(Handler):
        def do_GET(self):
            asked.append(self.path)
            self.tell({})

    with answering(Inner) as (address, _):
        yield address, asked


def test_the_server_fetches_nothing_that_a_visitor_names(open_page):
    with inner_service() as (address, asked):
        for form in (
            {"path": f"{address}/a.png"},
            {"path": f"{address}/b.png", "meta": {"_type": "gradio.FileData"}},
            {"path": "x", "url": f"{address}/c.png", "meta": {"_type": "gradio.FileData"}},
            {"path": "", "url": f"{address}/d.png"},
            f"{address}/e.png",
        ):
            body = json.dumps({"data": [form, "deeplabv3"]})
            status, _, text = ask(
                open_page, "POST", "/gradio_api/call/segment", body, Content_Type="application/json"
            )
            if status == 200:
                _, _, text = ask(open_page, "GET", f"/gradio_api/call/segment/{json.loads(text)['event_id']}")
                assert "event: error" in text
        ask(open_page, "GET", f"/gradio_api/proxy={address}/f.png")
        ask(open_page, "GET", f"/gradio_api/file={address}/g.png")
        assert asked == []


def test_an_origin_that_is_no_address_is_another_site(signed):
    _, headers, _ = sign_in(signed, "secret")
    cookie = "; ".join(told.partition(";")[0] for told in cookies(headers))
    for origin in ("http://[", "http://]", "//[x"):
        assert ask(signed, "GET", "/config", Cookie=cookie, Origin=origin)[0] == 401
        assert ask(signed, "GET", "/healthz", Origin=origin)[0] == 200


def test_what_a_page_without_a_cookie_leaves_is_nobodys_so_that_its_id_finds_it(tmp_path):
    """The page calls itself another name when it is loaded anew."""
    for id_, owner in (("visit-1", "visit-1"), ("user-ann-1", "user-ann-1"), ("page-1", "")):
        with entered(Workspace(id_, tmp_path)):
            assert certain_person(None) == owner
