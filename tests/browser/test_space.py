"""A Space rehearsed: its files alone, read-only, an empty home, another working directory; then a first visitor."""

import pytest
from rehearsing import Visit, code_of_a_space, contents, variables_of_a_space
from serving import served_app

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def test_a_first_visitor_of_a_space(tmp_path, browser):
    before = code_of_a_space(tmp_path / "code")
    home, elsewhere = tmp_path / "empty", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    script = str(tmp_path / "code" / "app.py")
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    own = variables_of_a_space(home)
    with served_app(tmp_path / "run", script=script, fresh=True, cwd=elsewhere, **own) as (url, _):
        visit = Visit(context.new_page(), url)
        assert "cat" in visit.segment()
        assert visit.annotate() == "There may be 1 collection here: delete one that nobody needs first."
        assert (
            visit.train() == "Training is not installed here: install what requirements.txt lists to train."
        )
        context.close()
    assert visit.complaints == []
    assert contents(tmp_path / "code") == before  # nothing is written beside the code
    assert not list(elsewhere.iterdir())
    [own] = (home / ".local/share/segdemo/workspaces").glob("visit-*")  # each visitor of a Space has one
    assert (own / "annotations/cats/collection.json").is_file()
