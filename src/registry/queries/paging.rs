//! Pages of lists.
//!
//! A page begins after an entry and not at a number, so that an entry that is there all the time is neither repeated
//! nor left out while the list changes.

use crate::domain::Error;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A request for a page of a list.
#[derive(Clone, Debug)]
pub struct ListRequest {
    /// The cursor from the page before; `None` for the first page.
    pub after: Option<String>,
    /// The largest number of entries.
    pub limit: usize,
}

impl ListRequest {
    /// The number of entries by default.
    pub const LIMIT: usize = 100;
    /// The largest number of entries.
    pub const LIMIT_MAX: usize = 1000;

    /// Returns a request for `limit` entries, by default 100, after the page that ended with the cursor `after`.
    ///
    /// # Errors
    /// `Invalid` for a limit outside of 1 to 1000.
    pub fn new(after: Option<String>, limit: Option<u64>) -> Result<Self, Error> {
        let limit =
            limit.map_or(Ok(Self::LIMIT), usize::try_from).ok().filter(|limit| (1..=Self::LIMIT_MAX).contains(limit));
        let limit = limit.ok_or_else(|| Error::invalid("limit", format!("must be 1 to {}", Self::LIMIT_MAX)))?;
        Ok(Self { after, limit })
    }

    /// Takes the requested page from `entries`; `cursor_of` returns the cursor of an entry.
    pub(super) fn cut<E, T, P: From<(Vec<T>, Option<String>)>>(
        &self,
        mut entries: impl Iterator<Item = E>,
        cursor_of: impl Fn(&E) -> String,
        view: impl Fn(&E) -> T,
    ) -> P {
        let taken: Vec<E> = entries.by_ref().take(self.limit).collect();
        let last = taken.last().filter(|_| entries.next().is_some());
        let next_cursor = last.map(|entry| Self::written(&cursor_of(entry)));
        P::from((taken.iter().map(view).collect(), next_cursor))
    }

    /// Returns the text of a cursor.
    pub(in crate::registry) fn written(cursor: &str) -> String {
        URL_SAFE_NO_PAD.encode(cursor)
    }

    /// Returns the cursor after which the page begins, as `read` understands it.
    pub(in crate::registry) fn cursor<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let wrong = || Error::invalid("cursor", "is not one that this list gave");
        let Some(cursor) = &self.after else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| wrong())?;
        std::str::from_utf8(&bytes).ok().and_then(read).map(Some).ok_or_else(wrong)
    }
}

/// Defines the type of a list's pages. Each list has a type of its own, because `OpenAPI` has no generic types.
macro_rules! list_page {
    ($name:ident of $entry:ty) => {
        /// A page of a list.
        #[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
        pub struct $name {
            /// The entries, in the order of the list.
            pub items: Vec<$entry>,
            /// The cursor of the next page; `null` on the last page.
            #[schema(required)]
            pub next_cursor: Option<String>,
        }

        impl From<(Vec<$entry>, Option<String>)> for $name {
            fn from((items, next_cursor): (Vec<$entry>, Option<String>)) -> Self {
                Self { items, next_cursor }
            }
        }
    };
}

pub(in crate::registry) use list_page;
