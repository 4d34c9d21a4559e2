//! Backups of the store, as a stream of pieces.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tonic::Status;

use crate::backup;
use crate::domain::{Error, Kind};

use super::proto::{BackupRequest, BackupResponse};
use super::state::CallState;

/// The number of bytes in a message.
const PIECE_BYTES: usize = 64 * 1024;

pub(super) async fn backup(
    state: &CallState,
    _: BackupRequest,
) -> Result<BoxStream<'static, Result<BackupResponse, Status>>, Status> {
    let backup = backup::make(&state.registry, state.origin.clone()).await?;
    let pieces = stream::unfold(Some(backup), |open| async move {
        let mut backup = open?;
        match backup.read(PIECE_BYTES) {
            Ok(piece) if piece.is_empty() => None,
            Ok(piece) => Some((Ok(BackupResponse { content: piece.into() }), Some(backup))),
            Err(error) => {
                tracing::error!(%error, "the copy of the store cannot be read; the backup is cut off");
                Some((Err(Error::new(Kind::Internal, "the copy of the store cannot be read").into()), None))
            }
        }
    });
    Ok(pieces.boxed())
}
