//! The form of a backup: a tar archive (POSIX.1-1988 ustar) of three files, each byte of which is checked.
//!
//! `SHA256SUMS` has the checksums of `manifest.json` and `signalbox.db`, in the form of `sha256sum`, so that a person can
//! check and take out the database with common tools. Invariant: there is one way to write a manifest, and the bytes around
//! the database follow from it, so that any other byte is a fault.

use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};

use super::error::ArchiveFault;
use super::manifest::{DATABASE, FORMAT, Manifest, ManifestVersion};

/// The media type of a backup.
pub const CONTENT_TYPE: &str = "application/octet-stream";

const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";

const BLOCK: usize = 512;
/// The number of bytes that are read at once.
pub(super) const PIECE_BYTES: usize = 256 * 1024;
/// The longest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024;
/// The length of the sums: two lines.
const SUMS_BYTES: u64 = (2 * (64 + 2 + 1) + MANIFEST.len() + DATABASE.len()) as u64;
/// The length from which a size is no longer written in octal digits.
const OCTAL_MAX: u64 = 1 << 33;

/// The bytes of a backup before and after its database.
pub(super) struct Frame {
    pub(super) head: Vec<u8>,
    pub(super) tail: Vec<u8>,
}

/// Returns the bytes around the database. `seconds` is the time of the files in the archive, since 1970.
pub(super) fn frame(manifest: &Manifest, seconds: u64) -> Frame {
    let text = manifest.text();
    let sums = sums(&text, &manifest.database.sha256);
    let mut head = Vec::new();
    for (name, content) in [(SUMS, &sums), (MANIFEST, &text)] {
        head.extend(header(name, content.len() as u64, seconds));
        head.extend(content.as_bytes());
        head.resize(head.len().next_multiple_of(BLOCK), 0);
    }
    head.extend(header(DATABASE, manifest.database.bytes, seconds));
    Frame { head, tail: vec![0; padding(manifest.database.bytes) + 2 * BLOCK] }
}

fn sums(manifest: &str, database: &str) -> String {
    format!("{}  {MANIFEST}\n{database}  {DATABASE}\n", hex(&Sha256::digest(manifest)))
}

/// Returns bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the number of zeros after a file.
fn padding(bytes: u64) -> usize {
    // Fits: below the length of a block.
    usize::try_from(bytes.next_multiple_of(BLOCK as u64) - bytes).unwrap_or_default()
}

/// Returns the header of a regular file that only its owner can read.
fn header(name: &str, bytes: u64, seconds: u64) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000600\x000000000\x000000000\x00");
    put(124, &size_field(bytes));
    put(136, format!("{:011o}", seconds % OCTAL_MAX).as_bytes());
    put(148, b"        0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Returns the field of a size: octal digits, or a binary number as GNU tar writes it.
fn size_field(bytes: u64) -> [u8; 12] {
    let mut field = [0; 12];
    if bytes < OCTAL_MAX {
        field[..11].copy_from_slice(format!("{bytes:011o}").as_bytes());
    } else {
        field[0] = 0x80;
        field[4..].copy_from_slice(&bytes.to_be_bytes());
    }
    field
}

/// Reads a whole backup, writes the database in it to `database`, and returns the manifest.
///
/// # Errors
/// If it is not a whole backup that this version can read. Part of the database may have been written then.
pub(super) fn unpack(source: impl Read, database: &mut impl Write) -> Result<Manifest, ArchiveFault> {
    let mut source = Counted { source, count: 0 };
    let first = source.block_or_less()?;
    let seconds = seconds_of(&first)?;
    let sums = source.file(SUMS_BYTES)?;
    let head = source.exactly(BLOCK)?;
    let bytes = octal(&head[124..135]).filter(|bytes| head[..] == header(MANIFEST, *bytes, seconds));
    let Some(bytes) = bytes.filter(|bytes| *bytes <= MANIFEST_BYTES_MAX) else {
        return Err(ArchiveFault::Damaged("the head of its manifest is not as it was written"));
    };
    let text = source.file(bytes)?;
    let manifest = read_manifest(&text, &sums)?;
    if source.exactly(BLOCK)? != header(DATABASE, manifest.database.bytes, seconds) {
        return Err(ArchiveFault::Damaged("the head of its database is not as it was written"));
    }
    let mut hasher = Sha256::new();
    let mut left = manifest.database.bytes;
    while left > 0 {
        let piece = source.exactly(usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES))?;
        hasher.update(&piece);
        database.write_all(&piece).map_err(ArchiveFault::Write)?;
        left -= piece.len() as u64;
    }
    if hex(&hasher.finalize()) != manifest.database.sha256 {
        return Err(ArchiveFault::Damaged("the checksum of its database does not match"));
    }
    source.zeros(padding(manifest.database.bytes) + 2 * BLOCK)?;
    source.end()?;
    Ok(manifest)
}

