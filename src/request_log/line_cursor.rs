//! Room for one line, which is written from its beginning.
//!
//! A line has some fifty parts, and each request pays for it. So the place of the next part stays in a register: functions take the room that is
//! left and return what they leave of it. Invariants: a part for which there is no room is left out, so callers count the room that they need.

use std::fmt::{Display, Write as _};
use std::mem::take;
use std::net::IpAddr;

use crate::domain::is_hidden;

/// The most bytes that a byte of a text takes in JSON: a control character is written as `\uHHHH`.
pub(super) const ESCAPED_BYTES_MAX: usize = 6;
/// The least number that is not short: it has nine digits.
const SHORT_END: u32 = 100_000_000;
/// The least numbers of two to eight digits.
const POWERS: [u32; 7] = [10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000];
/// A word whose bytes are all 1.
const ONES: u64 = u64::MAX / 255;

/// The room that is left.
pub(super) struct LineCursor<'a>(pub(super) &'a mut [u8]);

impl LineCursor<'_> {
    /// Writes a text of a known length.
    #[inline]
    pub(super) fn put<const N: usize>(&mut self, text: &[u8; N]) {
        if let Some((to, rest)) = take(&mut self.0).split_first_chunk_mut() {
            *to = *text;
            self.0 = rest;
        }
    }

    /// Writes a text that needs no escape: one of our own, or one whose characters its type limits.
    #[inline]
    pub(super) fn plain(&mut self, text: &[u8]) {
        self.0 = copied(take(&mut self.0), text);
    }

    /// Writes the inside of a JSON text.
    #[inline]
    pub(super) fn text(&mut self, text: &[u8]) {
        self.0 = json_text(take(&mut self.0), text);
    }

    /// Writes a value as it displays itself.
    pub(super) fn shown(&mut self, value: &dyn Display) {
        self.0 = shown(take(&mut self.0), value);
    }

    /// Writes a number.
    #[inline]
    pub(super) fn number(&mut self, number: u64) {
        match u8::try_from(number) {
            Ok(digit @ 0..10) => self.put(&[b'0' + digit]),
            _ => self.0 = digits(take(&mut self.0), number),
        }
    }

    /// Writes a number of thousandths as a number with three decimals.
    #[inline]
    pub(super) fn thousandths(&mut self, number: u64) {
        self.0 = thousandths(take(&mut self.0), number);
    }

    /// Writes a number below 1000 with three digits.
    #[inline]
    pub(super) fn three_digits(&mut self, number: u64) {
        let [low, high, ..] = number.to_le_bytes();
        let number = u16::from_le_bytes([low, high]);
        self.put(&[number / 100, number / 10 % 10, number % 10].map(|digit| b'0' + digit.to_le_bytes()[0]));
    }

    /// Writes an address.
    #[inline]
    pub(super) fn address(&mut self, address: IpAddr) {
        let IpAddr::V4(address) = address else { return self.shown(&address) };
        let [first @ .., last] = address.octets();
        first.into_iter().for_each(|octet| self.octet(octet, 1));
        self.octet(last, 0);
    }

    fn octet(&mut self, octet: u8, dots: usize) {
        let (text, length) = dotted(octet);
        if let Some(to) = self.0.first_chunk_mut() {
            *to = text;
        }
        self.0 = take(&mut self.0).get_mut(length + dots..).unwrap_or_default();
    }
}

fn copied<'a>(room: &'a mut [u8], text: &[u8]) -> &'a mut [u8] {
    let Some((to, rest)) = room.split_at_mut_checked(text.len()) else { return &mut [] };
    to.copy_from_slice(text);
    rest
}

// Not inlined, as what follows: between two requests the code leaves the cache of the processor, and less of it comes back sooner.
#[inline(never)]
fn json_text<'a>(room: &'a mut [u8], text: &[u8]) -> &'a mut [u8] {
    if is_plain(text) { copied(room, text) } else { copied(room, escaped(&String::from_utf8_lossy(text)).as_bytes()) }
}

/// True if a text consists of visible ASCII and spaces without quotes and backslashes. It looks at eight bytes at once: most texts are short.
fn is_plain(text: &[u8]) -> bool {
    const HIGH: u64 = ONES << 7;
    // The highest bit of some byte is set if some byte is below `limit`, which is at most 128, or above 127.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) | word;
    let is = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let plain = |bytes: &[u8; 8]| {
        let word = u64::from_ne_bytes(*bytes);
        (below(word, b' ') | is(word, b'"') | is(word, b'\\') | is(word, 0x7F)) & HIGH == 0
    };
    if let Some(last) = text.last_chunk() {
        // It overlaps the chunk before it.
        plain(last) && text.as_chunks().0.iter().all(plain)
    } else {
        let mut room = [b' '; 8];
        room.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        plain(&room)
    }
}

