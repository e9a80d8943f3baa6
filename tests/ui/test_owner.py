"""The Owner tab: there for those of ``SEGDEMO_ADMINS`` alone, with numbers and no content."""

import http.client
import json
import urllib.parse
from types import SimpleNamespace

import pytest
from serving import served_app
from visiting import Browser, events, number_of

from segdemo.annotations.store import AnnotationStore
from segdemo.core import settings
from segdemo.core.labels import VOC
from segdemo.core.settings import SettingError
from segdemo.ui.tabs.owner import is_owner


def signed_in(url, name, password):
    """The browser of somebody who has signed in."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    body = urllib.parse.urlencode({"username": name, "password": password})
    connection.request("POST", "/login", body, {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    cookies = [value.partition(";")[0] for name, value in answer.getheaders() if name == "set-cookie"]
    connection.close()
    return Browser(url, "; ".join(cookies))


def test_admins_are_names_of_users(monkeypatch):
    monkeypatch.setenv("SEGDEMO_USERS", "ann:secret,bob:other")
    monkeypatch.setenv("SEGDEMO_ADMINS", " ann , ")
    assert settings.admins() == {"ann"}
    monkeypatch.setenv("SEGDEMO_ADMINS", "ann,eve")
    with pytest.raises(SettingError, match="give eve a password"):
        settings.admins()


def test_on_a_space_without_users_they_are_accounts_of_the_hub(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "ann/segdemo")
    monkeypatch.setenv("SEGDEMO_ADMINS", "ann")
    app = SimpleNamespace(cookie_id="id", tokens={"token": "ann"})

    def owner(account=None, cookies=None):
        session = {"oauth_info": {"userinfo": {"sub": "1", "preferred_username": account}}} if account else {}
        bare = SimpleNamespace(app=app, cookies=cookies or {}, scope={"session": session})
        return is_owner(SimpleNamespace(request=bare))

    assert owner("ann")
    assert not owner("bob")
    assert not owner()
    monkeypatch.setenv("SEGDEMO_USERS", "ann:secret,bob:other")  # then the names are those of the page itself
    assert owner(cookies={"access-token-id": "token"})
    assert not owner("ann")


def test_owners_see_numbers_and_clear_and_others_do_not(tmp_path):
    folder = tmp_path / "app"
    theirs = folder / "home" / "workspaces" / "visit-1234"
    AnnotationStore(theirs / "annotations").create("Private things", VOC)
    with served_app(
        folder, SEGDEMO_WORKSPACES="visitors", SEGDEMO_USERS="ann:secret,bob:other", SEGDEMO_ADMINS="ann"
    ) as (url, _):
        ann, bob = signed_in(url, "ann", "secret"), signed_in(url, "bob", "other")
        config = json.loads(ann.get("/config")[1])
        [tab] = [c for c in config["components"] if c["props"].get("id") == "owner"]
        assert tab["props"]["visible"] is False
        look, clear = number_of(config, "owner-look", "click"), number_of(config, "owner-really", "click")
        appear = [e for e in events(config) if tab["id"] in e["outputs"] and e["targets"][0][1] == "load"]
        told = ann.event(look["id"], [None])
        assert "visit-1234" in told
        assert "Batches: 0.0 MB (none)." in told
        assert "Private" not in told
        assert '"visible":true' in ann.event(appear[0]["id"], [None])
        assert '"visible":true' not in bob.event(appear[0]["id"], [None])
        for event, value in ((look, None), (clear, "visit-1234")):
            told = bob.event(event["id"], [value])
            assert "Sign in as one of SEGDEMO_ADMINS" in told
            assert '"visit-1234"' not in told
        assert theirs.is_dir()
        assert "The workspace is cleared." in ann.event(clear["id"], ["visit-1234"])
        assert not theirs.exists()
        assert "There is no workspace" in ann.event(clear["id"], ["visit-1234"])


def test_without_admins_there_is_no_such_tab(tmp_path):
    with served_app(tmp_path / "app") as (url, _):
        config = json.loads(Browser(url).get("/config")[1])
        assert not [c for c in config["components"] if c["props"].get("id") == "owner"]
