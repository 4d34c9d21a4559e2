"""Speaks HTTP/3 by curl (curl_cffi), and reads over HTTP/2 that HTTP/3 is there."""
import sys

from curl_cffi import CurlHttpVersion, CurlOpt, Session

port, authority = sys.argv[1], sys.argv[2]
resolve = [f"a.test:{port}:127.0.0.1"]


def session():
    return Session(verify=authority, curl_options={CurlOpt.RESOLVE: resolve}, timeout=60)


url = f"https://a.test:{port}"
with session() as over_tls:
    answer = over_tls.get(f"{url}/", http_version=CurlHttpVersion.V2_0)
    assert answer.http_version == CurlHttpVersion.V2_0, answer.http_version
    assert answer.headers["alt-svc"] == f'h3=":{port}"; ma=86400', answer.headers
with session() as over_quic:
    for _ in range(3):
        answer = over_quic.get(f"{url}/x?y", http_version=CurlHttpVersion.V3ONLY)
        assert (answer.status_code, answer.json()["path"]) == (200, "/x?y")
        assert answer.http_version == CurlHttpVersion.V3, answer.http_version
    answer = over_quic.post(url, data=b"z" * 2_000_000, http_version=CurlHttpVersion.V3ONLY)
    assert answer.text == "2000000", answer.text
    answer = over_quic.get(f"{url}/large?2000000", http_version=CurlHttpVersion.V3ONLY)
    assert len(answer.content) == 2_000_000
