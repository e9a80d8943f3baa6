"""A Space is made and renewed, on a Hub in small that ``huggingface_hub`` itself talks to."""

import os

import pytest
from fake_hub import person, served_hub
from huggingface_hub import HfApi
from repositories import SERVING, TRAINING, write_repository
from running import run_apart
from serving import free_port
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from segdemo.core.settings import VARIABLES, SettingError, admins
from segdemo.hosting.bundle import bundle
from segdemo.hosting.front_matter import HostingError
from segdemo.hosting.hub import HARDWARE, PROXIES, Space, deploy


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Without what the person who tests has set."""
    for name in (*(name for name in os.environ if name.startswith("SEGDEMO_")), "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub():
    with served_hub() as hub:
        yield hub


@pytest.fixture
def files(tmp_path):
    return bundle(root=write_repository(tmp_path / "repository"))


def send(hub, space, files, token="write"):
    return deploy(space, files, HfApi(hub.url, token=token))


def test_a_space_is_made(hub, files):
    done = send(hub, Space("ann/squares", private=True), files)
    assert (done.url, done.new, done.made_up) == (f"{hub.url}/spaces/ann/squares", True, {})
    assert hub.spaces["ann/squares"].keys() == SERVING
    assert hub.spaces["ann/squares"]["segdemo/ui/page.css"] == b"b {}"
    told = hub.settings["ann/squares"]
    assert (told["sdk"], told["visibility"], told["hardware"]) == ("gradio", "private", "cpu-basic")
    assert told["variables"]["SEGDEMO_TRAINING"] == "off"
    assert told["secrets"] == {"SEGDEMO_ADMINS": "ann"} and hub.buckets == {}


def test_one_that_trains_asks_for_a_token_that_is_told_once(hub, tmp_path):
    files = bundle(train=True, root=write_repository(tmp_path / "repository"))
    space = Space("museum/squares", hardware="cpu-upgrade", train=True)
    token = send(hub, space, files).made_up["SEGDEMO_TRAINING_TOKEN"]
    told = hub.settings["museum/squares"]
    assert told["variables"]["SEGDEMO_TRAINING"] == "token" and len(token) > 30
    assert told["secrets"] == {"SEGDEMO_ADMINS": "museum", "SEGDEMO_TRAINING_TOKEN": token}
    assert hub.spaces["museum/squares"].keys() == TRAINING
    assert send(hub, space, files).made_up == {}  # the one it has stays
    assert told["secrets"]["SEGDEMO_TRAINING_TOKEN"] == token


def test_it_is_renewed_and_what_is_gone_is_removed(hub, files):
    send(hub, Space("ann/squares"), files)
    hub.spaces["ann/squares"] |= {"segdemo/old.py": b"", "weights/old.onnx": b"", "notes.txt": b"mine"}
    hub.settings["ann/squares"]["variables"] |= {"SEGDEMO_THREADS": "1", "THEIRS": "x"}
    done = send(hub, Space("ann/squares", private=True, hardware="cpu-upgrade", storage=True), files)
    assert not done.new
    assert hub.spaces["ann/squares"].keys() == SERVING | {"notes.txt"}
    told = hub.settings["ann/squares"]
    assert told["visibility"] == "private" and told["hardware"] == "cpu-upgrade"
    assert told["variables"].items() >= {"SEGDEMO_THREADS": "8", "THEIRS": "x"}.items()
    (volume,) = told["volumes"]
    assert (volume["type"], volume["source"], volume["mountPath"]) == ("bucket", "ann/squares-state", "/data")
    assert hub.buckets["ann/squares-state"]["visibility"] == "private"
    assert told["variables"]["SEGDEMO_HOME"].startswith("/data/")


def test_hardware_stays_unless_it_is_asked_for(hub, files):
    send(hub, Space("ann/squares"), files)
    told = hub.settings["ann/squares"]
    assert (told["hardware"], told["variables"]["SEGDEMO_THREADS"]) == ("cpu-basic", "2")
    told["hardware"] = "cpu-upgrade"  # by its owner, on the Hub
    send(hub, Space("ann/squares"), files)
    assert (told["hardware"], told["variables"]["SEGDEMO_THREADS"]) == ("cpu-upgrade", "8")
    send(hub, Space("ann/squares", hardware="cpu-basic"), files)
    assert (told["hardware"], told["variables"]["SEGDEMO_THREADS"]) == ("cpu-basic", "2")


def test_a_space_that_is_private_or_public_stays_so(hub, files):
    send(hub, Space("ann/squares", private=True), files)
    send(hub, Space("ann/squares"), files)
    assert hub.settings["ann/squares"]["visibility"] == "private"
    assert not [one for one in hub.requests if one.endswith("/settings")]


def test_secrets_come_from_the_environment(hub, files, monkeypatch):
    monkeypatch.setenv("SEGDEMO_USERS", "ann:secret")
    monkeypatch.setenv("SEGDEMO_TRAINING_TOKEN", "of-another-installation")
    send(hub, Space("ann/squares"), files)
    assert hub.settings["ann/squares"]["secrets"] == {"SEGDEMO_USERS": "ann:secret"}
    assert "secret" not in str(hub.settings["ann/squares"]["variables"])
    done = send(hub, Space("ann/squares", train=True), files)
    assert hub.settings["ann/squares"]["secrets"]["SEGDEMO_TRAINING_TOKEN"] == "of-another-installation"
    assert done.made_up == {}
    monkeypatch.setenv("SEGDEMO_TRAINING", "users")
    assert Space("ann/squares", train=True).secrets().keys() == {"SEGDEMO_USERS"}
    assert Space("ann/squares", train=True).variables()["SEGDEMO_TRAINING"] == "users"
    assert Space("ann/squares").variables()["SEGDEMO_TRAINING"] == "off"
    monkeypatch.setenv("SEGDEMO_ADMINS", "ann")
    monkeypatch.setenv("SEGDEMO_METRICS_TOKEN", "for Prometheus")
    wanted = {
        "SEGDEMO_USERS": "ann:secret",
        "SEGDEMO_ADMINS": "ann",
        "SEGDEMO_METRICS_TOKEN": "for Prometheus",
    }
    assert Space("ann/squares").secrets() == wanted
    monkeypatch.setenv("SEGDEMO_ADMINS", "eve")
    with pytest.raises(SettingError, match="give eve a password"):
        Space("ann/squares").secrets()


def started(hub, monkeypatch):
    """Names of the admins that the Space reads at its start."""
    for name in ("SEGDEMO_USERS", "SEGDEMO_ADMINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPACE_ID", "ann/squares")
    for name, value in hub.settings["ann/squares"]["secrets"].items():
        monkeypatch.setenv(name, value)
    names = set(admins())
    for name in ("SPACE_ID", *hub.settings["ann/squares"]["secrets"]):
        monkeypatch.delenv(name)
    return names


def test_an_open_space_that_gets_users_starts(hub, files, monkeypatch):
    send(hub, Space("ann/squares"), files)
    assert started(hub, monkeypatch) == {"ann"}
    monkeypatch.setenv("SEGDEMO_USERS", "bob:secret")
    send(hub, Space("ann/squares"), files)
    assert hub.settings["ann/squares"]["secrets"] == {"SEGDEMO_USERS": "bob:secret"}
    assert started(hub, monkeypatch) == set()
    monkeypatch.setenv("SEGDEMO_USERS", "bob:secret")
    monkeypatch.setenv("SEGDEMO_ADMINS", "bob")
    send(hub, Space("ann/squares"), files)
    assert started(hub, monkeypatch) == {"bob"}


def test_a_space_with_users_that_is_renewed_without_them_starts(hub, files, monkeypatch):
    monkeypatch.setenv("SEGDEMO_USERS", "bob:secret")
    send(hub, Space("ann/squares"), files)
    monkeypatch.delenv("SEGDEMO_USERS")
    send(hub, Space("ann/squares"), files)
    assert hub.settings["ann/squares"]["secrets"] == {"SEGDEMO_USERS": "bob:secret"}
    assert started(hub, monkeypatch) == set()
    monkeypatch.setenv("SEGDEMO_ADMINS", "ann")
    with pytest.raises(HostingError, match=r"Set SEGDEMO_USERS here too, .*\.$"):
        send(hub, Space("ann/squares", storage=True), files)
    assert hub.settings["ann/squares"]["secrets"] == {"SEGDEMO_USERS": "bob:secret"} and not hub.buckets


@pytest.mark.parametrize("hardware", HARDWARE)
def test_every_setting_is_one_that_the_program_reads(hardware, monkeypatch):
    told = Space("ann/squares", hardware=hardware, storage=True, train=True).variables()
    assert told.pop("FORWARDED_ALLOW_IPS")  # which Uvicorn reads
    for name, value in told.items():
        monkeypatch.setenv(name, value)
        assert str(VARIABLES[name].read()) in (value, f"{value}.0"), name


@pytest.mark.parametrize(
    ("peer", "forwarded", "visitor"),
    [
        ("10.16.3.7", "203.0.113.9", "203.0.113.9"),  # the Hub's proxy
        ("172.18.0.1", "203.0.113.9, 172.18.0.4", "203.0.113.9"),  # one before Docker, and one in it
        ("10.16.3.7", "made-up, 203.0.113.9", "203.0.113.9"),  # what the visitor wrote comes first
        ("203.0.113.9", "10.0.0.1", "203.0.113.9"),  # no proxy
    ],
)
def test_proxies_say_whose_request_they_hand_on(peer, forwarded, visitor):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["client"][0])

    headers = [(b"x-forwarded-for", forwarded.encode())]
    scope = {"type": "http", "client": (peer, 1), "headers": headers}
    run_apart(ProxyHeadersMiddleware(app, PROXIES)(scope, None, None))
    assert seen == [visitor]


@pytest.mark.parametrize(
    "name",
    ["squares", "ann/", "/squares", "a/b/c", "ann/my squares", "ann/../x", "ann/x.git", "-/x", "ann/é", ""],
)
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(HostingError, match="Give the Space as USER/NAME"):
        Space(name)


def test_hardware_that_is_of_no_use_is_refused():
    with pytest.raises(HostingError, match="cpu-basic, cpu-upgrade"):
        Space("ann/squares", hardware="a100-large")


def test_tokens_that_will_not_do(hub, files, monkeypatch):
    with pytest.raises(HostingError, match=r"hf auth login.* the Hub does not know this one\.$"):
        send(hub, Space("ann/squares"), files, "wrong")
    with pytest.raises(HostingError, match=r"This token may only read: .*\.$"):
        send(hub, Space("ann/squares"), files, "read")
    monkeypatch.setattr("huggingface_hub.hf_api.get_token", lambda: None)
    with pytest.raises(HostingError, match=r"hf auth login.* there is no token of the Hub here\.$"):
        send(hub, Space("ann/squares"), files, None)
    assert hub.spaces == {}


def test_what_is_others_is_left_alone(hub, files):
    hub.people["bob"] = person("bob", "write", "club")
    send(hub, Space("ann/squares"), files)
    before = dict(hub.spaces["ann/squares"])
    with pytest.raises(
        HostingError, match=r"ann/squares would be ann's: with this token, choose bob or club\.$"
    ):
        send(hub, Space("ann/squares"), {}, "bob")
    hub.spaces["bob/game"] = {"README.md": b"", "game.py": b""}
    hub.settings["bob/game"] = {"variables": {}, "secrets": {}}
    with pytest.raises(HostingError, match=r"bob/game is a Space of something else: choose another name\.$"):
        send(hub, Space("bob/game"), files, "bob")
    assert hub.spaces["ann/squares"] == before and hub.spaces["bob/game"].keys() == {"README.md", "game.py"}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (402, r"Add a way to pay on the Hub.* \(402: Not now\)"),
        (403, r"Use a token that may write to ann/squares, and look into your account.* \(403: Not now\)"),
        (429, r"Try again in a while: .* \(429\)"),
        (501, r"Try again in a while: .* \(501\)"),
        (400, r"The Hub refuses ann/squares \(400: Not now\)"),
    ],
)
def test_what_the_hub_refuses_is_a_sentence(hub, files, status, told):
    hub.broken = status
    with pytest.raises(HostingError, match=told) as refused:
        send(hub, Space("ann/squares"), files)
    assert str(refused.value).endswith(".") and "\n" not in str(refused.value)


def test_front_matter_that_the_hub_does_not_take_is_named(hub, files):
    hub.picky = True
    with pytest.raises(HostingError, match=r"Mend README's front matter: .* is no color.*\.$"):
        send(hub, Space("ann/squares"), files)


def test_without_a_network_there_is_a_sentence(files):
    api = HfApi(f"http://127.0.0.1:{free_port()}", token="write")
    with pytest.raises(HostingError, match=r"Connect to the network .*\.$"):
        deploy(Space("ann/squares"), files, api)
