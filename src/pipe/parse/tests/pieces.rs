//! Tests of random bytes cut at random places.

use proptest::prelude::*;

use super::super::super::line::{InputLine, LineBuffer};
use super::{GOOD, parser};

/// Returns a text for each line in the bytes of a connection.
fn all(pieces: &[&[u8]]) -> Vec<String> {
    let (mut parser, mut lines, mut out) = (parser(), LineBuffer::new(300), Vec::new());
    for piece in pieces {
        lines.room().extend_from_slice(piece);
        lines.appended();
        for line in lines.complete() {
            match line {
                InputLine::Whole(line) => out.extend(parser.read(line).map(|parsed| format!("{parsed:?}"))),
                InputLine::TooLong(_) => out.push("too long".to_owned()),
            }
        }
        lines.release();
    }
    out
}

/// Returns random bytes that are similar to the protocol.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let good = (0..GOOD.len()).prop_map(|at| GOOD[at].as_bytes().to_vec());
    let verb = (0..GOOD.len(), "[|a-z0-9,/:.\\[{\"}\\]]{0,40}")
        .prop_map(|(at, rest)| format!("{}|{rest}", GOOD[at].split('|').next().unwrap()).into_bytes());
    let any = proptest::collection::vec(any::<u8>(), 0..400);
    let line = prop_oneof![good, verb, any, Just(b"ACK".to_vec())];
    proptest::collection::vec((line, prop_oneof![Just("\n"), Just("\r\n"), Just("")]), 0..8)
        .prop_map(|lines| lines.into_iter().flat_map(|(line, end)| [line, end.as_bytes().to_vec()].concat()).collect())
}

proptest! {
    #[test]
    fn any_bytes_cut_anywhere_come_to_the_same(bytes in bytes(), cuts in proptest::collection::vec(0_usize..2000, 0..10)) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.sort_unstable();
        let begins = [0].into_iter().chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([bytes.len()]);
        let pieces: Vec<&[u8]> = begins.zip(ends).map(|(begin, end)| &bytes[begin..end]).collect();
        prop_assert_eq!(all(&pieces), all(&[&bytes]));
    }
}
