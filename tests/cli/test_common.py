"""What several commands share."""

from segdemo.cli.common import bytes_progress


def test_the_progress_of_a_download_takes_what_downloads_tell(capsys):
    told = bytes_progress()
    told("a.tar", 500, 1000)
    told("a.tar", 1000, 1000)
    told("unpacking a.tar", 10, None)  # nobody knows how much there will be
    assert "unpacking a.tar" in capsys.readouterr().err