/// Returns the time in the first header, or what the bytes are instead.
fn seconds_of(first: &[u8]) -> Result<u64, ArchiveFault> {
    let foreign = |what| Err(ArchiveFault::Foreign(what));
    match first {
        [] => return foreign("empty"),
        _ if first.starts_with(b"SQLite format 3\0") => {
            return foreign("a bare database; stop the server and put it in the place of store.url yourself");
        }
        [0x1f, 0x8b, ..] => return foreign("compressed with gzip; unpack it with gunzip first"),
        [b'{', ..] => return foreign("JSON; import an export with `signalbox ctl import`"),
        _ if !first.starts_with(SUMS.as_bytes()) => return foreign("something else"),
        _ if first.len() < BLOCK => return Err(ArchiveFault::Truncated(first.len() as u64)),
        _ => {}
    }
    let seconds = octal(&first[136..147]).filter(|seconds| first == header(SUMS, SUMS_BYTES, *seconds));
    seconds.ok_or(ArchiveFault::Damaged("its first head is not as it was written"))
}

fn octal(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

fn read_manifest(text: &[u8], expected: &[u8]) -> Result<Manifest, ArchiveFault> {
    const UNREADABLE: ArchiveFault = ArchiveFault::Damaged("its manifest cannot be read");
    let line = format!("{}  {MANIFEST}\n", hex(&Sha256::digest(text)));
    if !expected.starts_with(line.as_bytes()) {
        return Err(ArchiveFault::Damaged("the checksum of its manifest does not match"));
    }
    let version: ManifestVersion = serde_json::from_slice(text).map_err(|_| UNREADABLE)?;
    if version.format > FORMAT {
        let ManifestVersion { signalbox, format } = version;
        return Err(ArchiveFault::NewerFormat { version: signalbox, format, known: FORMAT });
    }
    let manifest: Manifest = serde_json::from_slice(text).map_err(|_| UNREADABLE)?;
    let text = std::str::from_utf8(text).map_err(|_| UNREADABLE)?;
    if manifest.database.file != DATABASE || expected != sums(text, &manifest.database.sha256).as_bytes() {
        return Err(ArchiveFault::Damaged("its checksums are not those of its manifest"));
    }
    Ok(manifest)
}

/// A source that counts its bytes.
struct Counted<R> {
    source: R,
    count: u64,
}

impl<R: Read> Counted<R> {
    /// Returns a block, or less at the end.
    fn block_or_less(&mut self) -> Result<Vec<u8>, ArchiveFault> {
        let mut bytes = Vec::new();
        self.source.by_ref().take(BLOCK as u64).read_to_end(&mut bytes).map_err(ArchiveFault::Read)?;
        self.count += bytes.len() as u64;
        Ok(bytes)
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, ArchiveFault> {
        let mut bytes = Vec::with_capacity(length);
        self.source.by_ref().take(length as u64).read_to_end(&mut bytes).map_err(ArchiveFault::Read)?;
        self.count += bytes.len() as u64;
        if bytes.len() < length { Err(ArchiveFault::Truncated(self.count)) } else { Ok(bytes) }
    }

    /// Returns a small file, and reads the zeros after it.
    fn file(&mut self, bytes: u64) -> Result<Vec<u8>, ArchiveFault> {
        let content = self.exactly(usize::try_from(bytes).unwrap_or_default())?;
        self.zeros(padding(bytes))?;
        Ok(content)
    }

    fn zeros(&mut self, length: usize) -> Result<(), ArchiveFault> {
        if self.exactly(length)?.iter().any(|byte| *byte != 0) {
            return Err(ArchiveFault::Damaged("there are bytes between its files"));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), ArchiveFault> {
        if self.block_or_less()?.is_empty() {
            return Ok(());
        }
        Err(ArchiveFault::Damaged("there are bytes after its end"))
    }
}

/// Reads a whole backup, keeps nothing of it, and returns its manifest.
///
/// # Errors
/// If it is not a whole backup that this version can read.
pub fn verify(source: impl Read) -> Result<Manifest, ArchiveFault> {
    unpack(source, &mut io::sink())
}
