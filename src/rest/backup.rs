//! `GET /v1/backup`: a backup of the store, for operators.

use std::io;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::backup::{self, Backup};

use super::operator::Operator;
use super::problem::Problem;
use super::state::RestState;

/// A backup: a tar archive.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "the form in the description; the bytes are streamed")]
struct BackupFile(Vec<u8>);

/// The number of bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Returns the call with its description.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new().routes(routes!(backup))
}

/// Makes a backup of the store
///
/// One file with everything that the server keeps, as of one moment: a tar archive of `SHA256SUMS`, `manifest.json` and
/// `signalbox.db`. `signalbox restore FILE` puts it in place. It contains all session ids, which are credentials: keep it where
/// only its owner can read it.
#[utoipa::path(get, path = "/v1/backup", operation_id = "backup", tag = "operators", security(("operator" = [])),
    responses(
        (status = 200, description = "The backup.", body = BackupFile, content_type = "application/octet-stream"),
        (status = 409, description = "The store is in memory only; there is nothing to back up."),
        (status = 429, description = "Another backup is being made; only one at a time."),
    ))]
async fn backup(
    State(state): State<RestState>,
    Operator(origin): Operator,
    method: Method,
) -> Result<Response, Problem> {
    if method == Method::HEAD {
        // Without a body there is nothing to make.
        return Ok(([(CONTENT_TYPE, backup::CONTENT_TYPE)], Body::empty()).into_response());
    }
    Ok(response(backup::make(&state.registry, origin).await?))
}

fn response(backup: Backup) -> Response {
    let length = backup.len();
    let made: String = backup.manifest().made_at.chars().take(19).filter(char::is_ascii_digit).collect();
    let name = format!("attachment; filename=\"signalbox-{made}.tar\"");
    let mut response = Response::new(Body::from_stream(pieces(backup)));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(backup::CONTENT_TYPE));
    fields.insert(CONTENT_LENGTH, length.into());
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Digits always are a valid value.
    name.parse().into_iter().for_each(|name| drop(fields.insert(CONTENT_DISPOSITION, name)));
    response
}

fn pieces(backup: Backup) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some(backup), |open| async move {
        let mut backup = open?;
        match backup.read(PIECE_BYTES) {
            Ok(piece) if piece.is_empty() => None,
            Ok(piece) => Some((Ok(piece), Some(backup))),
            Err(error) => {
                tracing::error!(%error, "the copy of the store cannot be read; the backup is cut off");
                Some((Err(error), None))
            }
        }
    })
}
