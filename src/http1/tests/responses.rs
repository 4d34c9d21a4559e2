//! Responses: the framing of their bodies, their heads, what comes before and behind.

use super::*;

#[test]
fn the_end_of_a_body_is_found_by_its_framing() {
    for (rest, body, is_whole, is_reusable) in [
        ("content-length: 2\r\n\r\nok", "ok", true, true),
        ("content-length: 0\r\n\r\n", "", true, true),
        ("content-length: 2\r\ncontent-length: 2\r\n\r\nok", "ok", true, true),
        ("content-length: 2, 2\r\n\r\nok", "ok", true, true),
        ("content-length: 3\r\n\r\nok", "ok", false, false),
        ("content-length: 2\r\n\r\nok!", "ok", true, false),
        ("transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok", true, true),
        ("transfer-encoding: chunked\r\n\r\n1;x=\"y\"\r\no\r\n01 \r\nk\r\n000\r\n\r\n", "ok", true, true),
        ("transfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok", true, true),
        ("transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n!", "ok", true, false),
        ("transfer-encoding: chunked\r\n\r\n2\r\nok\r\n", "ok", false, false),
        ("transfer-encoding: chunked\r\n\r\n3\r\nok", "ok", false, false),
        ("connection: close\r\ncontent-length: 2\r\n\r\nok", "ok", true, false),
        ("connection: x, Close\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", "ok", true, false),
        ("\r\nok", "ok", true, false),
    ] {
        let read = get(&format!("HTTP/1.1 200 OK\r\n{rest}"));
        let (found, is_found_whole) = (String::from_utf8(read.body).unwrap(), read.is_whole);
        assert_eq!((found.as_str(), is_found_whole, read.is_reusable), (body, is_whole, is_reusable), "{rest:?}");
    }
    let old = |field: &str| get(&format!("HTTP/1.0 200 OK\r\n{field}content-length: 2\r\n\r\nok")).is_reusable;
    assert!(!old("") && old("connection: Keep-Alive\r\n") && !old("connection: keep-alive, close\r\n"));
}

#[test]
fn some_answers_have_no_body_whatever_their_fields_say() {
    let fields = "content-length: 5\r\n\r\n";
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304)] {
        let read = read_cut(&method, &format!("HTTP/1.1 {status} X\r\n{fields}")).unwrap();
        assert_eq!((read.body.len(), read.is_whole, read.is_reusable), (0, true, true), "{method} {status}");
        assert_eq!(read.fields, ["content-length: 5"], "{method} {status}");
    }
}

