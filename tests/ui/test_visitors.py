"""Whose request it is: cookies, names, pages, and files that somebody was given."""

import asyncio
import threading
import time
from types import SimpleNamespace

import gradio as gr
import pytest
from running import run_apart
from starlette.requests import HTTPConnection, Request
from waiting import once

from segdemo.core.labels import VOC
from segdemo.core.signing import Signer
from segdemo.core.workspace import WorkspaceError, current, entered, required
from segdemo.ui import visitors as module
from segdemo.ui.tabs.annotate.layout import kept_for
from segdemo.ui.visitors import COOKIE, Visitor, Visitors, entering
from segdemo.workspaces.keeper import Keeper

APP = SimpleNamespace(cookie_id="id", tokens={"token-of-ann": "ann"})


pytestmark = pytest.mark.usefixtures("loops_closed")


@pytest.fixture
def visitors(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEGDEMO_WORKSPACES", "visitors")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    return Visitors(Keeper(), Signer(b"a secret"))


def scope(path="/", query="", session=None, **cookies):
    pairs = "; ".join(f"{name.replace('_', '-')}={value}" for name, value in cookies.items())
    headers = [(b"cookie", pairs.encode())] if pairs else []
    return {
        "type": "http",
        "path": path,
        "query_string": query.encode(),
        "headers": headers,
        "app": APP,
        "session": session or {},
    }


def coming(**cookies):
    return HTTPConnection(scope(**cookies))


def test_a_cookie_is_a_visitor_if_it_was_made_here(visitors):
    cookie = visitors.new_cookie()
    one = visitors.visitor(coming(segdemo_visit=cookie), "a-page-of-one")
    assert one.id.startswith("visit-")
    assert visitors.visitor(coming(segdemo_visit=cookie), "another-page").id == one.id
    assert visitors.knows(coming(segdemo_visit=cookie))
    assert cookie.partition(".")[0] not in one.id
    for wrong in (cookie[:-1], Signer(b"other").sign("visit", "x"), one.id, ""):
        assert not visitors.knows(coming(segdemo_visit=wrong))
        assert visitors.visitor(coming(segdemo_visit=wrong), "a-page-of-one").id.startswith("page-")
    assert COOKIE == "segdemo-visit"


def test_names_count_before_cookies(visitors):
    cookie = visitors.new_cookie()
    before = visitors.visitor(coming(segdemo_visit=cookie)).id
    ann = visitors.visitor(coming(segdemo_visit=cookie, **{"access-token-id": "token-of-ann"}))
    assert ann.id.startswith("user-ann-")
    assert ann.before == before
    assert visitors.visitor(coming(**{"access-token-unsecure-id": "token-of-ann"})) == Visitor(ann.id)
    assert visitors.visitor(coming(**{"access-token-id": "made up"})).id.startswith("page-")
    account = {"oauth_info": {"userinfo": {"sub": "77", "preferred_username": "ann"}}}
    hub = visitors.visitor(HTTPConnection(scope(session=account, segdemo_visit=cookie)))
    assert hub.id.startswith("hub-")
    assert hub.before == before
    renamed = {"oauth_info": {"userinfo": {"sub": "77", "preferred_username": "anna"}}}
    assert visitors.visitor(HTTPConnection(scope(session=renamed))).id == hub.id
    assert hub.id != ann.id
    for seconds, known in ((60, True), (-60, False)):  # until what the Hub gave expires
        account["oauth_info"]["expires_at"] = time.time() + seconds
        found = visitors.visitor(HTTPConnection(scope(session=account, segdemo_visit=cookie)))
        assert found == (hub if known else Visitor(before))


def with_token(token, **cookies):
    """A request that brings a token."""
    found = scope("/gradio_api/call/models", **cookies)
    return {**found, "headers": [*found["headers"], (b"authorization", f"Bearer {token}".encode())]}


def test_a_token_is_a_workspace_until_it_expires(visitors):
    cookie, later = visitors.new_cookie(), int(time.time()) + 60
    mine = visitors.visitor(coming(segdemo_visit=cookie))
    token = visitors.new_token(mine, later)
    brought = with_token(token, segdemo_visit=visitors.new_cookie())  # it counts before a cookie
    assert visitors.visitor(HTTPConnection(brought)) == mine
    assert not visitors.refusal(brought)
    ann = with_token(token, **{"access-token-id": "token-of-ann"})  # and a name before it
    assert visitors.visitor(HTTPConnection(ann)).id.startswith("user-ann-")
    of_pages = [visitors.new_token(visitors.visitor(coming(), "a-long-session"), later) for _ in range(2)]
    found = [visitors.visitor(HTTPConnection(with_token(one))).id for one in of_pages]
    assert len(set(found)) == 2  # what one page alone is known by is none that lasts
    assert all(id_.startswith("visit-") for id_ in found)
    text, _, signature = token.partition(".")
    wrong = [
        visitors.new_token(mine, later - 61),
        f"{text}.{'0' * 64}",
        f"{text}0.{signature}",
        text,
        f"segdemo-{cookie}",
        f"segdemo-{mine.id}~{later}.{Signer(b'other').digest('token', f'{mine.id}~{later}')}",
    ]
    for one in wrong:
        brought = with_token(one, segdemo_visit=cookie)
        assert "has expired" in visitors.refusal(brought), one
        assert visitors.of_token(HTTPConnection(brought)) == ""
    for one in (cookie, "hf_of_the_hub", ""):  # which are for somebody else
        brought = with_token(one)
        assert not visitors.refusal(brought)
        assert visitors.visitor(HTTPConnection(brought), "a-long-session").id.startswith("page-")


def test_what_gradio_uploads_for_the_caller_of_a_tool_is_the_callers(visitors, tmp_path):
    path, others = tmp_path / "gradio" / "up.png", tmp_path / "gradio" / "other.png"
    visitors.note_upload(scope("/gradio_api/upload"), f'["{path}"]'.encode())
    visitors.note_files([{"path": str(others)}], "visit-2")
    visitors._adopt([{"path": str(path)}, "visit-2", {"path": str(others)}], "visit-1")
    assert visitors.has_file(path, Visitor("visit-1"))
    assert not visitors.has_file(others, Visitor("visit-1"))
    assert not visitors.has_file(path, Visitor("visit-3"))


def test_without_cookie_a_page_is_a_visitor_and_a_call_without_page_is_alone(visitors):
    ids = {
        session: visitors.visitor(coming(), session).id for session in ("a-long-session", "another-session")
    }
    assert ids["a-long-session"] == visitors.visitor(coming(), "a-long-session").id
    assert len(set(ids.values())) == 2
    for session in (None, "", "short"):
        assert visitors.visitor(coming(), session).id != visitors.visitor(coming(), session).id


def test_a_page_is_its_visitors_alone(visitors):
    one, two = Visitor("visit-1"), Visitor("visit-2")
    assert visitors.of_page(one, "s")
    assert visitors.of_page(one, "s")
    assert not visitors.of_page(two, "s")
    assert not visitors.of_page(Visitor("page-1"), "s")
    assert visitors.of_page(Visitor("page-1"), "short")  # too short to be anybody's
    assert visitors.of_page(Visitor("page-2"), "short")
    assert visitors.refusal(scope("/gradio_api/heartbeat/s"))
    assert visitors.refusal(scope("/gradio_api/queue/data", "session_hash=s"))
    assert not visitors.refusal(scope("/gradio_api/queue/data", "session_hash=t"))


def test_the_session_in_which_gradio_asks_for_all_tools_is_nobodys(visitors):
    client = SimpleNamespace(session_hash="session-of-all-tools")
    visitors._blocks = SimpleNamespace(mcp_server_obj=SimpleNamespace(_client_instance=client))
    ids = {visitors.visitor(coming(), client.session_hash).id for _ in range(3)}
    assert len(ids) == 3
    assert all(visitors.of_page(Visitor(id_), client.session_hash) for id_ in ids)


def test_files_are_given_to_whom_an_answer_goes_and_no_further(visitors, tmp_path):
    file = tmp_path / "gradio" / "abc" / "mask.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    assert not visitors.has_file(file, Visitor("visit-1"))
    answer = {"data": [{"value": {"layers": [{"path": str(file), "url": None}]}, "__type__": "update"}]}
    visitors.note_files(answer, "visit-1")
    assert visitors.has_file(file, Visitor("visit-1"))
    assert visitors.has_file(file.parent / ".." / "abc" / "mask.png", Visitor("visit-1"))
    assert not visitors.has_file(file, Visitor("visit-2"))
    assert not visitors.has_file(file, Visitor("page-1"))
    address = f"/gradio_api/file={file}"
    assert "somebody else's" in visitors.refusal(scope(address))
    assert "somebody else's" in visitors.refusal(scope(f"/gradio_api/file={file.parent}/../abc/mask.png"))
    assert "somebody else's" in visitors.refusal(scope(f"/gradio_api/file/{file}"))
    visitors.note_files(answer, "page-9")  # pages without cookies cannot be told apart when they fetch a file
    assert not visitors.refusal(scope(address))


def test_what_was_uploaded_is_noted(visitors, tmp_path):
    cookie = visitors.new_cookie()
    sent = scope("/gradio_api/upload", segdemo_visit=cookie)
    path = tmp_path / "gradio" / "up.png"
    visitors.note_upload(sent, f'["{path}"]'.encode())
    visitors.note_upload(sent, b"not JSON")
    visitors.note_upload(sent, b'{"detail": "no"}')
    assert visitors.has_file(path, visitors.visitor(HTTPConnection(sent)))
    assert not visitors.has_file(path, Visitor("visit-2"))


def blocks(visitors, function):
    """A page with one event, which is that of a function."""
    with gr.Blocks() as demo, visitors.nobody():
        gr.Button().click(function, None, gr.Textbox())
    visitors.attach(demo)
    return demo


def answer_to(demo, request, session="session-of-a-page"):
    """What the first event answers to a request."""
    request = gr.Request(request, session_hash=session) if request else None
    return run_apart(demo.process_api(0, [], request=request, session_hash=session))["data"][0]


def test_each_call_is_in_the_workspace_of_its_request_wherever_gradio_runs_it(visitors):
    found = []

    def slowly():
        barrier.wait(30)
        found.append((threading.get_ident(), required().id))
        return required().id

    barrier = threading.Barrier(3)
    demo = blocks(visitors, slowly)
    cookies = [visitors.new_cookie() for _ in range(3)]

    async def all_at_once():
        asked = [
            demo.process_api(
                0, [], request=gr.Request(Request(scope(segdemo_visit=cookie)), session_hash=f"p{n}")
            )
            for n, cookie in enumerate(cookies)
        ]
        return await asyncio.gather(*asked)

    told = [answer["data"][0] for answer in run_apart(all_at_once())]
    assert told == [visitors.visitor(coming(segdemo_visit=cookie)).id for cookie in cookies]
    assert len({thread for thread, _ in found}) == 3
    assert current() is None


def test_a_generator_stays_in_its_workspace_between_its_answers(visitors):
    def slowly():
        yield required().id
        yield required().id

    demo = blocks(visitors, slowly)
    requests = [gr.Request(Request(scope(segdemo_visit=visitors.new_cookie()))) for _ in range(2)]

    async def in_turns():
        firsts = [
            await demo.process_api(0, [], request=r, session_hash=f"p{n}") for n, r in enumerate(requests)
        ]
        seconds = [
            await demo.process_api(0, [], request=r, session_hash=f"p{n}", iterator=firsts[n]["iterator"])
            for n, r in enumerate(requests)
        ]
        return [[answer["data"][0] for answer in answers] for answers in (firsts, seconds)]

    first, second = run_apart(in_turns())
    assert len(set(first)) == 2
    assert first == second


def test_a_call_without_a_request_finds_nothing_and_keeps_nothing(visitors):
    demo = blocks(visitors, lambda: visitors.keeper.room().store.create("Whose?", VOC).name)
    with pytest.raises(WorkspaceError, match="open the page again"):
        answer_to(demo, None)
    two = gr.Request(Request(scope(segdemo_visit=visitors.new_cookie())))
    with pytest.raises(WorkspaceError, match="open the page again"):
        run_apart(demo.process_api(0, [], request=[two, two]))


def test_another_visitor_is_refused_on_a_page_that_is_somebodys(visitors):
    demo = blocks(visitors, lambda: required().id)
    one = Request(scope(segdemo_visit=visitors.new_cookie()))
    assert answer_to(demo, one).startswith("visit-")
    for other in (Request(scope(segdemo_visit=visitors.new_cookie())), Request(scope())):
        with pytest.raises(gr.Error, match="opened by somebody else"):
            answer_to(demo, other)


def test_signing_in_brings_along_what_the_browser_had(visitors):
    cookie = visitors.new_cookie()
    demo = blocks(visitors, lambda: ", ".join(c.title for c in visitors.keeper.room().store.collections()))
    with entered(visitors.keeper.workspace(visitors.visitor(coming(segdemo_visit=cookie)).id)):
        visitors.keeper.room().store.create("Mine", VOC)
    ann = {"access-token-id": "token-of-ann"}
    assert answer_to(demo, Request(scope(segdemo_visit=cookie)), "before-it-") == "Mine"
    assert answer_to(demo, Request(scope(segdemo_visit=cookie, **ann)), "after-it--") == "Mine"
    assert answer_to(demo, Request(scope(**ann)), "elsewhere-") == "Mine"
    assert answer_to(demo, Request(scope(segdemo_visit=cookie)), "signed-out") == ""


def test_where_all_is_shared_nothing_is_entered():
    with entering(None):
        assert current() is None
    with entering(Request(scope())):
        assert current() is None


def test_a_visitor_is_told_how_long_things_are_kept(monkeypatch):
    assert "touched it for a day: export it." in kept_for()
    monkeypatch.setenv("OAUTH_CLIENT_ID", "an-app-of-the-hub")
    assert kept_for().endswith("for a day, unless you are signed in: export it or sign in.")
    monkeypatch.setenv("SEGDEMO_WORKSPACE_HOURS", "3")
    assert "for 3 hours" in kept_for()
    monkeypatch.setenv("SEGDEMO_WORKSPACE_HOURS", "0")
    assert "cookies" in kept_for()
    monkeypatch.setenv("SEGDEMO_USERS", "ann:secret")  # and everybody is signed in
    assert kept_for() == "What you keep here is yours alone, in every browser that you sign in with."


def test_a_path_that_none_can_be_is_nobodys(visitors):
    for path in ("/gradio_api/file=\0", f"/gradio_api/file={'a' * 5000}\0"):
        assert "or there is none" in visitors.refusal(scope(path))


def test_one_who_is_given_many_files_has_none_of_others_forgotten(visitors, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_FILES_OF_ONE", 3)
    paths = [str(tmp_path / str(n)) for n in range(5)]
    visitors.note_files([{"path": paths[0]}], "visit-1")
    for path in (*paths, paths[2]):
        visitors.note_files([{"path": path}], "visit-2")
    assert [visitors.has_file(path, Visitor("visit-2")) for path in paths] == [False, False, True, True, True]
    assert visitors.has_file(paths[0], Visitor("visit-1"))
    visitors.note_files([{"path": str(tmp_path / "new")}], "visit-2")
    assert [visitors.has_file(path, Visitor("visit-2")) for path in paths[2:]] == [True, False, True]
    assert visitors._owners.keys() == {p for files in visitors._given.values() for p in files}


def test_files_that_are_gone_are_forgotten_now_and_then_and_nobody_waits_for_it(
    visitors, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "MOST_FILES", 2)
    looked = []
    is_file = module.Path.is_file
    monkeypatch.setattr(
        module.Path, "is_file", lambda path: looked.append(threading.current_thread().name) or is_file(path)
    )
    here, gone = tmp_path / "here", [tmp_path / str(n) for n in range(4)]
    here.write_bytes(b"x")
    visitors.note_files([{"path": str(path)} for path in (here, *gone)], "visit-1")
    once(lambda: visitors._owners.keys() == {str(here)})
    assert list(visitors._given["visit-1"]) == [str(here)]
    assert {*looked} == {"files"}
    visitors.note_files([{"path": str(path)} for path in gone], "visit-1")  # so soon nobody looks again
    assert len(visitors._owners) == 5
    monkeypatch.setattr(module, "PRUNE_SECONDS", 0)
    visitors.note_files([{"path": str(here)}], "visit-1")
    once(lambda: len(visitors._owners) == 1)
