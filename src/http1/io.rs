//! Writes of several slices, and reads from a buffer.
//!
//! The head and the body of a message are written as slices of their own. For a few kibibytes, one copy and a plain `send` cost less
//! CPU time than `writev`.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncWrite, ReadBuf};

/// The most bytes that are copied into one buffer. Longer messages are written with `writev`.
const JOINED_MAX: usize = 2048;

/// Writes the slices to the stream and returns the number of bytes written, as `poll_write_vectored` does.
pub(crate) fn poll_write_slices<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<std::io::Result<usize>> {
    if let [slice] = slices {
        return Pin::new(stream).poll_write(cx, slice);
    }
    if slices.iter().map(|slice| slice.len()).sum::<usize>() > JOINED_MAX {
        return Pin::new(stream).poll_write_vectored(cx, slices);
    }
    let mut joined = [0_u8; JOINED_MAX];
    let mut bytes = 0;
    for slice in slices {
        if let Some(room) = joined.get_mut(bytes..bytes + slice.len()) {
            room.copy_from_slice(slice);
        }
        bytes += slice.len();
    }
    Pin::new(stream).poll_write(cx, joined.get(..bytes).unwrap_or_default())
}

/// Moves as many bytes to `buf` as it has room for. The rest stays in `bytes`.
pub(crate) fn move_bytes(bytes: &mut Vec<u8>, buf: &mut ReadBuf<'_>) {
    let room = buf.remaining().min(bytes.len());
    let rest = bytes.split_off(room);
    buf.put_slice(bytes);
    *bytes = rest;
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;

    use super::*;

    /// Every byte arrives once and in order, for all lengths of slices and all sizes of writes.
    #[tokio::test]
    async fn slices_of_all_lengths_arrive_whole_and_in_order() {
        for lengths in
            [vec![5], vec![0, 3], vec![100, 1024], vec![1024, 1024], vec![1024, 1025], vec![7; 64], vec![3000, 1]]
        {
            for taken_at_once in [1, 700, 1 << 20] {
                let total: usize = lengths.iter().sum();
                let sent: Vec<u8> = (0_u8..251).cycle().take(total).collect();
                let (mut near, mut far) = tokio::io::duplex(taken_at_once);
                let reader = tokio::spawn(async move {
                    let mut received = vec![0; total];
                    far.read_exact(&mut received).await.map(|_| received)
                });
                let mut rest: Vec<&[u8]> = Vec::new();
                let mut from = 0;
                for length in &lengths {
                    rest.push(&sent[from..from + length]);
                    from += length;
                }
                let mut slices: Vec<IoSlice<'_>> = rest.into_iter().map(IoSlice::new).collect();
                let mut left = slices.as_mut_slice();
                let mut written = 0;
                while written < total {
                    let took = poll_fn(|cx| poll_write_slices(&mut near, cx, left)).await.unwrap();
                    IoSlice::advance_slices(&mut left, took);
                    written += took;
                }
                assert_eq!(reader.await.unwrap().unwrap(), sent, "{lengths:?}, {taken_at_once} bytes at once");
            }
        }
    }
}
