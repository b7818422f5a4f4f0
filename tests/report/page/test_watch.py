"""The served page: on this machine only, new when a study is."""

import http.client
import socket
import struct
import threading

import pytest

from hwopt.errors import InvalidInput, StudyError
from hwopt.report.page.content import Networks
from hwopt.report.page.watch import HOST, PageServer
from hwopt.study.store.store import Store
from tests.report.analysis.stores import trial, write


@pytest.fixture
def path(tmp_path):
    write(tmp_path / "study.db", [trial(0)])
    return tmp_path / "study.db"


@pytest.fixture
def server(path):
    with PageServer([path], 0, lambda study: Networks()) as opened:
        thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


def asked(server, path, host=None):
    connection = http.client.HTTPConnection(HOST, server.server_address[1])
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer, text


def test_only_this_machine_is_listened_to(server):
    assert server.server_address[0] == "127.0.0.1" and server.url.startswith("http://127.0.0.1:")


def test_the_page_asks_its_own_server_and_no_one_else(server):
    answer, page = asked(server, "/")
    assert answer.status == 200 and "connect-src 'self'" in page and f'"version":"{server.version()}"' in page
    assert answer.getheader("X-Content-Type-Options") == "nosniff"


def test_the_version_changes_when_a_trial_is_added_and_so_does_the_page(server, path):
    before, page = server.version(), asked(server, "/")[1]
    with Store(path) as store:
        store.start_trial(trial(1, None, told=None))
        assert asked(server, "/version")[1] == server.version() != before
        assert asked(server, "/")[1] != page


def test_layers_are_predicted_anew_only_when_the_front_has_changed(path):
    asked = []

    def networks(study):
        asked.append(study.front_numbers)
        return Networks()

    with PageServer([path], 0, networks) as server:
        server.page()
        with Store(path) as store:
            store.start_trial(trial(1, None, told=None))
            server.page()
            store.end_trial(trial(1, 0.05, told=None))
            server.page()
    assert asked == [{0}, {1}]


def test_a_browser_that_has_gone_is_no_error(server, capfd):
    with socket.create_connection(server.server_address) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % server.server_address[1])
    assert asked(server, "/")[0].status == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_page_of_another_origin_is_refused(server):
    assert asked(server, "/", host="evil.example")[0].status == 403
    assert asked(server, "/version", host=f"localhost:{server.server_address[1]}")[0].status == 200
    assert asked(server, "/etc/passwd")[0].status == 404


def test_a_study_that_cannot_be_read_any_more_is_said(server, path):
    path.write_bytes(b"not a study")
    answer, text = asked(server, "/")
    assert answer.status == 503 and "give another path" in text


def test_what_cannot_be_served_is_an_error(server, path, tmp_path):
    with pytest.raises(InvalidInput, match="cannot be listened on.*choose another --port"):
        PageServer([path], server.server_address[1], lambda study: Networks())
    with pytest.raises(StudyError, match="no study at"):
        PageServer([tmp_path / "absent.db"], 0, lambda study: Networks())