/// Returns the inside of a JSON text.
#[cold]
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        push_visible(&mut out, c);
    }
    out
}

/// Returns a JSON text in which all is seen.
#[cold]
pub(super) fn visible(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    json.chars().for_each(|c| push_visible(&mut out, c));
    out
}

/// Adds a character. One that is not seen, or that steers a terminal or an editor, is written as `\uHHHH`.
fn push_visible(out: &mut String, c: char) {
    if c == ' ' || !is_hidden(c) {
        return out.push(c);
    }
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing to memory cannot fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

#[cold]
fn shown<'a>(room: &'a mut [u8], value: &dyn Display) -> &'a mut [u8] {
    copied(room, value.to_string().as_bytes())
}

#[inline(never)]
fn digits(room: &mut [u8], number: u64) -> &mut [u8] {
    let Some((digits, length)) = short(number) else { return shown(room, &number) };
    if let Some(to) = room.first_chunk_mut() {
        *to = (digits >> (64 - 8 * length)).to_le_bytes();
    }
    room.get_mut(length..).unwrap_or_default()
}

#[inline(never)]
fn thousandths(room: &mut [u8], number: u64) -> &mut [u8] {
    let Some((digits, length)) = short(number) else {
        return shown(room, &format_args!("{}.{:03}", number / 1000, number % 1000));
    };
    let (length, [.., a, b, c]) = (length.max(4), digits.to_le_bytes());
    if let Some(to) = room.first_chunk_mut() {
        *to = (digits >> (64 - 8 * length)).to_le_bytes();
    }
    let mut rest = LineCursor(room.get_mut(length - 3..).unwrap_or_default());
    rest.put(&[b'.', a, b, c]);
    rest.0
}

/// Returns the eight digits of a short number, the first one in the lowest byte, and the number of those that are written.
fn short(number: u64) -> Option<(u64, usize)> {
    let number = u32::try_from(number).ok().filter(|number| *number < SHORT_END)?;
    let length = 1 + POWERS.iter().map(|power| usize::from(number >= *power)).sum::<usize>();
    // Two numbers of four digits, then four of two, then eight of one: all parts of a word at once.
    let word = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    let hundreds = ((word * 10_486) >> 20) & 0x0000_007F_0000_007F;
    let word = hundreds | (word - hundreds * 100) << 16;
    let tens = ((word * 103) >> 10) & 0x000F_000F_000F_000F;
    let digits = tens | (word - tens * 10) << 8;
    Some((digits + ONES * u64::from(b'0'), length))
}

/// Returns an octet with a dot behind it, and its length without the dot.
fn dotted(octet: u8) -> ([u8; 4], usize) {
    let [hundreds, tens, ones] = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
    match octet {
        0..10 => ([ones, b'.', 0, 0], 1),
        10..100 => ([tens, ones, b'.', 0], 2),
        100.. => ([hundreds, tens, ones, b'.'], 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut LineCursor<'_>)) -> String {
        let mut room = [b'?'; 256];
        let mut line = LineCursor(&mut room);
        write(&mut line);
        let left = line.0.len();
        String::from_utf8(room[..room.len() - left].to_vec()).unwrap()
    }

    #[test]
    fn a_byte_that_needs_an_escape_is_found_wherever_it_stands() {
        for len in 1..=17 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut text = vec![b'~'; len];
                    text[at] = byte;
                    let is_visible = matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
                    assert_eq!(is_plain(&text), is_visible, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(written(|line| line.text(b"caf\xe9 \xff\"")), "caf\u{fffd} \u{fffd}\\\"");
    }

    #[test]
    fn numbers_and_addresses_are_written_as_they_display_themselves() {
        let around = |power: u64| [power.saturating_sub(1), power, power.saturating_add(1), power.saturating_mul(7)];
        let many = (0..64).flat_map(|bit| around(1 << bit)).chain((0..20).flat_map(|power| around(10_u64.pow(power))));
        for number in many.chain(0..20_000) {
            assert_eq!(written(|line| line.number(number)), number.to_string());
            let decimals = format!("{}.{:03}", number / 1000, number % 1000);
            assert_eq!(written(|line| line.thousandths(number)), decimals);
        }
        for octet in 0..=u8::MAX {
            let address = IpAddr::from([octet, 7, octet, octet]);
            assert_eq!(written(|line| line.address(address)), address.to_string());
        }
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(written(|line| line.address(address)), "2001:db8::1");
    }

    #[test]
    fn a_part_without_room_is_left_out() {
        for length in 0..40 {
            let mut room = vec![b'?'; length];
            let mut line = LineCursor(&mut room);
            line.put(b"key");
            line.text(b"value");
            line.number(1234);
            line.thousandths(1234);
            line.address([192, 0, 2, 1].into());
            line.shown(&"shown");
        }
    }
}