#[test]
fn a_body_whose_framing_can_be_read_in_two_ways_breaks_off() {
    for chunks in [
        "\r\nok",
        "x\r\n",
        " 2\r\nok\r\n0\r\n\r\n",
        "+2\r\nok\r\n0\r\n\r\n",
        "0x2\r\nok\r\n0\r\n\r\n",
        "2 3\r\nok\r\n0\r\n\r\n",
        "2\nok\r\n0\r\n\r\n",
        "2;a\nb\r\nok\r\n0\r\n\r\n",
        "2\r\nok0\r\n\r\n",
        "2\r\nok\n0\r\n\r\n",
        "10000000000000002\r\nok\r\n0\r\n\r\n",
        "0\r\nno field\r\n\r\n",
        "0\r\n: x\r\n\r\n",
    ] {
        let read = get(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"));
        assert!(!read.is_whole && !read.is_reusable, "{chunks:?}: {read:?}");
    }
}

#[test]
fn what_is_besides_the_data_of_a_chunked_body_is_bounded() {
    let is_whole = |chunks: &str| {
        let response = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        read(&Method::GET, response.as_bytes(), 1000).unwrap().is_whole
    };
    let extended =
        |bytes: usize, chunks: usize| format!("1;{}\r\nx\r\n", "y".repeat(bytes)).repeat(chunks) + "0\r\n\r\n";
    assert!(is_whole(&extended(1000, 10)) && !is_whole(&extended(1000, 20)) && !is_whole(&extended(20_000, 1)));
    let with_trailers =
        |bytes: usize, fields: usize| format!("0\r\n{}\r\n", format!("x: {}\r\n", "y".repeat(bytes)).repeat(fields));
    assert!(
        is_whole(&with_trailers(100, 100)) && !is_whole(&with_trailers(1, 101)) && !is_whole(&with_trailers(20_000, 1))
    );
}

#[test]
fn trailers_follow_the_last_chunk() {
    let read =
        get("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status: 0\r\nx: y\r\n\r\n");
    assert_eq!((read.trailers, read.is_reusable), (vec!["grpc-status: 0".to_owned(), "x: y".to_owned()], true));
}

#[test]
fn interim_heads_come_before_the_response() {
    let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
    let read = get(&format!("{early}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    assert_eq!((read.interims, read.status), (vec![100, 103], 200));
    let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000);
    assert!(matches!(read_bytes(&flood), Err(ResponseError::HeadTooLarge)));
}

fn read_bytes(response: &str) -> Result<Read, ResponseError> {
    read(&Method::GET, response.as_bytes(), usize::MAX)
}

#[test]
fn an_irregular_head_with_one_meaning_is_read() {
    let many = "x: y\r\n".repeat(1000);
    for (head, status, fields) in [
        ("\r\nHTTP/1.1 200 OK\r\nx: y\r\n\r\n", 200, vec!["x: y"]),
        ("HTTP/1.1 404\nx: y\n\n", 404, vec!["x: y"]),
        ("HTTP/1.2  200 OK\r\nx: y\r\n\r\n", 200, vec!["x: y"]),
        ("HTTP/1.1 200 OK\r\nx : y\r\n\r\n", 200, vec!["x: y"]),
        ("HTTP/1.1 200 OK\r\nx: a\r\n\tb\r\n\r\n", 200, vec!["x: a b"]),
        ("HTTP/1.1 200 OK\r\nx: a\u{1}b\r\nno field\r\n: y\r\nA@B: z\r\n\r\n", 200, vec!["x: a b"]),
        ("HTTP/1.1 200 O\u{7}K\r\nx: caf\u{e9}\r\n\r\n", 200, vec!["x: caf\\xc3\\xa9"]),
        (&format!("HTTP/1.1 200 OK\r\n{many}\r\n"), 200, vec!["x: y"; 1000]),
    ] {
        let read = get(head);
        assert_eq!(
            (read.status, read.fields),
            (status, fields.into_iter().map(str::to_owned).collect()),
            "{head:.60?}"
        );
    }
    let codings =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let read = get(codings);
    assert_eq!((read.body.as_slice(), read.is_reusable), (&b"ok"[..], false), "closed, so that nothing follows it");
}

#[test]
fn a_head_with_two_meanings_or_none_is_an_error() {
    for head in [
        "SSH-2.0-x",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 099 X\r\n\r\n",
        "HTTP/1.1 2000 X\r\n\r\n",
        "HTTP/1.1 X\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\u{1}\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: close\u{1}\r\n\r\n",
    ] {
        assert!(matches!(read_cut(&Method::GET, head), Err(ResponseError::Malformed)), "{head:?}");
    }
    let too_large = [format!("x: {}\r\n", "y".repeat(200_000)), "x: y\r\n".repeat(1025)];
    for fields in too_large {
        let read = read_bytes(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        assert!(matches!(read, Err(ResponseError::HeadTooLarge)), "{fields:.10}");
    }
    for part in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        assert!(matches!(read_cut(&Method::GET, part), Err(ResponseError::Incomplete)), "{part:?}");
    }
}

#[test]
fn an_unusual_reason_phrase_is_passed_on() {
    let mut connection = Http1Connection::new(Pieces::of(b"HTTP/1.1 200 Fine\r\ncontent-length: 0\r\n\r\n", 100));
    connection.begin((&Method::GET, &Uri::from_static("/"), &HeaderMap::new()), |_| {}, &Empty::<Bytes>::new());
    let head = poll_fn(|cx| connection.poll_head(cx, usize::MAX)).now_or_never().unwrap();
    let Ok(ReadHead::Final(head)) = head else { panic!("no response") };
    assert_eq!(head.extensions().get::<ReasonPhrase>().unwrap().as_bytes(), b"Fine");
}

#[test]
fn a_response_is_read_although_the_backend_reads_no_more() {
    let mut stream = Pieces::of(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n", 100);
    stream.refuses_writes = true;
    let read = read_from(&Method::GET, stream).unwrap();
    assert_eq!((read.status, read.is_reusable), (413, false));
}
